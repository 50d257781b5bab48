/*
 * topk.c - the k first elements in order, by a heap of their positions whose root is the last of those kept.  Elements
 * of all types are compared as unsigned numbers in the same order.
 */
#include "../common/pcx.h"

typedef struct {
    const char *x;
    size_t stride, xt; /* in bytes */
    uint64_t turn;     /* all ones where the smallest are wanted */
} topk_line;

/* Larger for larger numbers; the zeros are equal, and a NaN is larger than any number. */
static PCX_COLD uint64_t topk_of_double(double v)
{
    uint64_t bits;
    v = v == 0 ? 0.0 : v;
    memcpy(&bits, &v, 8);
    return v != v ? UINT64_MAX : bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

static PCX_COLD uint64_t topk_key(const topk_line *line, size_t i)
{
    const char *at = line->x + i * line->stride;
    const uint64_t top = (uint64_t)1 << 63;
    uint64_t key;
    switch (line->xt) {
    case PCX_F32: key = topk_of_double((double)*(const float *)(const void *)at); break;
    case PCX_F64: key = topk_of_double(*(const double *)(const void *)at); break;
    case PCX_U8: key = *(const uint8_t *)at; break;
    case PCX_I32: key = (uint64_t)*(const int32_t *)(const void *)at + top; break;
    case PCX_U32: key = *(const uint32_t *)(const void *)at; break;
    case PCX_I64: key = (uint64_t)*(const int64_t *)(const void *)at + top; break;
    default: key = *(const uint64_t *)(const void *)at;
    }
    return key ^ line->turn;
}

/* Whether element i comes after element j: it is smaller, or equal and further back. */
static PCX_COLD int topk_after(const topk_line *line, size_t i, size_t j)
{
    const uint64_t u = topk_key(line, i), v = topk_key(line, j);
    return u < v || (u == v && i > j);
}

/* Restores the heap below `at`: no node comes before its parent. */
static PCX_COLD void topk_sink(const topk_line *line, uint64_t *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && topk_after(line, heap[child + 1], heap[child]);
        if (!topk_after(line, heap[child], heap[at]))
            return;
        const uint64_t moved = heap[at];
        heap[at] = heap[child];
        heap[child] = moved;
    }
}

/* heap[0 .. n) becomes the first n of r elements, in order. */
static PCX_COLD void topk_select(const topk_line *line, uint64_t *heap, size_t n, size_t r)
{
    for (size_t i = 0; i < n; i++)
        heap[i] = i;
    for (size_t i = n / 2; i-- > 0;)
        topk_sink(line, heap, n, i);
    for (size_t i = n; n && i < r; i++)
        if (topk_after(line, heap[0], i)) {
            heap[0] = i;
            topk_sink(line, heap, n, 0);
        }
    for (size_t last = n; last-- > 1;) {
        const uint64_t moved = heap[0];
        heap[0] = heap[last];
        heap[last] = moved;
        topk_sink(line, heap, last, 0);
    }
}

static size_t topk_units(const void *args)
{
    const pcx_topk_args *p = args;
    return p->outer * p->inner;
}

static size_t topk_scratch(const void *args)
{
    const pcx_topk_args *p = args;
    return p->outer && p->inner ? 8 * min_size(p->k, p->r) : 0;
}

static PCX_COLD void topk_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_topk_args *p = args;
    const size_t bytes = pcx_dtype_bytes(p->xt), n = min_size(p->k, p->r);
    for (size_t unit = begin; unit < end; unit++) {
        const size_t o = unit / p->inner, i = unit % p->inner;
        const topk_line line = { (const char *)p->x + (o * p->r * p->inner + i) * bytes, p->inner * bytes, p->xt,
                                 p->smallest ? UINT64_MAX : 0 };
        topk_select(&line, scratch, n, p->r);
        for (size_t j = 0; j < p->k; j++) {
            const size_t to = (o * p->k + j) * p->inner + i, from = j < n ? ((const uint64_t *)scratch)[j] : 0;
            p->out_index[to] = (int64_t)from;
            if (j < n)
                memcpy((char *)p->out + to * bytes, line.x + from * line.stride, bytes);
            else
                memset((char *)p->out + to * bytes, 0, bytes);
        }
    }
}

static const pcx_impl topk_impls[] = {
    { "scalar", 0, topk_units, topk_scalar, topk_scratch, NULL, NULL, NULL },
};

const pcx_kernel pcx_topk = {
    "topk", 1,
    "outer r inner xt x:{f32,f64,u8,i32,u32,i64,u64}xt[outer,r,inner] smallest k "
    "out:{f32,f64,u8,i32,u32,i64,u64}xt[outer,k,inner] out_index:i64[outer,k,inner] where smallest<2",
    topk_impls,
};
