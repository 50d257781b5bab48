/* dmath.c - rare functions, each a call for an element; all arithmetic is in double. */
#include "../common/walk.h"

#include <math.h>

typedef double dmath_function(double a, double b);

#define DMATH(name, value)                            \
    static PCX_COLD double dmath_##name(double a, double b)    \
    {                                                 \
        (void)b;                                      \
        return value;                                 \
    }

/* The sign of b, as floor division has it; of an infinite b, a itself where the signs agree. */
static PCX_COLD double dmath_mod(double a, double b)
{
    const double rest = fmod(a, b);
    if (rest == 0 && b != 0)
        return copysign(0.0, b);
    return (rest < 0) != (b < 0) && rest != 0 ? rest + b : rest;
}

DMATH(add, a + b)
DMATH(sub, a - b)
DMATH(mul, a * b)
DMATH(div, a / b)
DMATH(pow, pow(a, b))
DMATH(min, a < b || a != a ? a : b)
DMATH(max, a > b || a != a ? a : b)
DMATH(prelu, a < 0 ? a * b : a)
DMATH(fmod, fmod(a, b))
DMATH(exp, exp(a))
DMATH(sqrt, sqrt(a))
DMATH(log, log(a))
DMATH(abs, fabs(a))
DMATH(neg, -a)
DMATH(floor, floor(a))
DMATH(ceil, ceil(a))
DMATH(round, rint(a))
DMATH(reciprocal, 1 / a)
DMATH(erf, erf(a))
DMATH(sign, a > 0 ? 1 : a < 0 ? -1 : a)
DMATH(sin, sin(a))
DMATH(cos, cos(a))
DMATH(tan, tan(a))
DMATH(asin, asin(a))
DMATH(acos, acos(a))
DMATH(atan, atan(a))
DMATH(sinh, sinh(a))
DMATH(cosh, cosh(a))
DMATH(asinh, asinh(a))
DMATH(acosh, acosh(a))
DMATH(atanh, atanh(a))
DMATH(tanh, tanh(a))
DMATH(sigmoid, 1 / (1 + exp(-a)))

static dmath_function *const dmath_functions[] = {
    dmath_add, dmath_sub, dmath_mul, dmath_div, dmath_pow, dmath_min, dmath_max, dmath_prelu, dmath_fmod, dmath_mod,
    dmath_exp, dmath_sqrt, dmath_log, dmath_abs, dmath_neg, dmath_floor, dmath_ceil, dmath_round, dmath_reciprocal,
    dmath_erf, dmath_sign, dmath_sin, dmath_cos, dmath_tan, dmath_asin, dmath_acos, dmath_atan, dmath_sinh, dmath_cosh,
    dmath_asinh, dmath_acosh, dmath_atanh, dmath_tanh, dmath_sigmoid,
};
_Static_assert(sizeof dmath_functions / sizeof *dmath_functions == 34, "the contract's bound of op");

static walk dmath_walk(const void *args)
{
    walk w;
    walk_extents(&w, 3, 6, WALK_SLOTS(args, pcx_dmath_args, d0), 2);
    walk_strides(&w, 0, WALK_SLOTS(args, pcx_dmath_args, a0), 2);
    walk_strides(&w, 1, WALK_SLOTS(args, pcx_dmath_args, b0), 1);
    walk_strides(&w, 2, WALK_SLOTS(args, pcx_dmath_args, o0), 1);
    walk_finish(&w);
    return w;
}

static size_t dmath_units(const void *args)
{
    const walk w = dmath_walk(args);
    return walk_units(&w);
}

static PCX_COLD void dmath_scalar(const void *args, size_t begin, size_t end, void *scratch)
{
    const pcx_dmath_args *p = args;
    const walk w = dmath_walk(p);
    const size_t sa = walk_step(&w, 0), sb = walk_step(&w, 1), so = walk_step(&w, 2);
    dmath_function *const f = dmath_functions[p->op];
    walk_at at = walk_range(begin, end);
    (void)scratch;
    while (walk_next(&at, &w))
        for (size_t j = 0; j < at.n; j++) {
            const size_t a = at.offset[0] + j * sa, b = at.offset[1] + j * sb, o = at.offset[2] + j * so;
            if (p->xt == PCX_F32)
                ((float *)p->out)[o] = (float)f((double)((const float *)p->a)[a], (double)((const float *)p->b)[b]);
            else
                ((double *)p->out)[o] = f(((const double *)p->a)[a], ((const double *)p->b)[b]);
        }
}

static const pcx_impl dmath_impls[] = {
    { "scalar", 0, dmath_units, dmath_scalar, NULL, NULL, NULL, NULL },
};

const pcx_kernel pcx_dmath = {
    "dmath", 1,
    "d0 a0 d1 a1 d2 a2 d3 a3 d4 a4 d5 a5 xt a:{f32,f64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5] "
    "b0 b1 b2 b3 b4 b5 b:{f32,f64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5] op "
    "o0 o1 o2 o3 o4 o5 out:{f32,f64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5] where op<34",
    dmath_impls,
};
