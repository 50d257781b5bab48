/*
 * pycompress_kernels.h - the kernels of libpycompress: their list, and their argument structs with what each
 * computes and its error bound.  pycompress.h includes this file; programs that run plans need nothing of it.
 *
 * Every slot of a struct is 8 bytes.  The names: m, n, k are sizes of matrices; b, h, w, c those of images; lda is the
 * number of elements from one row of `a` to the next, and so on.  `[m:lda,k]` is an array of m rows of k elements,
 * with a row stride of lda elements.  Arguments must satisfy the kernel's contract (pcx_kernel in pycompress.h).
 *
 * Between the two markers there is only plain C that cffi can parse.
 */
#ifndef PYCOMPRESS_KERNELS_H
#define PYCOMPRESS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Every kernel, once.  `#define X(name)` and expand it. */
#define PCX_KERNELS(X) \
    X(sgemm) X(hgemm) X(bgemm) X(sconv) X(bconv) X(dwconv) X(pdwconv) X(lowrank) X(recurrent) X(qrecurrent) \
    X(qgemm) X(q4gemm) X(qconv) X(qdwconv) X(qspmm) X(qlowrank) \
    X(permute) X(fill) X(unary) X(binary) X(pool) X(reduce) X(softmax) X(quantize) X(qpixels) X(dequantize) X(gather) \
    X(qpool) X(qbinary) X(lut) X(normalize) X(cast) X(spack) X(matmul) X(qpack) X(resample) X(layernorm) X(lrn) \
    X(dynquant) X(where) X(compare) X(ibinary) X(ireduce) X(argreduce) X(cumsum) X(lookup) \
    X(dmath) X(topk) X(scatter) X(sample) X(nms) X(nonzero) \
    X(spmm) X(bspmm) X(csrmm) X(csrmv) \
    X(qround) X(qdescend)

/* begin cdef */

/* ---- activations of a float epilogue; p = act_params ---- */
enum {
    PCX_ACT_NONE = 0,
    PCX_ACT_RELU = 1,
    PCX_ACT_CLIP = 2,        /* min(max(x, p[0]), p[1]) */
    PCX_ACT_LEAKY = 3,       /* x < 0 ? p[0] * x : x */
    PCX_ACT_HARDSIGMOID = 4, /* min(max(p[0] * x + p[1], 0), 1) */
    PCX_ACT_HARDSWISH = 5,   /* x * min(max(x / 6 + 0.5, 0), 1) */
    PCX_ACT_SIGMOID = 6,
    PCX_ACT_SILU = 7,        /* x * sigmoid(x) */
    PCX_ACT_TANH = 8,
    PCX_ACT_COUNT = 9
};

/* ---- the epilogues that kernels share ---- */

/* out = act(acc + bias + residual): the epilogue of every float kernel that sums products into m x n outputs. */
typedef struct {
    const float *bias; /* [n] or NULL */
    size_t act;        /* PCX_ACT_* */
    const float *act_params; /* [2] */
    size_t ldr;
    const float *residual; /* [m:ldr,n] or NULL, added before the activation */
} pcx_epilogue;

/*
 * From a float v to the output of an integer kernel:
 *   out f32: act(v)
 *   out u8:  y = clamp(round_half_even(v) + clamp[0], clamp[1], clamp[2]), clamped in float before the conversion;
 *            then, each where given,
 *            y = lut[y];
 *            y = clamp(round_half_even((y - add_zero[0]) * add_scale[0] + (r - add_zero[1]) * add_scale[1])
 *                      + add_zero[2], add_zero[3], add_zero[4])
 * No operation is fused into an FMA, so that all ISAs give the same result.
 */
typedef struct {
    const int32_t *clamp; /* [3]: zero point, min, max; for u8 */
    const uint8_t *lut;   /* [256] or NULL */
    const float *add_scale;  /* [2], with residual */
    const int32_t *add_zero; /* [5], with residual */
    size_t ldr;
    const uint8_t *residual; /* [m:ldr,n] or NULL; u8 outputs only */
    size_t act;              /* PCX_ACT_*, f32 outputs only */
    const float *act_params; /* [2] */
} pcx_qoutput;

/* From the exact int32 sum acc, bias and zero points included: out i32 is acc, else v = float(acc) * scale[j]. */
typedef struct {
    const int32_t *bias; /* [n] or NULL */
    const float *scale;  /* [n]; NULL only where the output is i32 */
    pcx_qoutput output;
} pcx_qepilogue;

/* ---- products and convolutions ---- */

/*
 * sgemm: out = act(a . w + bias + residual), f32, summed along k in order with one accumulator per output (FMA where
 * the ISA has it); of at most eight columns some ISAs sum every eighth product apart.  A row's results depend on
 * nothing but that row, the weights and the ISA.
 * |error| <= (k + 2) * 2^-24 * (sum |a||w| + |bias| + |residual|), before the activation.
 */
