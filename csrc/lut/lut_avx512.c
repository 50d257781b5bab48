/* lut_avx512.c - a table of 256 in four registers, 64 elements at a time: by bytes with VBMI, else by words. */
#include "../common/qepilogue_avx512.h"
#include "lut.h"

#if PCX_X86

#define LUT(isa, lookup) \
    PCX_INLINE void lut_##isa##_row(size_t n, const uint8_t *x, const uint8_t *table, uint8_t *out) \
    { \
        for (size_t j = 0; j < n; j += 64) { \
            const __mmask64 mask = n - j < 64 ? ~(~(__mmask64)0 << (n - j)) : ~(__mmask64)0; \
            _mm512_mask_storeu_epi8(out + j, mask, lookup(table, _mm512_maskz_loadu_epi8(mask, x + j))); \
        } \
    } \
    void lut_##isa(const void *args, size_t begin, size_t end, void *scratch) \
    { \
        (void)scratch; \
        lut_run(args, begin, end, lut_##isa##_row); \
    }

PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
LUT(avx512, qepilogue_avx512_table)
PCX_TARGET_END
PCX_TARGET("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")
LUT(avx512vbmi, qepilogue_avx512_table_vbmi)
PCX_TARGET_END
#endif
