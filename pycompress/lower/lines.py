"""Integer convolutions of lines of few channels, such as audio.

qconv packs each cell of a window to four channels: three of four products of a line of one channel would be with zeros. So
the windows of a line are the overlapping rows of a matrix, or `stride` cells are one with as many channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .context import Lowering
from .emit import fill
from .integer import weights
from .values import Quant

FEW = 4  # channels: what qconv packs a cell to


@dataclass(frozen=True)
class Line:
    """Codes u8[b,length,c] and the windows on them: how many cells they have, how far apart they begin, and how many there are."""

    x: np.ndarray
    cells: int
    stride: int
    before: int
    count: int


def line_of(x: np.ndarray, win, out: np.ndarray) -> Line | None:
    """The convolution of x [b,1,w,c] as one over a line; None if its windows have gaps or another height."""
    if not x.shape[1] == win.kh == win.dw == 1 or win.pt or win.pb or win.kw == 1 or not out.size or not x.size:
        return None
    return Line(x[:, 0], win.kw, win.sw, win.pl, out.shape[2])


def convolve_line(
    ctx: Lowering, x: np.ndarray, xzp: np.ndarray, wq: Quant, win, end: dict[str, object], out: np.ndarray
) -> bool:
    """Emits the steps for out[b,oh,ow,outputs] from codes x [b,h,w,c] of few channels, if it is a line; whether it is."""
    line = line_of(x, win, out) if x.shape[3] < FEW and not wq.value.runtime and not ctx.is_runtime(xzp) else None
    if line is None:
        return False
    (b, _, c), outputs = line.x.shape, out.shape[3]
    if b == 1:
        length = (line.count - 1) * line.stride + line.cells
        (image,) = _padded(ctx, line, xzp, length)
        rows = as_strided(image, (line.count, line.cells * c), (line.stride * c, 1))
        given = weights(ctx, wq, lambda w: w.reshape(outputs, c, -1).transpose(0, 2, 1).reshape(outputs, -1))
        ctx.step(
            "qgemm", a=rows, azp=np.broadcast_to(xzp, len(rows)), **given, **end, out=out.reshape(-1, outputs),
            reason="convolution of a line as a matrix product on integers",
        )  # fmt: skip
        return True
    wide = -(-line.cells // line.stride)
    given = weights(ctx, wq, lambda w: _widened(w.reshape(outputs, c, -1).transpose(0, 2, 1), line.stride, wide))
    if line.stride == 1 or given["wzp"] is not None:  # zeros behind the windows would not be zero
        return False
    image = _padded(ctx, line, xzp, (line.count - 1 + wide) * line.stride)
    ctx.step(
        "qconv", x=image.reshape(b, 1, -1, line.stride * c), xzp=xzp, **given, kh=1, kw=wide, sh=1, sw=1, dh=1, dw=1,
        pt=0, pl=0, **end, out=out.reshape(b, 1, -1, outputs),
        reason=f"convolution on integers of a line, {line.stride} cells at a time",
    )  # fmt: skip
    return True


def _padded(ctx: Lowering, line: Line, xzp: np.ndarray, length: int) -> np.ndarray:
    """`length` cells of each line with its padding: [b,length,c], dense."""
    b, has, c = line.x.shape
    dense = line.x.strides[1] == c and (c == 1 or line.x.strides[2] == 1) and (b == 1 or line.x.strides[0] == has * c)
    if dense and not line.before and (has == length or b == 1 and has > length):
        return line.x[:, :length]
    image = ctx.new((b, length, c), "u8")
    taken = line.x[:, : length - line.before]
    past = line.before + taken.shape[1]
    for border in (image[:, : line.before], image[:, past:]):
        if border.size:
            fill(ctx, border, int(xzp[0]))
    ctx.copy(taken, image[:, line.before : past])
    return image


def _widened(w: np.ndarray, stride: int, wide: int) -> np.ndarray:
    """Weights [n,cells,c] for cells of `stride` times the channels, [n,1,wide,stride*c]; those beyond the window are zero."""
    padded = np.pad(w, ((0, 0), (0, wide * stride - w.shape[1]), (0, 0)))
    return padded.reshape(len(w), 1, wide, -1)
