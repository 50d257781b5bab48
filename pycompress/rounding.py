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

from . import kernels
from .weights import Q4

LIMIT = 127
PAIR, CHUNK = 128, 256
FACTORS = 2.0 ** (np.arange(-4, 37) / 12)
FACTORS4 = np.linspace(1.1, 0.6, 26)  # times the smallest scale at which no weight of a group is clipped
MAX_EXCESS = 16  # by how much a chunk may exceed its bound and still be repaired
SWEEPS = 4  # two more would lower the squared error by another 3 %
BLOCK = 32
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

    Returns
    -------
    (q, scale) : int8[n,k], float32[n] with `kernels.qgemm.fits(q, T, segments)`, or that of qdwconv, everywhere.
        If at least `SPARSE` of `w` is zero, and it is not depthwise, q is zero wherever w is.
    """
    w = w.astype(np.float32)
    c = _damped(covariance, w.shape)
    h = c if c.ndim == 1 else c.diagonal(axis1=-2, axis2=-1)
    index = (taps(depthwise, T) if depthwise else lanes(w.shape[1], T, segments)) if T else None
    if start is None:
        q, scale = _search(w, h, index, np.zeros(len(w)) if min_scale is None else min_scale)
    else:
        q, scale = start[0].astype(np.float32), start[1]
    if c.ndim > 1:
        zero = w == 0
        pruned = depthwise is None and zero.mean() >= SPARSE
        _descend(w, q, scale[:, None], c, _Bounds(index), zero if pruned else None, sweeps)
    q = q.astype(np.int8)
    within = (
        kernels.module("qdwconv").fits(q, T, depthwise) if depthwise else kernels.module("qgemm").fits(q, T, segments)
    )
    assert within.all()
    return q, scale


def _damped(covariance: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """The covariance with unit mean variance and a share of the identity."""
    if covariance is None:
        return np.ones(shape[1], np.float32)
    c = covariance.astype(np.float32)
    if c.ndim == 1:
        return c / max(float(c.mean()), 1e-30) + np.float32(DAMPING)
    variance = c.diagonal(axis1=-2, axis2=-1).mean(-1)[..., None, None]
    return c / np.maximum(variance, 1e-30) + np.float32(DAMPING) * np.eye(shape[1], dtype=np.float32)


def _search(w, h, lanes, min_scale) -> tuple[np.ndarray, np.ndarray]:
    """Rounded weights float32[n,k] and scales: per row the scale with the smallest error, weighted by `h`."""
    n = len(w)
    largest = np.abs(w).max(1, initial=0)
    full = np.where(largest > 0, np.maximum(largest / LIMIT, 1e-36), 1e-12)  # products of scales should not underflow
    best = np.full(n, np.inf)
    scale, q = np.zeros(n, np.float32), np.zeros_like(w)
    settled = np.zeros(n, bool)  # within the bounds without a change of any weight: larger scales are only worse
    for factor in FACTORS:
        rows = np.flatnonzero(~settled)
        if not len(rows):
            break
        s = np.maximum(full[rows] * factor, min_scale[rows]).astype(np.float32)
        x = w[rows] / s[:, None]
        r = np.clip(np.rint(x), -LIMIT, LIMIT)
        weight = h[rows] if h.ndim == 2 else h[None]
        ok, clean = _repair(x, r, weight, lanes)
        error = np.where(ok, (np.square(r - x) * weight).sum(1) * s.astype(float) ** 2, np.inf)
        better = error < best[rows]
        chosen = rows[better]
        best[chosen], scale[chosen], q[chosen] = error[better], s[better], r[better]
        settled[rows] = clean & (factor >= 1)
    return q, scale


def _repair(x, r, h, lanes) -> tuple[np.ndarray, np.ndarray]:
    """Moves weights in `r` toward zero, in place, until its rows are within the bounds.

    Returns which rows are within the bounds now, and which were before.
    """
    if lanes is None:
        return np.ones(len(x), bool), np.ones(len(x), bool)
    ok = np.ones(len(x), bool)
    clean = ok.copy()
    for group, bound, same_sign in ((lanes.reshape(-1, 2), PAIR, True), (lanes, CHUNK, False)):
        if not same_sign and lanes.shape[1] == 2:
            continue
        excess = _excess(r, group, bound, same_sign)
        row, chunk = np.nonzero(excess > 0)
        clean[row] = False
        ok[row[excess[row, chunk] > MAX_EXCESS]] = False
        keep = ok[row]
        row, chunk = row[keep], chunk[keep]
        _shrink(x, r, h, row, group[chunk], excess[row, chunk])
    return ok, clean


def _excess(r, group, bound, same_sign) -> np.ndarray:
    padded = np.concatenate([r, np.zeros((len(r), 1), r.dtype)], 1)
    taken = padded[:, group]
    if same_sign:  # a pair of weights of different signs is always within its bound
        return np.abs(taken.sum(2)) - bound
    return np.abs(taken).sum(2) - bound


def _shrink(x, r, h, row, at, excess) -> None:
    """Lowers the absolute weights `r[row, at]` by `excess` in all, one at a time where the error grows the least."""
    here = np.minimum(at, x.shape[1] - 1)
    there = at < x.shape[1]
    target = np.where(there, np.abs(x[row[:, None], here]), 0)
    value = np.where(there, np.abs(r[row[:, None], here]), 0)
    weight = np.broadcast_to(h, x.shape)[row[:, None], here]
    excess = excess.copy()
    lines = np.arange(len(row))
    while (excess > 0).any():
        cost = np.where(value > 0, weight * (2 * (target - value) + 1), np.inf)
        pick = cost.argmin(1)
        step = excess > 0
        value[lines[step], pick[step]] -= 1
        excess = excess - step
    i, j = np.nonzero(there)
    r[row[i], here[i, j]] = value[i, j] * np.sign(r[row[i], here[i, j]])


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


def _descend(w, q, scale, c, bounds, fixed=None, sweeps=SWEEPS) -> None:
    """Coordinate descent on `q`, in place, all rows at once, except where `fixed` [n,k]; `scale` is [n,1] or [n,k]."""
    k = w.shape[1]
    columns = np.array(q.T, order="C")  # so that one weight of all rows is contiguous
    scales = np.broadcast_to(np.array(scale.T, order="C"), columns.shape)
    bounds.start(columns)
    fixed = None if fixed is None else np.array(fixed.T, order="C")
    slope = _times(q * scale - w, c)  # half the gradient of the squared error
    for _ in range(sweeps):
        moved = 0
        for start in range(0, k, BLOCK):
            block = slice(start, min(start + BLOCK, k))
            near = np.array(slope[:, block].T, order="C")
            steps = np.zeros_like(near)
            corner = np.moveaxis(c[..., block, block], 0, -1) if c.ndim == 3 else c[block, block, None]
            for i in range(len(near)):
                j = start + i
                wanted = np.rint(columns[j] - near[i] / (corner[i, i] * scales[j]))
                low, high = bounds.of(j)
                new = np.minimum(np.maximum(wanted, low), high)
                if fixed is not None:
                    new = np.where(fixed[j], columns[j], new)
                delta = new - columns[j]
                if delta.any():
                    moved += 1
                    bounds.move(j, columns[j], new)
                    columns[j] = new
                    steps[i] = delta * scales[j]
                    near[i + 1 :] += steps[i] * corner[i, i + 1 :]
            if steps.any():
                slope += _times(np.ascontiguousarray(steps.T), c[..., block, :])
        if not moved:
            break
    q[:] = columns.T


def _times(d: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Rows of `d` times `c`, which is one matrix or one per row."""
    return d @ c if c.ndim == 2 else (d[:, None] @ c)[:, 0]


