"""q4gemm: u8 times 4-bit weights with one scale per group of columns.

A group is summed exactly: 128 * 15 * 65536 fits int32.  Groups are added in float32, in order, rounding product and
sum separately, so that all ISAs give the same result.  u8 codes are multiplied as code - 128, whatever their zero
point: then no int16 lane overflows in a sum of eight steps of four (128 * 15 * 16 = 30720), which is a group of 32.
"""

from dataclasses import dataclass

import numpy as np

from ._qepilogue import finish_float, row
from ._spec import reference
from ._traits import Traits

NR = 16
GROUP_MULTIPLE = 32  # a group has a multiple of this many columns, or all


@reference(
    where="act<9,k<=65536,group%32*max(k-group,0)==0",
    macs="m*n*k",
    traits=Traits(sums="integer", weights={"w": "q4gemm"}, folds=("offset",), units=("ascale", "bias"), tile="rows"),
)
def q4gemm(
    a: "u8[m:lda,k]",
    azp: "i32[m:ldz]",
    ascale: "f32[m:lds]",
    w: "u8[ceil(n/16),ceil(k/4),8,4]",
    group: "size",
    scale: "{f16,f32}st[ceil(n/16),ceil(k/group),16]",
    zero: "u8[ceil(n/16),ceil(k/group),16]<16?",
    colsum: "f32[n]",
    bias: "f32[n]?",
    clamp: "i32[3]?",
    lut: "u8[256]?",
    add_scale: "f32[2]?",
    add_zero: "i32[5]?",
    residual: "u8[m:ldr,n]?",
    act: "size",
    act_params: "f32[2]",
    out: "{u8,f32}ot[m:ldo,n]",
):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            p, c = j // 16, j % 16
            total = np.float32(0)
            for g in range(scale.shape[1]):
                z = np.int64(8)
                if zero is not None:
                    z = np.int64(zero[p, g, c])
                exact = np.int64(0)
                for q in range(g * group, min((g + 1) * group, a.shape[1])):
                    code = np.int64(w[p, q // 4, c % 8, q % 4]) >> (c // 8 * 4) & 15
                    exact += (np.int64(a[i, q]) - 128) * (code - z)
                total += np.float32(scale[p, g, c]) * np.float32(exact)
            v = (total - np.float32(np.int64(azp[i]) - 128) * colsum[j]) * ascale[i]
            if bias is not None:
                v += bias[j]
            finish_float(v, j, clamp, lut, add_scale, add_zero, row(residual, i), act, act_params, out[i])


@dataclass(frozen=True)
class Packed:
    """4-bit weights as q4gemm reads them.

    Attributes
    ----------
    w : uint8[ceil(n/16), ceil(k/4), 8, 4], columns 0 to 7 of a panel in the low 4 bits, 8 to 15 in the high ones;
        beyond k there is the zero point of the last group
    group : int, columns of a group
    scale : float16 or float32[ceil(n/16), groups, 16], 0 beyond n
    zero : uint8 of the same shape, or None if all are 8
    colsum : float32[n], the sum of each row of the weights, added in the order of the kernel
    """

    w: np.ndarray
    group: int
    scale: np.ndarray
    zero: np.ndarray | None
    colsum: np.ndarray


def pack(weights):
    """Pack ``weights.Q4``; scales are stored in float16 if that is exact.

    Raises
    ------
    ValueError
        If k is more than 65536, or a group of several is not a multiple of 32 columns.
    """
    codes, scale, zero, group = weights.w, weights.scale, weights.zero, weights.group
    n, k = codes.shape
    if k > 65536:
        raise ValueError(f"q4gemm takes at most 65536 columns, got {k}")
    if group < k and group % GROUP_MULTIPLE:
        raise ValueError(f"q4gemm takes groups of a multiple of {GROUP_MULTIPLE} columns, got {group} of {k}")
    panels, groups, steps = -(-n // NR), scale.shape[1], -(-k // 4)
    full = np.zeros((panels * NR, steps * 4), np.uint8)
    full[:n, :k] = codes
    if k:
        full[:n, k:] = zero[:, -1:]
    full = full.reshape(panels, 2, 8, steps, 4).transpose(1, 0, 3, 2, 4)
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    exact = np.array_equal(half.astype(np.float32), scale)
    same = bool((zero == 8).all())
    size = np.minimum(k - group * np.arange(groups), group)
    sums = np.add.reduceat(codes, group * np.arange(groups), axis=1, dtype=np.int64) if k else np.zeros((n, 0))
    colsum = np.zeros(n, np.float32)
    for share in ((sums - zero.astype(np.int64) * size).astype(np.float32) * scale.astype(np.float32)).T:
        colsum += share  # rounded as in the kernel, so that codes equal to the zero point give exactly 0
    return Packed(
        np.ascontiguousarray(full[0] | full[1] << 4),
        group,
        _panels(half if exact else scale),
        None if same else _panels(zero),
        colsum,
    )


def unpack(packed, n, k):
    """(codes uint8[n,k], scale float32[n,groups], zero uint8[n,groups]) of packed weights."""
    steps, groups = packed.w.shape[1], packed.scale.shape[1]
    codes = np.stack([packed.w & 15, packed.w >> 4], 1).transpose(0, 1, 3, 2, 4)  # [panels, half, column, step, 4]

    def rows(x):
        return np.ascontiguousarray(x.transpose(0, 2, 1).reshape(len(x) * NR, groups)[:n])

    zero = np.full((n, groups), 8) if packed.zero is None else rows(packed.zero)
    codes = np.ascontiguousarray(codes.reshape(len(codes) * NR, steps * 4)[:n, :k])
    return codes, rows(packed.scale).astype(np.float32), zero.astype(np.uint8)


def _panels(x):
    """[n, groups] as [ceil(n/16), groups, 16], padded with 0."""
    n, groups = x.shape
    full = np.zeros((-(-n // NR) * NR, groups), x.dtype)
    full[:n] = x
    return np.ascontiguousarray(full.reshape(-(-n // NR), NR, groups).transpose(0, 2, 1))


def example(rng, m, n, k, group=32, symmetric=True, half=True, kind="f32", lut=False, residual=False, by_row=True):
    """Random arguments of the given sizes, for tests and benchmarks."""
    groups = -(-k // group)
    scale = rng.uniform(0.001, 0.01, (n, groups)).astype(np.float16 if half else np.float32).astype(np.float32)
    zero = np.full((n, groups), 8, np.uint8) if symmetric else rng.integers(0, 16, (n, groups)).astype(np.uint8)
    w = pack(_Weights(rng.integers(0, 16, (n, k)).astype(np.uint8), scale, zero, group))
    a = rng.integers(0, 256, (m, k)).astype(np.uint8)
    azp, ascale = rng.integers(0, 256, m).astype(np.int32), rng.uniform(0.01, 0.02, m).astype(np.float32)
    if not by_row:
        azp, ascale = np.broadcast_to(azp[:1], m), np.broadcast_to(ascale[:1], m)
    bytes_ = kind == "u8"
    return [
        a, azp, ascale, w.w, w.group, w.scale, w.zero, w.colsum,
        (rng.standard_normal(n) * 20).astype(np.float32),
        np.array([100, 3, 250], np.int32) if bytes_ else None,
        rng.permutation(256).astype(np.uint8) if lut else None,
        np.array([0.7, 0.4], np.float32) if residual else None,
        np.array([100, 90, 110, 5, 240], np.int32) if residual else None,
        rng.integers(0, 256, (m, n)).astype(np.uint8) if residual else None,
        0 if bytes_ else 2,
        np.array([-3, 6], np.float32),
        np.zeros((m, n), np.uint8 if bytes_ else np.float32),
    ]  # fmt: skip


@dataclass(frozen=True)
class _Weights:
    """A stand-in for ``weights.Q4``, which this layer may not import."""

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    group: int
