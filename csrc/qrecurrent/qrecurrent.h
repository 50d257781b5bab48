/* qrecurrent.h - what the qrecurrent files share: recurrent's time steps on products of qgemm. */
#ifndef PCX_QRECURRENT_H
#define PCX_QRECURRENT_H

#include "../qgemm/qgemm.h"
#include "../recurrent/recurrent.h"

/* The code of an ISA. */
typedef struct {
    const recurrent_micro *loops;
    const qgemm_micro *product;
    /* Quantize n floats as dynquant does. */
    void (*quantize)(const float *x, size_t n, uint8_t *out, float *scale, int32_t *zero);
    /* out = float(sum) * (each * scale), n numbers */
    void (*widen)(const int32_t *sum, float each, const float *scale, float *out, size_t n);
} qrecurrent_micro;

/* qrecurrent_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t qrecurrent_rows_units(const void *args, const qrecurrent_micro *micro);
PCX_HIDDEN size_t qrecurrent_rows_scratch(const void *args, const qrecurrent_micro *micro);
PCX_HIDDEN void qrecurrent_rows_run(const void *args, size_t begin, size_t end, void *scratch, const qrecurrent_micro *micro);

/* Int16 accumulation, as qgemm's. */
PCX_HIDDEN pcx_size_fn qrecurrent_rows_prepared;
PCX_HIDDEN pcx_prepare_fn qrecurrent_rows_prepare;

#endif
