"""bgemm: out = act(a . w + bias + residual) of operands rounded to bfloat16, summed in float32."""

import numpy as np

from ._spec import reference
from ._traits import Traits
from .hgemm import widened
from .sgemm import NR, sgemm


@reference(
    where="act<9,m<2147483648,n<2147483648,k<2147483648",
    macs="m*n*k",
    plain=True,
    traits=Traits(sums="float", weights={"w": "bgemm"}, tile="rows"),
)
def bgemm(
    a: "f32[m:lda,k]",
    w: "bf16[ceil(n/16):ldw,ceil(k/2),16,2]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n]?",
    out: "f32[m:ldo,n]",
):
    """Sums are float64 here; kernels sum in float32, in an order of their own.

    Their error against this is at most (min(k, 4096) + k / 32 + 4) 2^-24 times the sum of |a w|; that of rounding the
    operands, each by at most 2^-8 of itself, is a little more than 2^-7 times that sum, and in practice near its root.
    """
    sgemm(rounded(a), panels(w, a.shape[1]), bias, act, act_params, residual, out)


def rounded(x):
    """float32 numbers rounded to bfloat16, to nearest, ties to even, as float32; subnormal ones become zero."""
    bits = np.array(x, np.float32, order="C").view(np.uint32)
    normal, number = bits & 0x7F800000 != 0, bits & 0x7FFFFFFF <= 0x7F800000
    up = np.where(number, bits + 0x7FFF + (bits >> 16 & 1), bits | 0x400000)
    return np.where(normal, up & 0xFFFF0000, bits & 0x80000000).astype(np.uint32).view(np.float32)


def panels(w, k):
    """What `pack` made of weights [n,k], as the panels that sgemm reads: f32[ceil(n/16),k,16]."""
    count, steps, *_ = w.shape
    wide = widened(w)
    wide = np.where(np.abs(wide) < np.finfo(np.float32).tiny, np.float32(0), wide)  # subnormal; NaN stays
    return np.ascontiguousarray(wide.transpose(0, 1, 3, 2).reshape(count, 2 * steps, NR)[:, :k])


def pack(w):
    """Weights [n,k], float32 or bfloat16, as bgemm reads them: bf16[ceil(n/16),ceil(k/2),16,2], zero padded."""
    from ml_dtypes import bfloat16

    n, k = w.shape
    count, steps = -(-n // NR), -(-k // 2)
    full = np.zeros((count * NR, 2 * steps), bfloat16)
    full[:n, :k] = w
    return np.ascontiguousarray(full.reshape(count, NR, steps, 2).transpose(0, 2, 1, 3))


def example(rng, m, n, k):
    """Random arguments of the given sizes, for tests and benchmarks; needs ml_dtypes."""
    a = rng.standard_normal((m, k), np.float32)
    w = pack(rng.standard_normal((n, k), np.float32))
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    return [a, w, bias, 2, params, residual, np.full((m, n), np.nan, np.float32)]
