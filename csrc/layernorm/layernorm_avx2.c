/* layernorm_avx2.c - the same loops, compiled for AVX2. */
#include "layernorm.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

void layernorm_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    layernorm_run(args, begin, end);
}

PCX_TARGET_END
#endif
