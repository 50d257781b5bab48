"""Rounding weights to int8 so that the integer kernels' narrow sums are proven to hold them.

Weights are symmetric with one scale per output channel.  `T` is the number of steps that may meet
in an int16 lane (kernels/qgemm.py); T = 0 asks for no proof.  A channel passes either by a larger
scale or by moving the few weights of the windows that overflow; the scale with the least error wins.
"""

from __future__ import annotations

import numpy as np

from .. import kernels

LIMIT = 127
PAIR, WINDOW = 128, 256
FACTORS = 2.0 ** (np.arange(-4, 37) / 12)
MOST_MOVED = 64  # steps by which a window may overflow and still be mended


def round_weights(
    w: np.ndarray, T: int, segments: int = 1, importance: np.ndarray | None = None, least: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and float32 scales for `w` float32[n,k] whose k is `segments` runs.

    Parameters
    ----------
    importance : float[k], optional
        Mean square of the activation that each weight meets; the error is weighed by it.
    least : float[n], optional
        A lower bound on each scale.

    Returns
    -------
    (q, scale) : int8[n,k], float32[n] with `kernels.qgemm.fits(q, T, segments)` everywhere.
    """
    n, k = w.shape
    w = w.astype(np.float32)
    h = np.ones(k, np.float32) if importance is None else importance.astype(np.float32)
    h = h / max(float(h.mean()), 1e-30) + np.float32(1e-3)
    full = np.maximum(np.abs(w).max(1, initial=0) / LIMIT, 1e-12)
    least = full * 0 if least is None else least
    best = np.full(n, np.inf)
    scale, q = np.zeros(n, np.float32), np.zeros((n, k), np.int8)
    settled = np.zeros(n, bool)  # passes without moving any weight: larger scales only lose
    for factor in FACTORS:
        rows = np.flatnonzero(~settled)
        if not len(rows):
            break
        s = np.maximum(full[rows] * factor, least[rows]).astype(np.float32)
        x = w[rows] / s[:, None]
        r = np.clip(np.rint(x), -LIMIT, LIMIT)
        ok, clean = _mend(x, r, h, T, segments)
        error = np.where(ok, ((r - x) ** 2 @ h) * s.astype(float) ** 2, np.inf)
        better = error < best[rows]
        chosen = rows[better]
        best[chosen], scale[chosen], q[chosen] = error[better], s[better], r[better].astype(np.int8)
        settled[rows] = clean & (factor >= 1)
    assert np.isfinite(best).all() and kernels.module("qgemm").fits(q, T, segments).all()
    return q, scale


def _mend(x, r, h, T, segments) -> tuple[np.ndarray, np.ndarray]:
    """Moves weights in `r` toward zero, in place, until its rows pass.

    Returns which rows pass now, and which passed as they were.
    """
    if T == 0:
        return np.ones(len(x), bool), np.ones(len(x), bool)
    index = _lanes(x.shape[1], T, segments)  # [windows, 2T] positions in a row, k where there is none
    ok = np.ones(len(x), bool)
    clean = ok.copy()
    for group, bound, same_sign in ((index.reshape(-1, 2), PAIR, True), (index, WINDOW, False)):
        if not same_sign and T == 1:
            continue
        excess = _excess(r, group, bound, same_sign)
        row, window = np.nonzero(excess > 0)
        clean[row] = False
        ok[row[excess[row, window] > MOST_MOVED]] = False
        keep = ok[row]
        row, window = row[keep], window[keep]
        _shrink(x, r, h, row, group[window], excess[row, window])
    return ok, clean


def _excess(r, group, bound, same_sign) -> np.ndarray:
    padded = np.concatenate([r, np.zeros((len(r), 1), r.dtype)], 1)
    taken = padded[:, group]
    if same_sign:  # weights of different sign never break a pair
        return np.abs(taken.sum(2)) - bound
    return np.abs(taken).sum(2) - bound


def _shrink(x, r, h, row, at, excess) -> None:
    """Takes `excess` steps off the weights `r[row, at]`, each where it costs the least error."""
    k = x.shape[1]
    here = np.minimum(at, k - 1)
    there = at < k
    target = np.where(there, np.abs(x[row[:, None], here]), 0)
    value = np.where(there, np.abs(r[row[:, None], here]), 0)
    weight = h[here]
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


def _lanes(k: int, T: int, segments: int) -> np.ndarray:
    """Positions of the weights that meet in each int16 lane of each window: int[windows, 2T].

    Neighbouring entries are a pair; k stands for padding.
    """
    run = k // segments
    steps = -(-run // 4)
    at = np.full((segments, steps * 4), k)
    at[:, :run] = np.arange(k).reshape(segments, run)
    at = at.reshape(-1, 4)
    at = np.concatenate([at, np.full((-len(at) % T, 4), k)])
    return at.reshape(-1, T, 2, 2).transpose(0, 2, 1, 3).reshape(-1, 2 * T)
