/* hgemm.h - what the hgemm files share. */
#ifndef PCX_HGEMM_H
#define PCX_HGEMM_H

#include "../sgemm/sgemm.h"

/* The micro-kernel of an ISA. */
typedef struct {
    /* All rows times the panels [begin, end) of p->w, widened in registers: of few rows, or SGEMM_NARROW columns. */
    void (*stream)(const pcx_hgemm_args *p, const sgemm_rows *rows, size_t begin, size_t end);
    /* `count` weights, whole steps of a panel, of bfloat16 if `brain`, as floats; `out` is aligned to 64. */
    void (*widen)(const uint16_t *w, float *out, size_t count, int brain);
    /* sgemm's micro-kernel. */
    void (*run)(const sgemm_rows *rows, const sgemm_target *to, size_t begin, size_t end);
} hgemm_micro;

/* hgemm_rows.c: the driver, for any micro-kernel.  See PCX_DRIVER. */
PCX_HIDDEN size_t hgemm_rows_units(const void *args, const hgemm_micro *micro);
PCX_HIDDEN size_t hgemm_rows_scratch(const void *args, const hgemm_micro *micro);
PCX_HIDDEN void hgemm_rows_run(const void *args, size_t begin, size_t end, void *scratch, const hgemm_micro *micro);

#endif
