"""qlowrank: u8 times two low-rank s8 factors, with a 16-bit intermediate result, and the quantized epilogue."""

import numpy as np

from ._qepilogue import finish, row
from ._spec import reference
from ._traits import Traits
from .qgemm import epilogue, weights_for
from .qgemm import pack as pack_first

NR = 16
MAX_MID = 32767  # of the intermediate result
MAX_R = 512  # 32767 * 128 * 512 < 2**31


@reference(
    where="act<9,k<=65536,r<=512",
    macs="m*r*(n+k)",
    traits=Traits(sums="integer", weights={"w": "qgemm", "v": "qlowrank"}, accumulation=("step", "panels")),
)
def qlowrank(
    a: "u8[m:lda,k]",
    azp: "i32[1]",
    w: "i8[ceil(r/16),ceil(k/4),16,4]",
    colsum: "i32[r]",
    mid_bias: "i32[r]?",
    mid_scale: "f32[r]",
    v: "i8[ceil(n/16),ceil(r/2),16,2]",
    bias: "i32[n]?",
    scale: "f32[n]?",
    clamp: "i32[3]?",
    lut: "u8[256]?",
    add_scale: "f32[2]?",
    add_zero: "i32[5]?",
    residual: "u8[m:ldr,n]?",
    act: "size",
    act_params: "f32[2]",
    prepared: "prepared",
    out: "{u8,i32,f32}ot[m:ldo,n]",
):
    r = mid_scale.shape[0]
    mid = np.empty(r, np.int64)
    high, za = np.float32(MAX_MID), np.int64(azp[0])
    for i in range(out.shape[0]):
        for j in range(r):
            total = np.int64(0)
            for q in range(a.shape[1]):
                total += (np.int64(a[i, q]) - za) * np.int64(w[j // 16, q // 4, j % 16, q % 4])
            if mid_bias is not None:
                total += mid_bias[j]
            x = np.float32(np.int32(total)) * mid_scale[j]
            x = x if x < high else high
            x = x if x > -high else -high
            mid[j] = np.int64(np.rint(x))
        for j in range(out.shape[1]):
            total = np.int64(0)
            for q in range(r):
                total += mid[q] * np.int64(v[j // 16, q // 2, j % 16, q % 2])
            added = row(residual, i)
            finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, added, act, act_params, out[i])


def pack(v):
    """The second factor int8[n,r] as panels of pairs, int8[ceil(n/16),ceil(r/2),16,2], zero padded."""
    n, r = v.shape
    panels, steps = -(-n // NR), -(-r // 2)
    full = np.zeros((panels * NR, steps * 2), np.int8)
    full[:n, :r] = v
    return np.ascontiguousarray(full.reshape(panels, NR, steps, 2).transpose(0, 2, 1, 3))


def example(rng, m, n, k, r=None, T=4, **tail):
    """Random arguments of the given sizes, for tests and benchmarks; by default of rank min(n, k) / 4."""
    r = -(-min(n, k) // 4) if r is None else r
    w = pack_first(weights_for(rng, r, k, T))
    a = rng.integers(0, 256, (m, k)).astype(np.uint8)
    mid_bias = rng.integers(-4000, 4000, r).astype(np.int32)
    mid_scale = (rng.uniform(0.5, 2, r) / max(k, 1) ** 0.5).astype(np.float32)
    v = pack(rng.integers(-128, 128, (n, r)).astype(np.int8))
    end = epilogue(rng, m, n, **tail)
    if end["scale"] is not None:
        end["scale"] = end["scale"] / np.float32(300 * max(r, 1) ** 0.5)
    return [a, np.array([77], np.int32), w.w, w.colsum, mid_bias, mid_scale, v, *end.values()]
