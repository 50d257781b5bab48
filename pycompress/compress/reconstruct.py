"""Pruning with an eye on what the weights meet: which matter, and what the rest must be when they are gone.

With C the covariance of a layer's inputs, the output error of weights off by d is d' C d. Without touching the
others, weight j costs w_j^2 C_jj (Wanda, arXiv:2306.11695); where the others may make up for it, w_j^2 / (C^-1)_jj
(OBS, Hassibi and Stork 1993; SparseGPT, arXiv:2301.00774). What stays is then fitted anew, exactly: least squares for each row on
its own support.
"""

from __future__ import annotations

import numpy as np

from .masks import Pattern

DAMPING = 1e-2  # of the mean variance: what calibration has not seen may still happen


def damped(c: np.ndarray) -> np.ndarray:
    """A covariance [k,k] or its diagonal [k], with a share of the identity, in units of its mean variance."""
    c = c.astype(float)
    variance = c if c.ndim == 1 else c.diagonal()
    level = max(float(variance.mean()), 1e-30)
    return c / level + (DAMPING if c.ndim == 1 else DAMPING * np.eye(len(c)))


def importance(w: np.ndarray, c: np.ndarray, pattern: Pattern, segments: int, refitted: bool) -> np.ndarray:
    """What each weight of w [n,k] costs when it goes, as a share of the power of the layer's outputs.

    `c` is damped; `refitted`: the others will make up for what they can. Weights of a 1xN block share what the block
    costs as a whole.
    """
    n, k = w.shape
    power = max(float(np.einsum("nk,nk->", w @ c if c.ndim == 2 else w * c, w)), 1e-30)
    if c.ndim == 1:
        return np.square(w) * c / power
    if not refitted:
        return np.square(w) * c.diagonal() / power
    inverse = np.linalg.inv(c)
    wide = pattern.cols
    if pattern.rows > 1 or wide == 1 or pattern.keep or k // segments % wide:
        return np.square(w) / inverse.diagonal() / power
    blocks = w.reshape(n, k // wide, wide)
    at = np.arange(k).reshape(-1, wide)
    own = np.linalg.inv(inverse[at[:, :, None], at[:, None, :]])
    cost = np.einsum("nbi,bij,nbj->nb", blocks, own, blocks)
    return np.repeat(np.maximum(cost, 0) / wide, wide, 1) / power + np.square(w) * (1e-12 / power)


def refit(w: np.ndarray, mask: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The weights [n,k], zero outside `mask`, whose outputs are nearest to those of `w` under the covariance `c`."""
    fitted = np.where(mask, w, 0.0)
    if c.ndim == 1:
        return fitted
    wanted = w @ c
    for i, kept in enumerate(mask):
        at = np.flatnonzero(kept)
        if 0 < len(at) < len(kept):
            fitted[i, at] = np.linalg.solve(c[np.ix_(at, at)], wanted[i, at])
    return fitted
