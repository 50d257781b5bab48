"""lowrank: out = act(mid_act(a . u + mid_bias) . v + bias + residual), float32: a product with two low-rank factors."""

import numpy as np

from ._act import activate
from ._spec import reference
from ._traits import Traits
from .sgemm import pack


@reference(
    where="mid_act<9,act<9,m<2147483648,n<2147483648,k<2147483648,r<2147483648",
    macs="m*r*(n+k)",
    traits=Traits(sums="float", weights={"u": "sgemm", "v": "sgemm"}),
)
def lowrank(
    a: "f32[m:lda,k]",
    u: "f32[ceil(r/16),k,16]",
    mid_bias: "f32[r]?",
    mid_act: "size",
    mid_params: "f32[2]",
    v: "f32[ceil(n/16),r,16]",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[m:ldr,n]?",
    out: "f32[m:ldo,n]",
):
    """Sums are float64 here, the intermediate result is float32; the error of each product is that of sgemm."""
    r = v.shape[1]
    mid = np.empty(r, np.float32)
    for i in range(out.shape[0]):
        for j in range(r):
            total = 0.0
            for q in range(a.shape[1]):
                total += np.float64(a[i, q]) * u[j // 16, q, j % 16]
            if mid_bias is not None:
                total += mid_bias[j]
            mid[j] = activate(np.float32(total), mid_act, mid_params)
        for j in range(out.shape[1]):
            total = 0.0
            for q in range(r):
                total += np.float64(mid[q]) * v[j // 16, q, j % 16]
            if bias is not None:
                total += bias[j]
            if residual is not None:
                total += residual[i, j]
            out[i, j] = activate(np.float32(total), act, act_params)


def example(rng, m, n, k, r=None):
    """Random arguments of the given sizes, for tests and benchmarks; by default of rank min(n, k) / 4."""
    r = -(-min(n, k) // 4) if r is None else r
    a = rng.standard_normal((m, k), np.float32)
    u, v = rng.standard_normal((r, k), np.float32), rng.standard_normal((n, r), np.float32)
    mid_bias, bias = rng.standard_normal(r, np.float32), rng.standard_normal(n, np.float32)
    residual = rng.standard_normal((m, n), np.float32)
    params = np.array([-1, 1], np.float32)
    out = np.full((m, n), np.nan, np.float32)
    return [a, pack(u), mid_bias, 0, params, pack(v), bias, 2, params, residual, out]
