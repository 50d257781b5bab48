"""Images with their padding written out, where a kernel would gather most windows and so copy a pixel once for each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .context import Lowering
from .emit import fill

COPY = 2  # bytes gathered for each byte of the padded image, from which on the image is the cheaper copy
STEPS = 1 << 12  # bytes that are copied in the time that the steps take to begin


def bordered(ctx: Lowering, x: np.ndarray, win, out: np.ndarray, value: int, tile: int) -> tuple[np.ndarray, object]:
    """The image x [n,h,w,c] with the padding of the window `win`, and the window without: or both as they are.

    out [n,oh,ow,...] says how many windows there are; padding has the code `value`. The kernel gathers the windows that meet
    padding, and about `tile` in a row together.
    """
    (n, h, w, c), (oh, ow) = x.shape, out.shape[1:3]
    below = max(0, (oh - 1) * win.sh + (win.kh - 1) * win.dh + 1 - win.pt - h)
    right = max(0, (ow - 1) * win.sw + (win.kw - 1) * win.dw + 1 - win.pl - w)
    high, wide = win.pt + h + below, win.pl + w + right
    lines = _inside(oh, win.sh, win.pt, (win.kh - 1) * win.dh, h)
    pixels = _inside(ow, win.sw, win.pl, (win.kw - 1) * win.dw, w)
    if pixels < ow:
        pixels = max(0, ow - tile * -(-(ow - pixels) // tile) - tile * (win.pl > 0 and right > 0))
    gathered = n * (oh * ow - lines * pixels) * win.kh * win.kw * c * x.itemsize
    if gathered <= COPY * n * high * wide * c * x.itemsize + STEPS:
        return x, win
    image = ctx.new((n, high, wide, c), ctx.value(x).dtype)
    inner = image[:, win.pt : win.pt + h, win.pl : win.pl + w]
    rows = image[:, win.pt : win.pt + h]
    for border in (image[:, : win.pt], image[:, win.pt + h :], rows[:, :, : win.pl], rows[:, :, win.pl + w :]):
        if border.size:
            fill(ctx, border, value)
    ctx.copy(x, inner)
    return image, replace(win, pt=0, pl=0, pb=0, pr=0)


def _inside(count: int, stride: int, before: int, reach: int, size: int) -> int:
    """How many of `count` windows lie inside a dimension of `size`: from one's first position to its last one is `reach`."""
    first, last = -(-before // stride), (size - 1 - reach + before) // stride
    return max(0, min(last, count - 1) - first + 1)
