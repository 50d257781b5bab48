"""sample: images at any places between their cells."""

import math

import numpy as np

from ._spec import reference

ZEROS, BORDER, REFLECTION = range(3)


@reference(where="mode<3,padding<3,corners<2", plain=True)
def sample(
    x: "f32[b:xb,c:xc,d:xd,h:xh,w:xw]",
    at: "f32[b,n,3]",
    mode: "size",
    padding: "size",
    corners: "size",
    out: "f32[b,n,c]",
):
    """Places are counted in cells.  mode 0: the nearest cell, ties to even, 1: linear, 2: cubic (Keys, a = -0.75).

    Cells outside are zero (padding 0), the nearest one of the border (1), or the image mirrored (2): at the centres of
    the outermost cells (corners 1), or at their outer edges (0).  Places that are
    NaN or beyond 2^63 are the edge in front.
    """
    for b, i in np.ndindex(at.shape[:2]):
        axes = [taps(float(v), size, mode, padding, corners) for v, size in zip(at[b, i], x.shape[2:])]
        total = np.zeros(x.shape[1])
        for u, v, w in ((u, v, w) for u in axes[0] for v in axes[1] for w in axes[2]):
            total += u[1] * v[1] * w[1] * x[b, :, u[0], v[0], w[0]].astype(np.float64)
        out[b, i] = total


def taps(v, size, mode, padding, corners):
    """The cells that the place `v` of one axis reads: [(cell, weight)]."""
    if not size:
        return []
    if not abs(v) < 2**63:
        v = 0.0 if corners else -0.5
    v = float(np.rint(v)) if mode == 0 else v
    if mode != 2:  # else the cells are moved one by one
        v = inside(v, size, padding, corners)
    start = math.trunc(v) if mode == 0 else math.floor(v)
    part = v - start
    near = [(start, 1.0)]
    if mode == 1:
        near = [(start, 1 - part), (start + 1, part)]
    elif mode == 2:
        near = [(start + t, cubic(abs(part - t))) for t in (-1, 0, 1, 2)]
    found = []
    for cell, weight in near:
        if padding == REFLECTION:
            cell = math.trunc(inside(cell, size, padding, corners))
        if padding != ZEROS:
            cell = min(max(cell, 0), size - 1)
        if weight and 0 <= cell < size:
            found.append((cell, weight))
    return found


def inside(v, size, padding, corners):
    """`v` as the padding moves it into an axis of `size` cells."""
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    if padding == ZEROS or low <= v <= high:
        return v
    if padding == BORDER:
        return min(max(v, 0.0), size - 1.0)
    span = high - low
    turn = math.fmod(abs(v - low), 2 * span) if span > 0 else 0.0
    return low + (2 * span - turn if turn > span else turn)


def cubic(d):
    """Keys' weight at distance `d` from a cell."""
    a = -0.75
    return ((a + 2) * d - (a + 3)) * d * d + 1 if d <= 1 else ((a * d - 5 * a) * d + 8 * a) * d - 4 * a


def example(rng, b=2, c=3, size=(1, 5, 6), n=70, mode=1, padding=0, corners=0):
    """Places in and around the image, on cells and between them, and some far away."""
    x = rng.standard_normal((b, *size, c), np.float32).transpose(0, 4, 1, 2, 3)
    at = rng.uniform(-0.5, 1.5, (b, n, 3)) * size
    at[:, ::3] = np.rint(at[:, ::3])
    at = at.astype(np.float32)
    at[:, :4, 1] = [np.nan, np.inf, -np.inf, 3e20]
    return [x, at, mode, padding, corners, np.full((b, n, c), np.nan, np.float32)]
