"""Rounds weights to 4 bits, or to int8 so that a given int16 accumulation depth cannot overflow.

int8 weights are symmetric with one scale per output channel. `T` is the accumulation depth: the products of
T steps, a *chunk*, are added in an int16 lane (kernels/qgemm.py); T = 0 sets no bounds. A channel meets the
bounds with a larger scale, or by changing the few weights of the chunks that could overflow; the scale with
the smallest error is taken.

Then coordinate descent changes single weights, within the bounds, as long as that lowers the expected squared
error of the output, d' C d for an error d of the weights and the covariance C of their inputs (compare
QuantEase, arXiv:2309.01885). Neighbouring inputs are correlated, so it matters more that errors cancel than
that each is small. The zeros of pruned weights stay zero, because kernels skip them.
"""

from __future__ import annotations

import numpy as np

from . import kernels, native
from .weights import Q4

LIMIT = 127
PAIR, CHUNK = 128, 256  # as in kernels/qround.py and kernels/qdescend.py
FACTORS = 2.0 ** (np.arange(-4, 37) / 12)
FACTORS4 = np.linspace(1.1, 0.6, 26)  # times the smallest scale at which no weight of a group is clipped
SWEEPS = 4  # two more would lower the squared error by another 3 %
SPARSE = 0.05  # share of exact zeros; from here on they come from pruning, below from chance (weights that were int8)
DAMPING = 1e-2  # of the mean variance, added because calibration does not show all inputs