typedef struct {
    size_t m, lda, k;
    const float *a; /* [m:lda,k] */
    size_t n, ldw;
    const float *w; /* [ceil(n/16):ldw,k,16], zero padded: kernels.sgemm.pack */
    pcx_epilogue tail;
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_sgemm_args;

/*
 * hgemm: sgemm with 16-bit weights, each converted exactly to float: float16 (with subnormals, infinities and NaN) or
 * bfloat16.  Order of sums and error as in sgemm.
 */
typedef struct {
    size_t m, lda, k;
    const float *a; /* [m:lda,k] */
    size_t n, ldw, wt;
    const void *w; /* [ceil(n/16):ldw,k,16] f16 or bf16, zero padded: kernels.hgemm.pack */
    pcx_epilogue tail;
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_hgemm_args;

/*
 * bgemm: sgemm of operands rounded to bfloat16, to nearest, ties to even: `a` as it is read, w when it was packed.
 * Products are exact in f32, and summed in f32, in an order of the implementation's own.  Subnormal operands count as
 * zero; what is nearer to 2^128 than to the largest bfloat16 becomes infinite.  Only plans that were compiled so have it.
 * With S = sum |a||w| + |bias| + |residual|, before the activation, |error| <= (min(k, 4096) + k / 32 + 4) * 2^-24 * S
 * against the exact result of the rounded operands; against that of a and w themselves, each of which rounding moves by
 * at most 2^-8 of itself, (2^-7 + 2^-16) * sum |a||w| more.
 */
typedef struct {
    size_t m, lda, k;
    const float *a; /* [m:lda,k] */
    size_t n, ldw;
    const uint16_t *w; /* [ceil(n/16):ldw,ceil(k/2),16,2] bf16, zero padded: kernels.bgemm.pack */
    pcx_epilogue tail;
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_bgemm_args;

/*
 * lowrank: out = act(h . v + bias + residual) with h = mid_act(a . u + mid_bias), f32: the same bytes as two sgemm, but
 * rows of h stay in the cache.  Error of each as in sgemm; without activations, with |H| = |a||u| + |mid_bias|,
 * |error| <= (k + r + 5) * 2^-24 * (|H||v| + |bias| + |residual|) while (k + 2) * (r + 2) < 2^24.
 */
typedef struct {
    size_t m, lda, k;
    const float *a; /* [m:lda,k] */
    size_t r;
    const float *u; /* [ceil(r/16),k,16], zero padded: kernels.sgemm.pack */
    const float *mid_bias; /* [r] or NULL */
    size_t mid_act;
    const float *mid_params; /* [2] */
    size_t n;
    const float *v; /* [ceil(n/16),r,16], zero padded: kernels.sgemm.pack */
    pcx_epilogue tail;
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_lowrank_args;

/*
 * recurrent: the time steps of an RNN (g = 1 gate), GRU (3) or LSTM (4), f32, d directions; direction i runs backward if bit
 * i of `backward` is set.  x has the products of the inputs with their weights, biases added; gates are in ONNX's order.
 * Each step adds the product of the state, as sgemm sums it, clips to [-clip, clip] and applies the activations
 *   0 tanh 1 sigmoid 2 relu 3 leakyrelu 4 affine 5 hardsigmoid 6 scaledtanh 7 thresholdedrelu 8 elu 9 softsign 10 softplus
 * with alpha and beta.  GRU: `linear` multiplies the hidden gate's product, plus `bias`, by the reset gate; LSTM: `coupled`
 * makes the forget gate 1 - the input gate.  Row r has lengths[r] time steps: `out` is 0 beyond, a backward direction begins
 * at its end; a length outside [0, t] makes the row's results NaN.  out_h and out_c are the states after the last step.
 * Error: one step's sums as in sgemm with k = h, its activations within 2^-21; states carry the errors of earlier steps.
 */
typedef struct {
    size_t g, linear, coupled, backward, t, xt, b, xb, d, h;
    const float *x; /* [t:xt,b:xb,d*g*h] */
    const float *w; /* [d*g,ceil(h/16),h,16]: kernels.recurrent.pack */
    const float *bias;      /* [d,h] or NULL */
    const float *peepholes; /* [d,3,h], of the gates input, output, forget; or NULL */
    const int32_t *lengths; /* [b] or NULL: t each */
    const float *h0;        /* [d,b,h] or NULL: 0 */
    size_t c;               /* h for an LSTM, else 0 */
    const float *c0;        /* [d,b,c] or NULL: 0 */
    const int32_t *acts;    /* [d,3] < 11 */
    const float *act_params; /* [d,3,2] */
    const float *clip;      /* [1] */
    size_t ot, od, ob;
    float *out;   /* [t:ot,d:od,b:ob,h] */
    float *out_h; /* [d,b,h] */
    float *out_c; /* [d,b,c] */
} pcx_recurrent_args;

/*
 * qrecurrent: recurrent for an LSTM with 8-bit weights.  In every step each row of the state is quantized as by dynquant and
 * multiplied on integers, exactly; a sum is then worth the scale of the row times that of its column.
 */
typedef struct {
    size_t coupled, backward, t, xt, b, xb, d, h;
    const float *x;        /* [t:xt,b:xb,d*4*h] */
    const int8_t *w;       /* [d*4,ceil(h/16),ceil(h/4),16,4]: kernels.qrecurrent.pack */
    const int32_t *colsum; /* [d*4,ceil(h/16)*16] */
    const int32_t *wzp;    /* [d*4,ceil(h/16)*16], or NULL for 0 */
    const float *scale;    /* [d*4,h] */
    const float *peepholes; /* [d,3,h] or NULL */
    const int32_t *lengths; /* [b] or NULL: t each */
    const float *h0;        /* [d,b,h] or NULL: 0 */
    const float *c0;        /* [d,b,h] or NULL: 0 */
    const int32_t *acts;    /* [d,3] < 11 */
    const float *act_params; /* [d,3,2] */
    const float *clip;      /* [1] */
    const void *prepared;   /* qgemm's, of w */
    size_t ot, od, ob;
    float *out;   /* [t:ot,d:od,b:ob,h] */
    float *out_h; /* [d,b,h] */
    float *out_c; /* [d,b,h] */
} pcx_qrecurrent_args;

/*
 * spmm: out = act(bias + a . w' + residual), f32, with sparse w: only its nonzeros are stored and multiplied, so that
 * infinity times a zero of w adds nothing.  Each output is one sum, bias first, then slice by slice in the order in
 * which the nonzeros are stored; pack() stores them along k (FMA where the ISA has it).  Each of the three images may
 * independently be channel-last (ldk 1) or channel-first (CHW, lda 1).
 * |error| <= (z + 2) * 2^-24 * (sum |a||w| + |bias| + |residual|) with z nonzeros in the row, before the activation.
 */
typedef struct {
    size_t m, lda, k, ldk;
    const float *a; /* [m:lda,k:ldk] */
    size_t slices, n, nnz;
    const int32_t *rows;   /* [slices,n+1]: row r of slice s is rows[s][r] to rows[s][r+1]: kernels.spmm.pack */
    const uint16_t *index; /* [nnz]: columns */
    const float *w;        /* [nnz] */
    size_t lds;            /* of the residual: [m:ldr,n:lds] */
    pcx_epilogue tail;
    size_t ldo, ldc;
    float *out; /* [m:ldo,n:ldc] */
} pcx_spmm_args;

/*
 * bspmm: sgemm with block-sparse weights: the columns 16 p .. 16 p + 15 have weights only at k = index[b] for
 * rows[p] <= b < rows[p + 1], summed in that order.  Error as in sgemm, with the number of a panel's blocks as k.  If
 * rows[p + 1] < rows[p], the panel has no blocks.
 */
typedef struct {
    size_t m, lda, k;
    const float *a; /* [m:lda,k] */
    size_t n, blocks;
    const int32_t *rows;   /* [ceil(n/16)+1] < blocks + 1 */
    const uint16_t *index; /* [blocks] < k */
    const float *w; /* [blocks,16]: kernels.bspmm.pack */
    pcx_epilogue tail;
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_bspmm_args;

/*
 * csrmm: out = W . x, W in CSR, all values of one type.  Indices may be in any order and repeated; each output is one
 * sum in that order, or, for a single column of x, in an order that the implementation chooses (FMA where the ISA has
 * it): |error| <= z * 2^-24 (f64: 2^-53) * sum |w||x| with z nonzeros in the row.
 */
typedef struct {
    size_t n, nnz;
    const int32_t *rows; /* [n+1]: row r is rows[r] to rows[r+1] */
    size_t k;
    const int32_t *index; /* [nnz]: columns of W */
    size_t t;
    const void *w; /* [nnz] f32 or f64 */
    size_t ldx, m, incx;
    const void *x; /* [k:ldx,m:incx] */
    size_t ldo;
    void *out; /* [n:ldo,m] */
} pcx_csrmm_args;

/*
 * csrmv: out = act(W . x + bias + residual), f32, W in CSR with 16-bit column indices: a sparse layer on one row.  Each
 * output is one sum in an order that the implementation chooses: |error| <= (z + 2) * 2^-24 * (sum |w||x| + |bias| +
 * |residual|) with z nonzeros in the row, before the activation.  If rows[r + 1] < rows[r], row r is empty.
 */
typedef struct {
    size_t k;
    const float *x; /* [k] */
    size_t n, nnz;
    const int32_t *rows;   /* [n+1] < nnz + 1 */
    const uint16_t *index; /* [nnz] < k */
    const float *w;        /* [nnz]: kernels.csrmv.pack */
    pcx_epilogue tail;     /* m = 1; ldr is not used */
    float *out;            /* [n] */
} pcx_csrmv_args;

/*
 * sconv: out = act(conv(x, w) + bias + residual) on NHWC images, f32.  Output (y, x) sums, in the
 * order ky, kx, channel, the products with pixel (y * sh + ky * dh - pt, x * sw + kx * dw - pl); pixels
 * beyond the image are zero.  Error as in sgemm with k = kh * kw * c.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const float *x; /* [b,ih,iw:ldx,c] */
    size_t n, ldw;
    const float *w; /* [ceil(n/16):ldw,kh*kw*c,16], zero padded: kernels.sconv.pack */
    size_t kh, kw, sh, sw, dh, dw, pt, pl;
    size_t oh, ow;
    pcx_epilogue tail; /* m = b*oh*ow */
    size_t ldo;
    float *out; /* [b,oh,ow:ldo,n] */
} pcx_sconv_args;

/*
 * bconv: sconv of images and weights rounded as bgemm's.  Errors as bgemm's with k = kh * kw * c.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const float *x; /* [b,ih,iw:ldx,c] */
    size_t n, ldw;
    const uint16_t *w; /* [ceil(n/16):ldw,ceil(kh*kw*c/2),16,2] bf16, zero padded: kernels.bconv.pack */
    size_t kh, kw, sh, sw, dh, dw, pt, pl;
    size_t oh, ow;
    pcx_epilogue tail; /* m = b*oh*ow */
    size_t ldo;
    float *out; /* [b,oh,ow:ldo,n] */
} pcx_bconv_args;

/*
 * dwconv: as sconv, but each channel is convolved with its own kh x kw weights.  Summed in the order
 * ky, kx.  |error| <= (kh * kw + 2) * 2^-24 * (sum |x||w| + |bias| + |residual|), before the activation.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const float *x; /* [b,ih,iw:ldx,c] */
    const float *w; /* [kh*kw,c] */
    size_t kh, kw, sh, sw, dh, dw, pt, pl;
    size_t oh, ow;
    pcx_epilogue tail; /* m = b*oh*ow, n = c */
    size_t ldo;
    float *out; /* [b,oh,ow:ldo,c] */
} pcx_dwconv_args;

/*
 * pdwconv: dwconv of one channel-first (CHW) image, between sparse products.  Sums start with the bias and
 * continue in the order ky, kx (FMA where the ISA has it); padding is zero, and zeros are multiplied, too.
 * |error| <= (kh * kw + 1) * 2^-24 * (sum |x||w| + |bias|), before the activation.
 */
typedef struct {
    size_t c, ldx, ih, iw;
    const float *x; /* [c:ldx,ih,iw] */
    const float *w; /* [c,kh*kw] */
    size_t kh, kw, sh, sw, pt, pl;
    const float *bias; /* [c] or NULL */
    size_t act;        /* PCX_ACT_* */
    const float *act_params; /* [2] */
    size_t ldo, oh, ow;
    float *out; /* [c:ldo,oh,ow] */
} pcx_pdwconv_args;

/*
 * qgemm: acc = sum (a - azp)(w - wzp) + bias in int32, exact; then the qepilogue.
 * 255 * 128 * 65536 < 2^31: with k <= 65536 and wzp NULL no sum overflows.  Otherwise sums are
 * taken modulo 2^32, so that intermediate overflow is harmless if the total fits.
 */
typedef struct {
    size_t m, lda, k;
    const uint8_t *a; /* [m:lda,k] */
    size_t ldz;
    const int32_t *azp; /* [m:ldz]: zero point of each row; ldz 0: of all */
    size_t n;
    const int8_t *w;       /* [ceil(n/16),ceil(k/4),16,4], zero padded: kernels.qgemm.pack */
    const int32_t *colsum; /* [n]: sum of w over k */
    const int32_t *wzp;    /* [n]: zero points of w, or NULL for 0 */
    pcx_qepilogue tail;
    const void *prepared; /* int16 accumulation of w, for AVX2; NULL gives the same result, more slowly */
    size_t ldo, ot;
    void *out; /* [m:ldo,n] u8, i32 or f32 */
} pcx_qgemm_args;

/*
 * qlowrank: acc = sum_j h_j v_j + bias in int32, then the qepilogue, where h_j is the first product rounded to 16 bits:
 * h_j = round_half_even(clamp(float(sum (a - azp) w_j + mid_bias_j) * mid_scale_j, -32767, 32767)), w as in qgemm.
 * 255 * 128 * 65536 < 2^31 and 32767 * 128 * 512 < 2^31: without biases no sum overflows; sums are modulo 2^32.
 * Rounding h changes acc by at most half the sum of |v|, if mid_scale is so small that nothing is clamped.
 */
typedef struct {
    size_t m, lda, k;
    const uint8_t *a;   /* [m:lda,k] */
    const int32_t *azp; /* [1] */
    size_t r;
    const int8_t *w;       /* [ceil(r/16),ceil(k/4),16,4], zero padded: kernels.qgemm.pack */
    const int32_t *colsum; /* [r]: sum of w over k */
    const int32_t *mid_bias; /* [r] or NULL */
    const float *mid_scale;  /* [r] */
    size_t n;
    const int8_t *v; /* [ceil(n/16),ceil(r/2),16,2], zero padded: kernels.qlowrank.pack */
    pcx_qepilogue tail;
    const void *prepared; /* qgemm's, of w */
    size_t ldo, ot;
    void *out; /* [m:ldo,n] u8, i32 or f32 */
} pcx_qlowrank_args;

/*
 * q4gemm: 4-bit weights: code - zero (8 if zero is NULL) times the scale of their group of columns.  Within a group
 * the sum of (a - 128)(code - zero) is exact in int32: 128 * 15 * 65536 < 2^31.  v is the sum over the groups, in
 * order, of scale times that sum; then v = (v - (azp - 128) * colsum) * ascale + bias, and pcx_qoutput computes the
 * output from v.  Every float operation is rounded separately (no FMA), so that the bytes are the same on every ISA.
 * |error| <= (groups + 4) * 2^-23 * (ascale * sum |a - 128||w| + |azp - 128||colsum| ascale + |bias|) before that.
 */
typedef struct {
    size_t m, lda, k;
    const uint8_t *a; /* [m:lda,k] */
    size_t ldz;
    const int32_t *azp; /* [m:ldz]: zero point of each row; ldz 0: of all */
    size_t lds;
    const float *ascale; /* [m:lds]: the scale of `a` over that of the output */
    size_t n;
    const uint8_t *w; /* [ceil(n/16),ceil(k/4),8,4]: kernels.q4gemm.pack */
    size_t group, st;
    const void *scale;    /* [ceil(n/16),ceil(k/group),16] f16 or f32 */
    const uint8_t *zero;  /* the same, < 16, or NULL */
    const float *colsum;  /* [n]: sums of the weights over k */
    const float *bias;    /* [n] or NULL */
    pcx_qoutput output;
    size_t ldo, ot;
    void *out; /* [m:ldo,n] u8 or f32 */
} pcx_q4gemm_args;

/*
 * qconv: as qgemm, over the windows of NHWC images as in sconv; padding has the value xzp.  The
 * products are in the order ky, kx, channel; the channels of each tap are padded to whole steps of four.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const uint8_t *x;   /* [b,ih,iw:ldx,c] */
    const int32_t *xzp; /* [1] */
    size_t n;
    const int8_t *w; /* [ceil(n/16),kh*kw,ceil(c/4),16,4], zero padded: kernels.qconv.pack */
    size_t kh, kw, sh, sw, dh, dw, pt, pl;
    const int32_t *colsum; /* [n] */
    const int32_t *wzp;    /* [n] or NULL */
    size_t oh, ow;
    pcx_qepilogue tail;   /* m = b*oh*ow */
    const void *prepared; /* as in pcx_qgemm_args */
    size_t ldo, ot;
    void *out; /* [b,oh,ow:ldo,n] u8, i32 or f32 */
} pcx_qconv_args;

/* qdwconv: as qconv, but each channel is convolved with its own kh x kw weights. */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const uint8_t *x;   /* [b,ih,iw:ldx,c] */
    const int32_t *xzp; /* [1] */
    const int8_t *w; /* [kh*kw,c] */
    size_t kh, kw, sh, sw, dh, dw, pt, pl;
    const int32_t *colsum; /* [c] */
    const int32_t *wzp;    /* [c] or NULL */
    size_t oh, ow;
    pcx_qepilogue tail;   /* m = b*oh*ow, n = c */
    const void *prepared; /* as in pcx_qgemm_args */
    size_t ldo, ot;
    void *out; /* [b,oh,ow:ldo,c] u8, i32 or f32 */
} pcx_qdwconv_args;

