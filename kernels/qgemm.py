"""qgemm: u8 times s8 summed exactly in int32, with the quantized epilogue.

A *step* is four consecutive k of one column: the 32 bits that vpmaddubsw, vpdpbusd and sdot
process at once.  On AVX2 a step gives two int16 lanes per column, each the sum of two products.
T consecutive steps, a *chunk*, are added in these lanes before they are widened; T is the
*accumulation depth*.  The sum is exact if no u8 input can overflow a lane.  With P and N, the sums
of the positive and of the negated negative weights, the conditions are:

* for a pair of products, where vpmaddubsw saturates: P and N are both at most 128, since
  255 * 128 < 2**15;
* for a chunk, where additions may wrap so that only the total matters: the lane starts at
  floor(255 * (N - P) / 2), the total lies within 255 * (P + N) / 2 of zero, and P + N <= 256 keeps
  it in int16.  One step (T = 1) is a pair and needs no start value.

``accumulation_depth`` finds the largest such T.  Only the AVX2 kernel depends on it, and computes
it again from the weights it is given.  If weights exceed the bounds, it subtracts the excess and
sums that separately.  The sums are exact in all cases; a larger T is only faster.
"""

from dataclasses import dataclass

import numpy as np

from ._qepilogue import finish, row
from ._spec import reference
from ._traits import Traits

NR = 16
DEPTHS = (8, 4, 2, 1)
PAIR, CHUNK = 128, 256  # bounds: of P and of N in a pair, of P + N in a chunk