class _Bounds:
    """The bounds within which one weight of each row may change while the others stay."""

    def __init__(self, index: np.ndarray | None):
        self.index, self.pairs = index, 0 if index is None else index.shape[1] // 2

    def start(self, q: np.ndarray) -> None:
        """Start with the weights `q` [k,n], which the caller changes in place."""
        self.q, index = q, self.index
        if index is None:
            return
        k, n = q.shape
        chunk = np.zeros(k + 1, int)
        chunk[index] = np.arange(len(index))[:, None]
        partner = np.full(k + 1, k)
        partner[index[:, 0::2]], partner[index[:, 1::2]] = index[:, 1::2], index[:, 0::2]
        self.chunk, self.partner, self.k = chunk, partner, k
        padded = np.concatenate([q, np.zeros((1, n), q.dtype)])
        self.total = np.abs(padded[index]).sum(1)  # [chunks, n]

    def of(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        if not self.pairs:
            return np.float32(-LIMIT), np.float32(LIMIT)
        other = self.q[self.partner[j]] if self.partner[j] < self.k else np.float32(0)
        limit = np.float32(LIMIT)
        if self.pairs > 1:
            limit = np.minimum(limit, CHUNK - self.total[self.chunk[j]] + np.abs(self.q[j]))
        return -np.minimum(limit, PAIR + np.minimum(other, 0)), np.minimum(limit, PAIR - np.maximum(other, 0))

    def move(self, j: int, old: np.ndarray, new: np.ndarray) -> None:
        if self.pairs:
            self.total[self.chunk[j]] += np.abs(new) - np.abs(old)


class _Codes:
    """The bounds of 4-bit codes less their zero points [n,k]."""

    def __init__(self, zero: np.ndarray):
        self.zero = zero

    def start(self, q: np.ndarray) -> None:
        self.low = -np.array(self.zero.T, q.dtype, order="C")

    def of(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        return self.low[j], self.low[j] + 15

    def move(self, j: int, old: np.ndarray, new: np.ndarray) -> None:
        pass


def round_groups(w: np.ndarray, group: int, symmetric: bool = True, covariance: np.ndarray | None = None) -> Q4:
    """`w` float[n,k] in 4 bits; each group of columns gets, of some scales, the one with the smallest squared error.

    Scales are float16 numbers, unless one is too large for float16, or so small that rounding it would change a weight
    by more than a sixteenth of a step: then all are float32.

    Parameters
    ----------
    symmetric : bool
        Zero points of 8. The scale may be negative: the extreme with the larger absolute value then gets the code 0.
    covariance : float[k,k], or float[k] for a diagonal one; optional
        Of the inputs of the weights: the error is weighted by it, and errors are chosen to cancel where inputs are correlated.
    """
    n, k = w.shape
    huge = np.abs(w).max(1, initial=0, keepdims=True) > 1e30  # rows whose sums would overflow float32
    if huge.any():
        by = np.where(huge, np.float32(2.0**100), np.float32(1))
        one = round_groups(w / by, group, symmetric, covariance)
        return Q4(one.w, one.scale * by, one.zero, group)
    c = _damped(covariance, w.shape)
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
    for factor in FACTORS4:
        s = (widest * np.float32(factor)).astype(np.float16 if half else np.float32).astype(np.float32)
        s = np.where(s == 0, np.float32(1), s)
        z = np.full(s.shape, 8, np.float32) if symmetric else np.clip(np.rint(-low / s), 0, 15)
        q = np.clip(np.rint(x / s[..., None]) + z[..., None], 0, 15)
        error = (np.square(((q - z[..., None]) * s[..., None] - x) * unit) * weight).sum(-1)
        better = error < best
        best, scale, zero = np.where(better, error, best), np.where(better, s, scale), np.where(better, z, zero)
        codes[better] = q[better]
    codes, zero = np.ascontiguousarray(codes.reshape(n, groups * group)[:, :k]), zero.astype(np.uint8)
    if c.ndim > 1:
        of = np.arange(k) // group
        away = codes - zero[:, of].astype(np.float32)
        pruned = w == 0 if np.mean(w == 0) >= SPARSE else None
        _descend(w.astype(np.float32), away, scale[:, of], c, _Codes(zero[:, of]), pruned)
        codes = (away + zero[:, of]).astype(np.uint8)
    return Q4(codes, scale, zero, group)
