/* dynquant_avx2.c - the same loops, compiled for AVX2. */
#include "dynquant.h"

#if PCX_X86
PCX_TARGET("avx2,fma")

void dynquant_avx2(const void *args, size_t begin, size_t end, void *scratch)
{
    (void)scratch;
    dynquant_run(args, begin, end);
}

PCX_TARGET_END
#endif