@reference(
    where="act<9,k<=65536",
    macs="m*n*k",
    traits=Traits(sums="integer", weights={"w": "qgemm"}, tile="rows", accumulation=("step", "panels")),
)
def qgemm(
    a: "u8[m:lda,k]",
    azp: "i32[m:ldz]",
    w: "i8[ceil(n/16),ceil(k/4),16,4]",
    colsum: "i32[n]",
    wzp: "i32[n]?",
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
    for i in range(out.shape[0]):
        za = np.int64(azp[i])
        for j in range(out.shape[1]):
            zw = np.int64(0)
            if wzp is not None:
                zw = np.int64(wzp[j])
            total = np.int64(0)
            for q in range(a.shape[1]):
                total += (np.int64(a[i, q]) - za) * (np.int64(w[j // 16, q // 4, j % 16, q % 4]) - zw)
            added = row(residual, i)
            finish(total, j, bias, scale, clamp, lut, add_scale, add_zero, added, act, act_params, out[i])


@dataclass(frozen=True)
class Packed:
    """Weights as the integer kernels read them, with their accumulation depths.

    Attributes
    ----------
    w : int8[ceil(n/16), steps, 16, 4], zero padded (qconv: steps is split in [kh*kw, ceil(c/4)])
    colsum : int32[n], the sum of each column's weights
    T : int array [ceil(n/16)], the accumulation depth of each panel, the minimum of its columns; 0: none
    """

    w: np.ndarray
    colsum: np.ndarray
    T: np.ndarray


def pack(w, segments=1):
    """Weights int8[n,k] as panels; k consists of `segments` runs, each padded to whole steps."""
    n, k = w.shape
    panels = -(-n // NR)
    steps = _steps(w, segments)  # [n,s,4]
    full = np.zeros((panels * NR, *steps.shape[1:]), np.int8)
    full[:n] = steps
    packed = np.ascontiguousarray(full.reshape(panels, NR, full.shape[1], 4).transpose(0, 2, 1, 3))
    depth = np.full(panels * NR, DEPTHS[0])
    depth[:n] = accumulation_depth(w, segments)
    return Packed(packed, w.sum(1, dtype=np.int32), depth.reshape(panels, NR).min(1, initial=DEPTHS[0]))


def unpack(packed, n, k):
    """The weights int8[n,k] of packed ones with one segment."""
    panels, steps = packed.w.shape[:2]
    return np.ascontiguousarray(packed.w.transpose(0, 2, 1, 3).reshape(panels * NR, steps * 4)[:n, :k])


def int16_sums(k, T, segments=1):
    """The chunk and lane that each of the k weights belongs to.

    Returns
    -------
    (chunk, lane) : int arrays [k].  The products of one column with the same chunk and lane are
    added in int16; of these, the two of one step are a pair.
    """
    run = k // segments if segments else 0
    at = np.arange(k)
    within = at % max(run, 1)
    step = at // max(run, 1) * -(-run // 4) + within // 4
    return step // T, within % 4 // 2


def fits(w, T, segments=1):
    """Whether chunks of T steps cannot overflow, per row of weights int8[..., k]: bool[...]."""
    if T == 0:
        return np.ones(w.shape[:-1], bool)
    steps = _steps(w, segments)
    even, odd = steps[..., 0::2], steps[..., 1::2]  # [..., s, lane]
    # A pair of weights of different signs is always within the bound (|x| <= 128); of the same sign, |x + y| is P or N.
    pair = np.add(even, odd, dtype=np.int16)
    ok = (pair.max((-2, -1), initial=0) <= PAIR) & (pair.min((-2, -1), initial=0) >= -PAIR)
    if T == 1:
        return ok
    total = np.add(np.abs(even).view(np.uint8), np.abs(odd).view(np.uint8), dtype=np.uint16)
    for _ in range(T.bit_length() - 1):  # P + N of 2, 4, 8 steps
        if total.shape[-2] % 2:
            total = np.concatenate([total, np.zeros_like(total[..., :1, :])], -2)
        total = total[..., 0::2, :] + total[..., 1::2, :]
    return ok & (total.max((-2, -1), initial=0) <= CHUNK)


def accumulation_depth(w, segments=1):
    """The maximum accumulation depth of each row of weights int8[n,k]: int[n], one of 0, 1, 2, 4, 8."""
    best = np.zeros(w.shape[0], int)
    for T in reversed(DEPTHS):  # what holds for T holds for T/2
        best[fits(w, T, segments)] = T
    return best


def _steps(w, segments):
    """int8[..., k] as zero-padded steps int8[..., s, 4]."""
    k = w.shape[-1]
    run = k // segments if segments else 0
    if run * segments != k:
        raise ValueError(f"{k} weights are not {segments} runs of equal length")
    full = w.reshape(*w.shape[:-1], segments, run)
    if run % 4:
        full = np.pad(full, [(0, 0)] * (full.ndim - 1) + [(0, -run % 4)])
    return full.reshape(*w.shape[:-1], segments * -(-run // 4), 4)


def weights_for(rng, n, k, T, segments=1):
    """Random weights int8[n,k] of accumulation depth `T`, mostly close to the bounds; T = 0: any weights."""
    if T == 0:
        return rng.integers(-128, 128, (n, k)).astype(np.int8)
    which, lane = int16_sums(k, T, segments)
    size = rng.exponential(1, (n, k))
    total = np.zeros((n, int(which.max(initial=0)) + 1, 2))
    np.add.at(total, (slice(None), which, lane), size)
    size = np.minimum(
        size / total[:, which, lane] * CHUNK, PAIR // 2
    )  # half, so that any two are within the bound of a pair
    return (size * rng.choice((-1, 1), (n, k))).astype(np.int8)


def epilogue(rng, m, n, kind="u8", lut=False, residual=False):
    """Random epilogue arguments by name, for tests and benchmarks."""
    out = np.zeros((m, n), {"u8": np.uint8, "i32": np.int32, "f32": np.float32}[kind])
    return dict(
        bias=rng.integers(-4000, 4000, n).astype(np.int32),
        scale=None if kind == "i32" else (rng.uniform(0.5, 2, n) / 1000).astype(np.float32),
        clamp=np.array([100, 3, 250], np.int32) if kind == "u8" else None,
        lut=rng.permutation(256).astype(np.uint8) if lut else None,
        add_scale=np.array([0.7, 0.4], np.float32) if residual else None,
        add_zero=np.array([100, 90, 110, 5, 240], np.int32) if residual else None,
        residual=rng.integers(0, 256, (m, n)).astype(np.uint8) if residual else None,
        act=2 if kind == "f32" else 0,
        act_params=np.array([-3, 6], np.float32),
        prepared=None,
        out=out,
    )


def example(rng, m, n, k, T=4, **tail):
    """Random arguments of the given sizes, for tests and benchmarks."""
    w = pack(weights_for(rng, n, k, T))
    a = rng.integers(0, 256, (m, k)).astype(np.uint8)
    azp = np.broadcast_to(np.array([77], np.int32), (m,))
    return [a, azp, w.w, w.colsum, None, *epilogue(rng, m, n, **tail).values()]
