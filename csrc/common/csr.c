/*
 * csr.c - checks CSR arrays from callers before kernels read them.  This runs before every product, so the loops have no
 * branches and compilers vectorise them: any invalid value sets the top bit of one word, by or.
 */
#include "pcx.h"

/* Differences are unsigned, which wraps; of two values in [0, 2^(bits-1)) the top bit is the sign all the same. */
#define CHECK(bits) \
    static int csr_check_##bits(size_t n, size_t k, size_t nnz, const uint##bits##_t *rows, \
                                const uint##bits##_t *index) \
    { \
        uint##bits##_t bad = rows[0] ? ~(uint##bits##_t)0 : 0; \
        const uint##bits##_t max = (uint##bits##_t)nnz, last = (uint##bits##_t)(k - 1); \
        for (size_t i = 0; i < n; i++) \
            bad |= rows[i + 1] | (max - rows[i + 1]) | (rows[i + 1] - rows[i]); \
        if (bad >> (bits - 1)) \
            return PCX_BAD_ARGUMENT; \
        const size_t used = (size_t)rows[n]; \
        uint##bits##_t above = 0; /* its own dependency chain */ \
        for (size_t i = 0; i < used; i++) { \
            bad |= index[i]; \
            above |= last - index[i]; \
        } \
        return (bad | above) >> (bits - 1) || (used && !k) ? PCX_BAD_ARGUMENT : PCX_OK; \
    }
CHECK(32)
CHECK(64)

int pcx_csr_check(size_t n, size_t k, size_t nnz, size_t type, const void *rows, const void *index)
{
    if (n >= INT32_MAX || k > INT32_MAX || nnz >= INT32_MAX)
        return PCX_BAD_ARGUMENT;
    switch (type) {
    case PCX_I32: return csr_check_32(n, k, nnz, rows, index);
    case PCX_I64: return csr_check_64(n, k, nnz, rows, index);
    default: return PCX_BAD_ARGUMENT;
    }
}
