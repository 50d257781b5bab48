"""Integer convolutions: of lines, depthwise, 1x1, and others, group by group."""

from __future__ import annotations

import numpy as np

from .borders import bordered
from .context import Lowering
from .groups import INTEGER, diagonal, together
from .integer import integer_product, weights
from .lines import FEW, convolve_line
from .values import Quant

LONG = 64  # cells of a window; qdwconv is made for fewer, and for many channels
TILE = 8  # pixels that qconv gathers together, about


def integer_conv(
    ctx: Lowering, x: np.ndarray, xzp: np.ndarray, wq: Quant, win, groups: int, end: dict[str, object], out: np.ndarray
) -> None:
    """out[n,oh,ow,outputs] from the codes x [n,h,w,c] with zero point xzp [1] and weights [outputs,c/groups,kh,kw]."""
    x, win, out = win.lying(x, out)
    c, outputs = x.shape[3], out.shape[3]
    if groups == 1 and convolve_line(ctx, x, xzp, wq, win, end, out):
        return
    if groups == c == outputs and (c > 1 or win.kh * win.kw < LONG) and not wq.value.runtime:
        given = weights(ctx, wq, lambda w: w.reshape(c, win.kh, win.kw))
        ctx.step("qdwconv", x=x, xzp=xzp, **given, **win.sizes(), **end, out=out, reason="depthwise on integers")
        return
    if win.pointwise and groups == 1:
        rows, flat = x.reshape(-1, c, copy=False), out.reshape(-1, outputs)
        integer_product(ctx, rows, xzp, wq, end, flat, "1x1 convolution on integers")
        return
    if c > FEW and not ctx.is_runtime(xzp):  # colours are gathered fast
        x, win = bordered(ctx, x, win, out, int(xzp[0]), TILE)
    size, per_group = outputs // groups, c // groups
    zero = wq.value.runtime or (wq.zero != (128 if wq.value.dtype == "u8" else 0)).any()
    some = 1 if zero else together(size, groups, INTEGER)
    for g in range(0, groups, some):
        rows = slice(g * size, (g + some) * size)
        own = {k: v[rows] if k in ("bias", "scale") and v is not None else v for k, v in end.items()}
        given = weights(
            ctx, wq, lambda w: diagonal(w.reshape(len(w), per_group, win.kh, win.kw).transpose(0, 2, 3, 1), some), rows
        )
        which = f"group {g}" if some == 1 else f"groups {g} to {g + some - 1}"
        ctx.step(
            "qconv", x=x[..., g * per_group : (g + some) * per_group], xzp=xzp, **given, **win.sizes(), **own,
            out=out[..., rows], reason="convolution on integers" + (f", {which} of {groups}" if groups > some else ""),
        )  # fmt: skip
