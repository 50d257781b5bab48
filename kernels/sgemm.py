"""sgemm: out = act(a . w + bias + residual), float32."""

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits

NR = 16


@reference(
    where="act<9,m<2147483648,n<2147483648,k<2147483648",
    macs="m*n*k",
    traits=Traits(
        sums="float",
        weights={"w": "sgemm"},
        folds=("offset", "factor"),
        tile="rows",
        half="hgemm",
        bfloat16="bgemm",
    ),
)
def sgemm(
    a: "f32[m:lda,k]",
    w: "f32[ceil(n/16):ldw,k,16]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n]?",
    out: "f32[m:ldo,n]",
):
    """In float64 here; kernels sum in float32, in parts of at most 4096 products each.

    Their error is at most (min(k, 4096) + k / 4096 + 4) 2^-24 times the sum of |a w|, and in practice about
    the square root of that factor.
    """
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = 0.0
            for q in range(a.shape[1]):
                total += np.float64(a[i, q]) * w[j // 16, q, j % 16]
            if bias is not None:
                total += bias[j]
            if residual is not None:
                total += residual[i, j]
            out[i, j] = activate(np.float32(total), act, act_params)


def pack(w, dtype=np.float32):
    """Weights [n,k] as the panels that sgemm reads, f32[ceil(n/16),k,16], zero padded.

    If all rows of `w` are the same memory (a broadcast constant), so are the panels.
    """
    n, k = w.shape
    panels = -(-n // NR)
    if w.strides[0] == 0 and n > 1:
        panel = np.repeat(np.asarray(w[0], dtype)[:, None], NR, 1)
        return np.broadcast_to(panel, (panels, k, NR))
    if n % NR:
        full = np.zeros((panels * NR, k), dtype)
        full[:n] = w
    else:
        full = np.asarray(w, dtype)
    return np.ascontiguousarray(full.reshape(panels, NR, k).transpose(0, 2, 1))


def example(rng, m, n, k):
    """Random arguments of the given sizes, for tests and benchmarks."""
    a = rng.standard_normal((m, k), np.float32)
    w = rng.standard_normal((n, k), np.float32)
    bias = rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    return [a, pack(w), bias, 2, params, residual, np.full((m, n), np.nan, np.float32)]