/*
 * qspmm: as qgemm with sparse symmetric weights in blocks of four k: output j has the blocks [rows[j], rows[j + 1]),
 * and block b is at k = 4 * index[b] to 4 * index[b] + 3.
 */
typedef struct {
    size_t m, lda, k;
    const uint8_t *a; /* [m:lda,k] */
    size_t ldz;
    const int32_t *azp; /* [m:ldz]: zero point of each row; ldz 0: of all */
    size_t n, blocks;
    const int32_t *rows;   /* [n+1] < blocks+1 */
    const uint16_t *index; /* [blocks] < ceil(k/4) */
    const int8_t *w;       /* [blocks,4], zero beyond k: kernels.qspmm.pack */
    const int32_t *colsum; /* [n]: sum of w over k */
    pcx_qepilogue tail;
    const void *prepared; /* as in pcx_qgemm_args */
    size_t ldo, ot;
    void *out; /* [m:ldo,n] u8, i32 or f32 */
} pcx_qspmm_args;

/* ---- everything else ---- */

/* The six strided dims of the elementwise kernels: stride 0 broadcasts. */

/* permute: a strided copy of runs of `run` bytes: Transpose, Concat, Slice, Expand. */
typedef struct {
    size_t d0, x0, d1, x1, d2, x2, d3, x3, d4, x4, d5, x5, run;
    const uint8_t *x; /* [d0:x0,...,d5:x5,run] */
    size_t o0, o1, o2, o3, o4, o5;
    uint8_t *out; /* [d0:o0,...,d5:o5,run] */
} pcx_permute_args;

