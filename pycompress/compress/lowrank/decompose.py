"""Low-rank factors of weights, and how much of the output each rank keeps.

A layer computes W x, W [n,k] with k over kernel cells, then channels. With the second moments H of its inputs, the
expected squared error of weights V is tr (V - W) H (V - W)'; without calibration H is the identity. With L L' = H this
is the squared error of V L. If P contains the leading left singular vectors of W L, then P P' W is the best V of that
rank. H is not inverted, so inputs that never vary are harmless, and full rank reproduces W.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KINDS = ("svd", "channel", "spatial", "tucker")
STAGES = {"svd": "uv", "channel": "uv", "spatial": "uv", "tucker": ("u", "core", "v")}


@dataclass(frozen=True, eq=False)
class Factors:
    """`stages`: the weights of each product, as a Conv or, without kernel, as [n,k]; `w` [n,k]: their product."""

    stages: list[np.ndarray]
    w: np.ndarray


def spectra(kind: str, w: np.ndarray, c: int, kernel: tuple[int, ...], h: np.ndarray | None) -> list[np.ndarray]:
    """For each rank of `kind`, the shares of the squared output that ranks 0, 1, ... lose.

    For a Tucker decomposition, and with `h` for a spatial one, these are estimates; `factor` and `lost` give exact values.
    """
    views = [(w, h)] if kind != "tucker" else [_by_cells(w, c, h), (w, h)]
    if kind == "spatial":
        views = [_by_columns(w, c, kernel, h)]
    return [_tails(_leading(*view)[1]) for view in views]


def factor(
    kind: str, w: np.ndarray, c: int, kernel: tuple[int, ...], h: np.ndarray | None, ranks: tuple[int, ...]
) -> Factors:
    """The factors of the given `ranks`.

    Parameters
    ----------
    kind : of `KINDS`
    w : float64[n,k], k runs over the cells of `kernel`, then `c` channels
    h : float[k,k], second moments of the inputs; [k], only its diagonal; or None, the identity
    """
    n = len(w)
    if kind == "tucker":
        rows = _by_cells(w, c, h)
        u = _leading(*rows)[0][:, : ranks[0]].T @ rows[0]  # [r0, c]
        basis = np.kron(np.eye(w.shape[1] // c), u)
        inner = _fit(w, h, basis)
        core, v = _pair(inner, _times(basis, h) @ basis.T, ranks[1])
        whole = v @ core @ basis
        flat = core.reshape(-1, len(u))
        u, flat = _balanced(u, flat)
        core, v = _balanced(flat.reshape(core.shape), v)
        return Factors([_conv(u, c, kernel, ()), _conv(core, len(u), kernel), _conv(v, len(core), kernel, ())], whole)
    if kind == "spatial":
        (height, width), (r,) = kernel, ranks
        rows = _by_columns(w, c, kernel, h)
        u = _leading(*rows)[0][:, :r].T @ rows[0]  # [r, height * c]
        cells = u.reshape(-1, height, c)
        basis = np.einsum("wv,rxa->wrxva", np.eye(width), cells).reshape(-1, w.shape[1])
        v = _fit(w, h, basis)
        whole, r = v @ basis, len(u)
        u, v = _balanced(u, v.reshape(-1, r))
        return Factors([_conv(u, c, (height, 1)), _conv(v.reshape(n, -1), r, (1, width))], whole)
    u, v = _pair(w, h, ranks[0])
    whole = v @ u
    u, v = _balanced(u, v)
    return Factors([_conv(u, c, kernel), _conv(v, len(u), kernel, ())] if kernel else [u, v], whole)


def lost(w: np.ndarray, v: np.ndarray, h: np.ndarray | None) -> float:
    """The squared error of the outputs with weights `v`, relative to their squares with `w`."""
    return _square(v - w, h) / (_square(w, h) or 1.0)


def _square(w, h) -> float:
    return float(np.einsum("nk,nk->", _times(w, h), w))


def _times(w: np.ndarray, h: np.ndarray | None) -> np.ndarray:
    return w if h is None else w * h if h.ndim == 1 else w @ h


def _leading(w: np.ndarray, h: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The left singular vectors and the squared singular values of w L, where L L' = h."""
    if h is not None and h.ndim == 2:
        values, vectors = np.linalg.eigh(h)
        root = vectors * np.sqrt(np.maximum(values, 0))
    else:
        root = None if h is None else np.sqrt(h)
    p, s, _ = np.linalg.svd(_times(w, root), full_matrices=False)
    return p, np.square(s)


def _tails(squares: np.ndarray) -> np.ndarray:
    """The share of `squares` that is lost when the first 0, 1, ... are kept; exactly 0 when all are kept."""
    left = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
    return left / (left[0] or 1.0)


def _pair(w, h, r: int) -> tuple[np.ndarray, np.ndarray]:
    """The best factors of rank r: u [r,k] and v [n,r]."""
    v = _leading(w, h)[0][:, :r]
    return v.T @ w, v


def _fit(w: np.ndarray, h: np.ndarray | None, basis: np.ndarray) -> np.ndarray:
    """The x that minimizes the error of x basis against `w`."""
    right = _times(basis, h).T
    return (w @ right) @ np.linalg.pinv(basis @ right, rcond=1e-12, hermitian=True)


def _balanced(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives rows of u and columns of v equal norms without changing the product, so that later rounding loses less."""
    a, b = np.linalg.norm(u, axis=1), np.linalg.norm(v, axis=0)
    scale = np.sqrt(np.divide(b, a, out=np.ones_like(a), where=(a > 0) & (b > 0)))
    return u * scale[:, None], v / scale


def _by_cells(w, c: int, h):
    """The weights as [n * cells, c], and the mean second moments of the channels."""
    cells = w.shape[1] // c
    if h is not None:
        h = h.reshape(cells, c).mean(0) if h.ndim == 1 else np.einsum("xaxb->ab", h.reshape(cells, c, cells, c)) / cells
    return w.reshape(-1, c), h


def _by_columns(w, c: int, kernel, h):
    """The weights as [n * width, height * c], and the mean second moments of a column of the kernel."""
    y, x = kernel
    m = w.reshape(len(w), y, x, c).transpose(0, 2, 1, 3).reshape(-1, y * c)
    if h is not None and h.ndim == 1:
        h = h.reshape(y, x, c).mean(1).ravel()
    elif h is not None:
        h = np.einsum("pxaqxb->paqb", h.reshape(y, x, c, y, x, c)).reshape(y * c, y * c) / x
    return m, h


def _conv(w: np.ndarray, c: int, kernel: tuple[int, ...], cells: tuple[int, ...] | None = None) -> np.ndarray:
    """The weights [n,k] in the shape of a Conv; with `cells` = (), of a Conv with a 1x1 kernel."""
    kernel = (1,) * len(kernel) if cells == () else kernel
    return w.reshape(len(w), -1, c).transpose(0, 2, 1).reshape(len(w), c, *kernel)