def round_weights(
    w: np.ndarray,
    T: int,
    segments: int = 1,
    covariance: np.ndarray | None = None,
    min_scale: np.ndarray | None = None,
    depthwise: tuple[int, int] | None = None,
    sweeps: int = SWEEPS,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    damp: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and float32 scales for `w` float[n,k] whose k consists of `segments` runs.

    Parameters
    ----------
    T : int
        Accumulation depth, in steps, or in pairs of taps if `depthwise`, which is the kernel's height and width.
    covariance : float[k,k], float[k] for a diagonal one, or float[n,k,k] for one per row; optional
        Of the inputs of the weights; the error is weighted by it.
    min_scale : float[n], optional
        A lower bound on each scale.
    sweeps : int
        How often coordinate descent goes through the weights.
    start : (q, scale), optional
        An earlier result, within the same bounds, to be improved at its scales.
    damp : bool
        False where `covariance` is a result of `damped`.

    Returns
    -------
    (q, scale) : int8[n,k], float32[n] with `kernels.qgemm.fits(q, T, segments)`, or that of qdwconv, everywhere.
        If at least `SPARSE` of `w` is zero, and it is not depthwise, q is zero wherever w is.
    """
    w = w.astype(np.float32, copy=False)
    c = covariance if not damp else damped(covariance, w.shape)
    h = c if c.ndim == 1 else c.diagonal(axis1=-2, axis2=-1)
    index = (taps(depthwise, T) if depthwise else lanes(w.shape[1], T, segments)) if T else None
    if start is None:
        q, scale = _search(w, h, index, np.zeros(len(w)) if min_scale is None else min_scale)
    else:
        q, scale = start
    if c.ndim > 1:
        zero = w == 0
        pruned = depthwise is None and zero.mean() >= SPARSE
        q = _descend(w, q, scale[:, None], c, lanes=index, fixed=zero if pruned else None, sweeps=sweeps)
    if start is not None or sweeps == SWEEPS:  # no trial
        fits = kernels.module("qdwconv" if depthwise else "qgemm").fits
        assert fits(q, T, depthwise or segments).all()
    return q, scale


def damped(covariance: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """The covariance with unit mean variance and a share of the identity."""
    if covariance is None:
        return np.ones(shape[1], np.float32)
    c = covariance.astype(np.float32)
    if c.ndim == 1:
        return c / max(float(c.mean()), 1e-30) + np.float32(DAMPING)
    c /= np.maximum(c.diagonal(axis1=-2, axis2=-1).mean(-1)[..., None, None], 1e-30)
    at = np.arange(shape[1])
    c[..., at, at] += np.float32(DAMPING)
    return c


def _search(w, h, lanes, min_scale) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [n,k] and scales: per row the scale with the smallest error, weighted by `h` [k] or [n,k]."""
    n, k = w.shape
    h = np.ascontiguousarray(np.atleast_2d(h))
    largest = np.abs(w).max(1, initial=0)
    full = np.where(largest > 0, np.maximum(largest / LIMIT, 1e-36), 1e-12)  # products of scales should not underflow
    at = np.arange(k)[:, None] if lanes is None else lanes
    w, h = (np.concatenate([x, np.zeros((len(x), 1), x.dtype)], 1).take(at, 1) for x in (w, h))
    codes, scale = np.empty(w.shape, np.int8), np.empty(n, np.float32)
    full, low, factors = (np.asarray(x, np.float32) for x in (full, min_scale, FACTORS))
    native.qround(w=w, h=h, full=full, low=low, factors=factors, out=codes, out_scale=scale)
    where = np.empty(k + 1, int)
    where[at] = np.arange(at.size).reshape(at.shape)
    return np.ascontiguousarray(codes.reshape(n, at.size)[:, where[:k]]), scale


def lanes(k: int, T: int, segments: int) -> np.ndarray:
    """Positions of the weights that qgemm adds in each int16 lane of each chunk: int[chunks, 2T].

    Neighbouring entries are a pair; k stands for padding.
    """
    run = k // segments
    steps = -(-run // 4)
    at = np.full((segments, steps * 4), k)
    at[:, :run] = np.arange(k).reshape(segments, run)
    at = at.reshape(-1, 4)
    at = np.concatenate([at, np.full((-len(at) % T, 4), k)])
    return at.reshape(-1, T, 2, 2).transpose(0, 2, 1, 3).reshape(-1, 2 * T)


def taps(kernel: tuple[int, int], T: int) -> np.ndarray:
    """The same for qdwconv: chunks of T pairs of taps."""
    at = kernels.module("qdwconv").order(kernel)
    return np.concatenate([at, np.full(-len(at) % (2 * T), len(at))]).reshape(-1, 2 * T)


def _descend(w, q, scale, c, *, lanes=None, low=None, fixed=None, sweeps=SWEEPS) -> np.ndarray:
    """The codes `q` int8[n,k] after coordinate descent, except where `fixed` [n,k]; `scale` is [n,1] or [n,k].

    Within the bounds of `lanes`, or, for 4-bit codes, from `low` [n,k].
    """
    k = w.shape[1]
    partner = chunk = None
    if lanes is not None:
        partner = np.full(k + 1, k, np.int32)
        partner[lanes[:, 0::2]], partner[lanes[:, 1::2]] = lanes[:, 1::2], lanes[:, 0::2]
        if lanes.shape[1] > 2:
            chunk = np.zeros(k + 1, np.int32)
            chunk[lanes] = np.arange(len(lanes))[:, None]
            chunk = np.unique(chunk[:k], return_inverse=True)[1].astype(np.int32)  # some hold padding only
    off = q * scale - w
    slope = off @ c if c.ndim == 2 else (off[:, None] @ c)[:, 0]  # half the gradient of the squared error
    dense = np.ascontiguousarray
    out = np.empty(q.shape, np.int8)
    native.qdescend(
        q=dense(q), slope=dense(slope), scale=dense(scale), c=c[None] if c.ndim == 2 else c,
        low=None if low is None else dense(low), fixed=None if fixed is None else dense(fixed, np.uint8),
        partner=None if partner is None else partner[:k],
        chunks=0 if chunk is None else int(chunk.max(initial=-1)) + 1, chunk=chunk, sweeps=sweeps, out=out,
    )  # fmt: skip
    return out


def round_groups(
    w: np.ndarray, group: int, symmetric: bool = True, covariance: np.ndarray | None = None, start: Q4 | None = None
) -> Q4:
    """`w` float[n,k] in 4 bits; each group of columns gets, of some scales, the one with the smallest squared error.

    Scales are float16 numbers, unless one is too large for float16, or so small that rounding it would change a weight
    by more than a sixteenth of a step: then all are float32.

    Parameters
    ----------
    symmetric : bool
        Zero points of 8. The scale may be negative: the extreme with the larger absolute value then gets the code 0.
    covariance : float[k,k], or float[k] for a diagonal one; optional
        Of the inputs of the weights: the error is weighted by it, and errors are chosen to cancel where inputs are correlated.
    start : Q4, optional
        An earlier result, to be improved at its scales.
    """
    n, k = w.shape
    huge = np.abs(w).max(1, initial=0, keepdims=True) > 1e30  # rows whose sums would overflow float32
    if huge.any():
        by = np.where(huge, np.float32(2.0**100), np.float32(1))
        start = None if start is None else Q4(start.w, start.scale / by, start.zero, group)
        one = round_groups(w / by, group, symmetric, covariance, start)
        return Q4(one.w, one.scale * by, one.zero, group)
    c = damped(covariance, w.shape)
    groups = -(-k // group)
    x = np.zeros((n, groups * group), np.float32)
    x[:, :k] = w
    x = x.reshape(n, groups, group)
    weight = np.zeros(groups * group, np.float32)
    weight[:k] = c if c.ndim == 1 else c.diagonal()
    weight = weight.reshape(groups, group)
    low, high = x.min(-1, initial=0), x.max(-1, initial=0)
    widest = np.where(-low > high, low, high) / -8 if symmetric else (high - low) / 15
    wide = np.abs(widest[widest != 0])
    half = 2.0**-17 <= wide.min(initial=1) and wide.max(initial=1) < 2.0**15
    unit = np.ldexp(np.float32(1), np.minimum(-np.frexp(widest)[1], 126))[
        ..., None
    ]  # so that no square overflows float32
    best = np.full((n, groups), np.inf, np.float32)
    scale, zero = np.ones((n, groups), np.float32), np.full((n, groups), 8, np.uint8)
    codes = np.full(x.shape, 8, np.uint8)
    for factor in FACTORS4 if start is None else ():
        s = (widest * np.float32(factor)).astype(np.float16 if half else np.float32).astype(np.float32)
        s = np.where(s == 0, np.float32(1), s)
        z = np.full(s.shape, 8, np.float32) if symmetric else np.clip(np.rint(-low / s), 0, 15)
        q = np.clip(np.rint(x / s[..., None]) + z[..., None], 0, 15)
        error = (np.square(((q - z[..., None]) * s[..., None] - x) * unit) * weight).sum(-1)
        better = error < best
        best, scale, zero = np.where(better, error, best), np.where(better, s, scale), np.where(better, z, zero)
        codes[better] = q[better]
    codes, zero = np.ascontiguousarray(codes.reshape(n, groups * group)[:, :k]), zero.astype(np.uint8)
    if start is not None:
        codes, scale, zero = start.w, start.scale, start.zero
    if c.ndim > 1:
        of = np.arange(k) // group
        zeros = zero[:, of].astype(np.int8)
        pruned = w == 0 if np.mean(w == 0) >= SPARSE else None
        away = _descend(w.astype(np.float32), codes.astype(np.int8) - zeros, scale[:, of], c, low=-zeros, fixed=pruned)
        codes = (away + zeros).astype(np.uint8)
    return Q4(codes, scale, zero, group)