/* fill: writes the element `value`, elem bytes, everywhere. */
typedef struct {
    size_t elem;
    const uint8_t *value; /* [elem] */
    size_t d0, o0, d1, o1, d2, o2, d3, o3, d4, o4, d5, o5;
    uint8_t *out; /* [d0:o0,...,d5:o5,elem] */
} pcx_fill_args;

/*
 * unary: out = op(x): PCX_ACT_*, then PCX_UNARY_*; p = params.  The relative error of functions that are not exact is below
 * 10 * 2^-24, of gelu below (16 + x^2 / 2) * 2^-24, of gelu_tanh below (16 + 3 x^2) * 2^-24; results below 2^-120 may be 0.
 */
enum {
    PCX_UNARY_EXP = 9, PCX_UNARY_SQRT, PCX_UNARY_LOG, PCX_UNARY_ABS, PCX_UNARY_NEG, PCX_UNARY_FLOOR,
    PCX_UNARY_CEIL, PCX_UNARY_ROUND, PCX_UNARY_RECIPROCAL, PCX_UNARY_ERF, PCX_UNARY_GELU, PCX_UNARY_GELU_TANH,
    PCX_UNARY_ELU, PCX_UNARY_SELU, PCX_UNARY_SOFTPLUS, PCX_UNARY_SOFTSIGN, PCX_UNARY_MISH,
    PCX_UNARY_THRESHOLDED_RELU, PCX_UNARY_CELU, PCX_UNARY_SIGN, PCX_UNARY_SWISH, PCX_UNARY_SIN, PCX_UNARY_COS,
    PCX_UNARY_TAN, PCX_UNARY_ASIN, PCX_UNARY_ACOS, PCX_UNARY_ATAN, PCX_UNARY_SINH, PCX_UNARY_COSH, PCX_UNARY_ASINH,
    PCX_UNARY_ACOSH, PCX_UNARY_ATANH, PCX_UNARY_COUNT
};
typedef struct {
    size_t m, ldx, n;
    const float *x; /* [m:ldx,n] */
    size_t op;
    const float *params; /* [2] */
    size_t ldo;
    float *out; /* [m:ldo,n] */
} pcx_unary_args;

