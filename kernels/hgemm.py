"""hgemm: out = act(a . w + bias + residual), float32, with float16 or bfloat16 weights."""

import numpy as np

from ._spec import reference
from ._traits import Traits
from .sgemm import pack as panels
from .sgemm import sgemm


@reference(
    where="act<9,m<2147483648,n<2147483648,k<2147483648",
    macs="m*n*k",
    plain=True,
    traits=Traits(sums="float", weights={"w": "hgemm"}, tile="rows"),
)
def hgemm(
    a: "f32[m:lda,k]",
    w: "{f16,bf16}wt[ceil(n/16):ldw,k,16]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n]?",
    out: "f32[m:ldo,n]",
):
    sgemm(a, widened(w), bias, act, act_params, residual, out)


def widened(w):
    """float16 or bfloat16 numbers as float32, computed from their bits."""
    bits = np.ascontiguousarray(w).view(np.uint16).astype(np.uint32)
    if w.dtype.name == "bfloat16":  # the upper half of a float32
        return (bits << 16).view(np.float32)
    sign, exponent, fraction = bits >> 15 << 31, bits >> 10 & 31, bits & 1023
    wide = np.where(exponent == 31, 255, exponent + (127 - 15)) << 23 | fraction << 13
    tiny = (fraction.astype(np.float32) * np.float32(2**-24)).view(np.uint32)  # subnormal: no implicit leading 1
    return (sign | np.where(exponent == 0, tiny, wide)).astype(np.uint32).view(np.float32)


def pack(w):
    """Weights [n,k], float16 or bfloat16, as the panels that hgemm reads, [ceil(n/16),k,16], zero padded."""
    return panels(w, w.dtype)


def example(rng, m, n, k, dtype="float16"):
    """Random arguments of the given sizes, for tests and benchmarks; `dtype` "bfloat16" needs ml_dtypes."""
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16 as dtype
    a = rng.standard_normal((m, k), np.float32)
    w = rng.standard_normal((n, k), np.float32).astype(dtype)
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    return [a, pack(w), bias, 2, params, residual, np.full((m, n), np.nan, np.float32)]
