/* scatter.c - writes rows in the order of their indices, so one thread has all rows of its columns. */
#include "../common/pcx.h"

enum { SCATTER_COLUMNS = 1024 };

/* y = y op u for n elements; sums and products of integers are those of unsigned numbers U, which wrap around. */
#define SCATTER_JOIN(name, T, U)                                                                    \
    static PCX_COLD void scatter_##name(T *y, const T *u, size_t n, size_t op)                               \
    {                                                                                               \
        for (size_t j = 0; j < n; j++)                                                              \
            y[j] = op == 1   ? (T)((U)y[j] + (U)u[j])                                               \
                   : op == 2 ? (T)((U)y[j] * (U)u[j])                                               \
                   : op == 3 ? (u[j] < y[j] || u[j] != u[j] ? u[j] : y[j])                          \
                             : (u[j] > y[j] || u[j] != u[j] ? u[j] : y[j]);                         \
    }

SCATTER_JOIN(u8, uint8_t, uint32_t)
SCATTER_JOIN(i32, int32_t, uint32_t)
SCATTER_JOIN(u32, uint32_t, uint32_t)
SCATTER_JOIN(i64, int64_t, uint64_t)
SCATTER_JOIN(u64, uint64_t, uint64_t)
SCATTER_JOIN(f32, float, float)
SCATTER_JOIN(f64, double, double)

static PCX_COLD void scatter_row(size_t xt, void *y, const void *u, size_t n, size_t op)
{
    switch (xt) {
    case PCX_U8: scatter_u8(y, u, n, op); break;
    case PCX_I32: scatter_i32(y, u, n, op); break;
    case PCX_U32: scatter_u32(y, u, n, op); break;
    case PCX_I64: scatter_i64(y, u, n, op); break;
    case PCX_U64: scatter_u64(y, u, n, op); break;
    case PCX_F32: scatter_f32(y, u, n, op); break;
    default: scatter_f64(y, u, n, op);
    }
}

static size_t scatter_units(const void *args)
{
    const pcx_scatter_args *p = args;
    return p->rows ? ceil_div(p->inner, SCATTER_COLUMNS) : 0;
}

static PCX_COLD void scatter_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_scatter_args *p = args;
    const size_t bytes = pcx_dtype_bytes(p->xt), row = p->inner * bytes;
    (void)scratch;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t first = unit * SCATTER_COLUMNS, n = min_size(p->inner - first, SCATTER_COLUMNS);
        char *out = (char *)p->out + first * bytes;
        for (size_t i = 0; i < p->rows; i++)
            memcpy(out + i * row, (const char *)p->x + first * bytes + i * row, n * bytes);
        for (size_t i = 0; i < p->count; i++) {
            const char *u = (const char *)p->updates + first * bytes + i * row;
            if ((uint64_t)p->index[i] >= p->rows) {
                pcx_fault(p->fault);
                continue;
            }
            char *y = out + (size_t)p->index[i] * row;
            if (p->op == 0)
                memcpy(y, u, n * bytes);
            else
                scatter_row(p->xt, y, u, n, p->op);
        }
    }
}

static const pcx_impl scatter_impls[] = {
    { "scalar", 0, scatter_units, scatter_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_scatter = {
    "scatter", 2,
    "rows inner xt x:{f32,f64,u8,i32,u32,i64,u64}xt[rows,inner] count index:i64[count] "
    "updates:{f32,f64,u8,i32,u32,i64,u64}xt[count,inner] op out:{f32,f64,u8,i32,u32,i64,u64}xt[rows,inner] fault:fault where op<5",
    scatter_impls,
};