/* binary: out = act(a op b); op 0 add 1 sub 2 mul 3 div 4 pow 5 min 6 max 7 prelu 8 fmod. */
typedef struct {
    size_t d0, a0, d1, a1, d2, a2, d3, a3, d4, a4, d5, a5;
    const float *a; /* [d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const float *b; /* [d0:b0,...,d5:b5] */
    size_t op, act;
    const float *act_params; /* [2] */
    size_t o0, o1, o2, o3, o4, o5;
    float *out; /* [d0:o0,...,d5:o5] */
} pcx_binary_args;

/*
 * pool: NHWC windows; mode 0 max, 1 the mean of the cells inside the image, 2 the sum over the
 * number of cells inside the image padded by pt, pl, pb, pr.  A window without cells gives -inf or 0.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const float *x; /* [b,ih,iw:ldx,c] */
    size_t mode, kh, kw, sh, sw, dh, dw, pt, pl, pb, pr, oh, ow, ldo;
    float *out; /* [b,oh,ow:ldo,c] */
} pcx_pool_args;

/*
 * reduce: over the middle axis; mode 0 sum 1 mean 2 max 3 min 4 prod 5 l1 6 l2 7 sum of squares
 * 8 log of the sum 9 log of the sum of exponentials.  Sums and products are joined pairwise from
 * blocks of 32, so the relative error of r positive terms is below (33 + log2(r)) * 2^-24.
 */
typedef struct {
    size_t outer, r, inner;
    const float *x; /* [outer,r,inner] */
    size_t mode;
    float *out; /* [outer,inner] */
} pcx_reduce_args;

/*
 * softmax: softmax or log-softmax over the middle axis.  With d = max - x, the relative error of a result is below
 * (d + ln r + r / 32 + 11) * 2^-24, and one below 2^-126 may be 0; the error of a logarithm is below
 * (2 d + 4 ln r + r / 32 + 11) * 2^-24.
 */
typedef struct {
    size_t outer, r, inner;
    const float *x; /* [outer,r,inner] */
    size_t log;
    float *out; /* [outer,r,inner] */
} pcx_softmax_args;

/*
 * quantize: clamp(round_half_even(x / scale[c]) + zero[c], clamp[0], clamp[1]), clamped before the conversion to
 * an integer; NaN gives clamp[0].
 */
typedef struct {
    size_t outer, c, inner;
    const float *x; /* [outer,c,inner] */
    const float *scale; /* [c] */
    const int32_t *zero; /* [c] */
    const int32_t *clamp; /* [2] */
    size_t ot;
    void *out; /* {u8,i8,i16,u16,i32}[outer,c,inner] */
} pcx_quantize_args;

/*
 * qpixels: as quantize with one scale, images of up to four channels to pixels of four bytes, whose other channels are 0.
 * The image begins at line `top` and pixel `left`; around it is the zero point.  Limits and border are clamped to 0..255.
 */
typedef struct {
    size_t b, xb, c, xc, ih, xh, iw, xw;
    const float *x;       /* [b:xb,c:xc,ih:xh,iw:xw] */
    const float *scale;   /* [1] */
    const int32_t *zero;  /* [1] */
    const int32_t *clamp; /* [2] */
    size_t top, left, oh, ow;
    uint8_t *out; /* [b,oh,ow,4] */
} pcx_qpixels_args;

/* dequantize: (x - zero[c]) * scale[c]; the difference is taken modulo 2^32. */
typedef struct {
    size_t outer, c, inner, xt;
    const void *x; /* {u8,i8,i16,u16,i32}[outer,c,inner] */
    const int32_t *zero; /* [c] */
    const float *scale; /* [c] */
    float *out; /* [outer,c,inner] */
} pcx_dequantize_args;

/* gather: rows of bytes selected by a constant index. */
typedef struct {
    size_t outer, rows, ldx, inner;
    const uint8_t *x; /* [outer,rows:ldx,inner] */
    size_t count;
    const int32_t *index; /* [count] < rows */
    uint8_t *out; /* [outer,count,inner] */
} pcx_gather_args;

/*
 * qpool: pool on u8.  In mode 2 cells of the pads have the value xzp.  Mean: clamp(round_half_even(
 * float(sum - count * xzp) * (scale / divisor)) + clamp[0], clamp[1], clamp[2]); without cells clamp[0].  The
 * maximum without cells is 0.
 */
typedef struct {
    size_t b, ih, iw, ldx, c;
    const uint8_t *x; /* [b,ih,iw:ldx,c] */
    size_t mode, kh, kw, sh, sw, dh, dw, pt, pl, pb, pr;
    const int32_t *xzp;   /* [1] */
    const float *scale;   /* [1]: scale of x over that of out */
    const int32_t *clamp; /* [3]: zero point of out, min, max */
    size_t oh, ow, ldo;
    uint8_t *out; /* [b,oh,ow:ldo,c] */
} pcx_qpool_args;

/*
 * qbinary: zero holds the zero points of a, b and out, then min and max of out.
 * 0 add: round_half_even((a - za) * scale[0] + (b - zb) * scale[1]) + zo, as a residual of pcx_qepilogue
 * 1 mul: round_half_even(float((a - za) * (b - zb)) * scale[0]) + zo; then clamped.
 */
typedef struct {
    size_t d0, a0, d1, a1, d2, a2, d3, a3, d4, a4, d5, a5;
    const uint8_t *a; /* [d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const uint8_t *b; /* [d0:b0,...,d5:b5] */
    size_t op;
    const int32_t *zero; /* [5] */
    const float *scale;  /* [2] */
    size_t o0, o1, o2, o3, o4, o5;
    uint8_t *out; /* [d0:o0,...,d5:o5] */
} pcx_qbinary_args;

/* lut: out = table[x]; one table for all, or one for each column. */
typedef struct {
    size_t m, ldx, n;
    const uint8_t *x; /* [m:ldx,n] */
    size_t tables;    /* 1 or n; with any other number the first is used for all columns */
    const uint8_t *table; /* [tables,256] */
    size_t ldo;
    uint8_t *out; /* [m:ldo,n] */
} pcx_lut_args;

/* normalize: x * scale[c] + shift[c]. */
typedef struct {
    size_t m, c;
    const uint8_t *x;   /* [m,c] */
    const float *scale; /* [c] */
    const float *shift; /* [c] */
    float *out;         /* [m,c] */
} pcx_normalize_args;

/*
 * cast: float to integer truncates and saturates, NaN is 0; integers wrap; to bool: x != 0; to bf16 by way of f32; else
 * rounded to the nearest, ties to even.
 */
typedef struct {
    size_t n, xt;
    const void *x; /* [n], any type */
    size_t ot;
    void *out; /* [n], any type */
} pcx_cast_args;

/* spack: packs run-time weights into the panels of sgemm and sconv; columns beyond n are zero. */
typedef struct {
    size_t n, xn, k, xk;
    const float *x; /* [n:xn,k:xk] */
    float *out;     /* [ceil(n/16),k,16] */
} pcx_spack_args;

/* matmul: g products out[i] = a[i] . b[i] of small matrices; each is packed by the thread that multiplies it. */
typedef struct {
    size_t g, ag, m, am, k;
    const float *a; /* [g:ag,m:am,k] */
    size_t bg, bk, n, bn;
    const float *b; /* [g:bg,k:bk,n:bn] */
    size_t og, ldo;
    float *out; /* [g:og,m:ldo,n] */
} pcx_matmul_args;

/* qpack: packs run-time weights into the panels of qgemm (s = 1) and qconv (s = kh * kw); u8 is stored as w - 128. */
typedef struct {
    size_t n, xn, s, xs, l, xl, xt;
    const void *x; /* {u8,i8}[n:xn,s:xs,l:xl] */
    int8_t *out;   /* [ceil(n/16),s,ceil(l/4),16,4] */
    int32_t *out_colsum; /* [n] */
} pcx_qpack_args;

/* resample: out[o,i,:] = sum over t of weight[i,t] * x[o,index[i,t],:], added in order. */
typedef struct {
    size_t outer, r, inner;
    const float *x; /* [outer,r,inner] */
    size_t m, taps;
    const int32_t *index; /* [m,taps] < r */
    const float *weight;  /* [m,taps] */
    float *out;           /* [outer,m,inner] */
} pcx_resample_args;

/* layernorm: (x - mean) / sqrt(variance + epsilon) * scale + bias of each row; rms: the mean is not subtracted. */
typedef struct {
    size_t m, n;
    const float *x;       /* [m,n] */
    const float *scale;   /* [n] or NULL */
    const float *bias;    /* [n] or NULL */
    const float *epsilon; /* [1] */
    size_t rms;
    float *out; /* [m,n] */
} pcx_layernorm_args;

/*
 * lrn: x / (bias + alpha / size * s)^beta, s the sum of squares over (size - 1) / 2 channels before, the
 * channel itself, and size / 2 after.
 */
typedef struct {
    size_t m, c;
    const float *x; /* [m,c] */
    size_t size;
    const float *params; /* [3]: alpha, beta, bias */
    float *out;          /* [m,c], must not overlap x */
} pcx_lrn_args;

/* dynquant: quantizes each row to u8 over its range, including 0, in 255 steps; the scale of a row of zeros is 1. */
typedef struct {
    size_t m, ldx, k;
    const float *x; /* [m:ldx,k] */
    size_t ldo;
    uint8_t *out;      /* [m:ldo,k] */
    float *out_scale;  /* [m] */
    int32_t *out_zero; /* [m] */
} pcx_dynquant_args;

/* where: a where cond is not 0, b elsewhere; copies elements of 1, 2, 4 or 8 bytes. */
typedef struct {
    size_t d0, c0, d1, c1, d2, c2, d3, c3, d4, c4, d5, c5;
    const uint8_t *cond; /* [d0:c0,...,d5:c5], bool */
    size_t a0, a1, a2, a3, a4, a5, xt;
    const void *a; /* {u8,u16,u32,u64}[d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const void *b; /* {u8,u16,u32,u64}[d0:b0,...,d5:b5] */
    size_t o0, o1, o2, o3, o4, o5;
    void *out; /* {u8,u16,u32,u64}[d0:o0,...,d5:o5] */
} pcx_where_args;

/* compare: op 0 == 1 < 2 <= 3 > 4 >= 5 !=. */
typedef struct {
    size_t d0, a0, d1, a1, d2, a2, d3, a3, d4, a4, d5, a5, xt;
    const void *a; /* {f32,f64,u8,i32,u32,i64,u64}[d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const void *b; /* {f32,f64,u8,i32,u32,i64,u64}[d0:b0,...,d5:b5] */
    size_t op;
    size_t o0, o1, o2, o3, o4, o5;
    uint8_t *out; /* [d0:o0,...,d5:o5], bool */
} pcx_compare_args;

/*
 * ibinary: out = a op b for integers, exact modulo 2^bits; op 0 add 1 sub 2 mul 3 div, toward zero 4 pow 5 min 6 max
 * 7 mod, signed as b 8 mod, signed as a 9 and 10 or 11 xor 12 << 13 >>, shifting in zeros.  Dividing by 0 gives 0.
 */
typedef struct {
    size_t d0, a0, d1, a1, d2, a2, d3, a3, d4, a4, d5, a5, xt;
    const void *a; /* {u8,i32,u32,i64,u64}[d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const void *b; /* {u8,i32,u32,i64,u64}[d0:b0,...,d5:b5] */
    size_t op;
    size_t o0, o1, o2, o3, o4, o5;
    void *out; /* {u8,i32,u32,i64,u64}[d0:o0,...,d5:o5] */
} pcx_ibinary_args;

/*
 * ireduce: over the middle axis, exact modulo 2^bits; mode 0 sum 1 mean, that sum divided toward zero 2 max 3 min
 * 4 prod 5 l1 6 sum of squares.  Doubles, in order: the relative error of r positive terms is below r * 2^-53.
 */
typedef struct {
    size_t outer, r, inner, xt;
    const void *x; /* {f64,i32,u32,i64,u64}[outer,r,inner] */
    size_t mode;
    void *out; /* {f64,i32,u32,i64,u64}[outer,inner] */
} pcx_ireduce_args;

/*
 * argreduce: the position of the maximum (mode 0) or minimum (1) along the middle axis; of equal elements the first
 * or the last.  A NaN is the result if it comes first, and is ignored otherwise.
 */
typedef struct {
    size_t outer, r, inner, xt;
    const void *x; /* {f32,f64,u8,i32,u32,i64,u64}[outer,r,inner] */
    size_t mode, last;
    int64_t *out; /* [outer,inner] */
} pcx_argreduce_args;

/* cumsum: running sums or products along the middle axis; integers modulo 2^bits, floats in double, each rounded once. */
typedef struct {
    size_t outer, r, inner, xt;
    const void *x; /* {f32,f64,i32,u32,i64,u64}[outer,r,inner] */
    size_t product, exclusive, reverse;
    void *out; /* {f32,f64,i32,u32,i64,u64}[outer,r,inner] */
} pcx_cumsum_args;

/* lookup: rows of bytes selected by any index; [-rows, 0) count from the end, others outside give bytes of 255. */
typedef struct {
    size_t outer, rows, ldx, inner;
    const uint8_t *x; /* [outer,rows:ldx,inner] */
    size_t count, it;
    const void *index; /* {i32,i64}[count] */
    uint8_t *out; /* [outer,count,inner] */
    void *fault;  /* where it is told that an index is outside, or NULL */
} pcx_lookup_args;

/*
 * dmath: out = a op b, or op of a alone, computed in double and rounded once; the error is that of C's functions.  op 0 add
 * 1 sub 2 mul 3 div 4 pow 5 min 6 max 7 prelu 8 fmod 9 mod, signed as b; 10 exp 11 sqrt 12 log 13 abs 14 neg 15 floor
 * 16 ceil 17 round 18 reciprocal 19 erf 20 sign 21 sin 22 cos 23 tan 24 asin 25 acos 26 atan 27 sinh 28 cosh 29 asinh
 * 30 acosh 31 atanh 32 tanh 33 sigmoid.
 */
typedef struct {
    size_t d0, a0, d1, a1, d2, a2, d3, a3, d4, a4, d5, a5, xt;
    const void *a; /* {f32,f64}[d0:a0,...,d5:a5] */
    size_t b0, b1, b2, b3, b4, b5;
    const void *b; /* {f32,f64}[d0:b0,...,d5:b5] */
    size_t op;
    size_t o0, o1, o2, o3, o4, o5;
    void *out; /* {f32,f64}[d0:o0,...,d5:o5] */
} pcx_dmath_args;

/*
 * topk: the k largest or smallest elements along the middle axis, in order, and their positions; of equal elements the one
 * in front comes first.  NaN is larger than any number.  Beyond r: zeros.
 */
typedef struct {
    size_t outer, r, inner, xt;
    const void *x; /* {f32,f64,u8,i32,u32,i64,u64}[outer,r,inner] */
    size_t smallest, k;
    void *out;          /* {f32,f64,u8,i32,u32,i64,u64}[outer,k,inner] */
    int64_t *out_index; /* [outer,k,inner] */
} pcx_topk_args;

/*
 * scatter: out = x; then, in order, row index[i] of out becomes updates[i] (op 0), or itself op it: 1 sum 2 product 3 min
 * 4 max, integers modulo 2^bits.  Indices outside [0, rows) are left out.
 */
typedef struct {
    size_t rows, inner, xt;
    const void *x; /* {f32,f64,u8,i32,u32,i64,u64}[rows,inner] */
    size_t count;
    const int64_t *index; /* [count] */
    const void *updates;  /* {f32,f64,u8,i32,u32,i64,u64}[count,inner] */
    size_t op;
    void *out;   /* {f32,f64,u8,i32,u32,i64,u64}[rows,inner] */
    void *fault; /* as in pcx_lookup_args */
} pcx_scatter_args;

/*
 * sample: images at n points each, given in cells as d, h, w; mode 0 the nearest cell, ties to even, 1 linear 2 cubic
 * (a = -0.75).  Padding: cells outside are 0 zero 1 the nearest of the border 2 mirrored, at the centres of the outermost
 * cells (corners 1) or at their outer edges (0).  NaN is outside.  Sums are in double: |error| <= 2^-23 * sum |weight||x|.
 */
typedef struct {
    size_t b, xb, c, xc, d, xd, h, xh, w, xw;
    const float *x; /* [b:xb,c:xc,d:xd,h:xh,w:xw] */
    size_t n;
    const float *at; /* [b,n,3] */
    size_t mode, padding, corners;
    float *out; /* [b,n,c] */
} pcx_sample_args;

/*
 * nms: of each image and class at most k boxes, the best first (of equal scores the first), that share no more than
 * overlap[0] of their union.  Boxes are two opposite corners (center 0), or centre and size (1).  Scores that do not
 * exceed threshold[0], where it is given, do not count, nor does NaN.  Rows are image, class, box; after out_count[0] rows: 0.
 */
typedef struct {
    size_t b, n;
    const float *boxes; /* [b,n,4] */
    size_t c;
    const float *scores;    /* [b,c,n] */
    const float *overlap;   /* [1] */
    const float *threshold; /* [1] or NULL */
    size_t center, k;
    int64_t *out;       /* [b,c,k,3] */
    int64_t *out_count; /* [1] */
} pcx_nms_args;

/* nonzero: the places of true elements, in order; after out_count[0] places: 0. */
typedef struct {
    size_t n;
    const uint8_t *x;   /* [n], bool */
    int64_t *out;       /* [n] */
    int64_t *out_count; /* [1] */
} pcx_nonzero_args;

/*
 * qround: int8 codes and a scale for each row of weights.  Of the scales max(full * factor, low), with ascending factors, the
 * one with the smallest sum of h * error^2, after codes that exceed the bounds of int16 accumulation were moved toward zero:
 * 128 for the sum of neighbours, 256 for the absolute values of a chunk.  Codes are within 127; errors are summed in float,
 * 16 lanes, then in double.
 */
typedef struct {
    size_t n, chunks, depth;
    const float *w; /* [n,chunks,depth] */
    size_t u;
    const float *h;    /* [u,chunks,depth]; row r has row min(r, u - 1) */
    const float *full; /* [n] */
    const float *low;  /* [n] */
    size_t count;
    const float *factors; /* [count] */
    int8_t *out;          /* [n,chunks,depth] */
    float *out_scale;     /* [n] */
} pcx_qround_args;

/*
 * qdescend: coordinate descent on the codes of weights, within bounds, for the squared error d' c d of each row.  Float32
 * without fused additions; sums of absolute codes in uint32, which k <= 2^24 cannot overflow.
 */
typedef struct {
    size_t n, k;
    const int8_t *q;    /* [n,k], the codes to begin with */
    const float *slope; /* [n,k], d c for these */
    size_t g;
    const float *scale; /* [n,g]; weight j has column min(j, g - 1) */
    size_t u;
    const float *c;         /* [u,k,k]; row r has matrix min(r, u - 1) */
    const int8_t *low;      /* [n,k] or NULL: codes are from it to 15 more, or within 127 */
    const uint8_t *fixed;   /* [n,k] or NULL: where not 0, the code stays */
    const int32_t *partner; /* [k] or NULL: the other weight of a pair, whose sum stays within 128, or k */
    size_t chunks;
    const int32_t *chunk; /* [k] or NULL: the chunk whose absolute codes stay within 256 in all */
    size_t sweeps;
    int8_t *out; /* [n,k] */
} pcx_qdescend_args;

/* end cdef */

#endif
