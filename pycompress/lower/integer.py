"""Helpers shared by integer convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from ..weights import Q8
from .context import NO_PARAMS, Lowering
from .groups import INTEGER, diagonal, together
from .values import Quant, Value

LONG = 64  # cells of a window; qdwconv is made for fewer, and for many channels
MAX_K = 65536  # of qgemm: 255 * 128 * 65536 < 2**31


def integer_ready(x: Value, w: Value, bias: Value | None) -> bool:
    """Whether x and w [n,...] are codes whose product sums fit int32."""
    if x.quant is None or w.quant is None or x.quant.block or w.quant.block or not (bias is None or not bias.runtime):
        return False
    xq, wq = x.quant, w.quant
    eight = xq.value.dtype in ("u8", "i8") and wq.value.dtype in ("u8", "i8")
    if not eight or xq.scale.size != 1 or not (wq.scale.size == 1 or wq.axis == 0) or 0 in w.shape:
        return False
    k = w.size // w.shape[0]
    if k > MAX_K:
        return False
    if wq.value.runtime:
        return bias is None and k * 255 * 255 < 2**31
    scale = product_scale(xq, wq)
    limits = np.finfo(np.float32)
    if not ((scale >= limits.tiny) & (scale <= limits.max)).all():
        return False
    offset = integer_bias(bias, scale)
    codes = wq.value.data.reshape(w.shape[0], -1).astype(np.int64) - wq.zero.reshape(-1, 1)
    most = 255 * np.abs(codes).sum(1) + (0 if offset is None else np.abs(offset.astype(np.int64)))
    return bool((most < 2**31).all())


def product_scale(xq: Quant, wq: Quant) -> np.ndarray:
    """The scale of the sum, f64[n]; it stays float64 until packing, so that fusion rounds only once."""
    n = wq.value.shape[0]
    return np.broadcast_to(xq.scale.astype(np.float64) * wq.scale.astype(np.float64), n).copy()


def zero_point(quant: Quant) -> np.ndarray:
    """The zero point of run-time codes in their storage, i32[1]."""
    return (quant.zero + (128 if quant.value.dtype == "i8" else 0)).astype(np.int32).reshape(1)


def integer_bias(bias: Value | None, scale: np.ndarray) -> np.ndarray | None:
    """The bias in units of `scale` (input scale times weight scale), rounded, i32[n]."""
    if bias is None:
        return None
    q = bias.quant
    if q is not None and q.value.dtype == "i32" and not q.zero.any() and np.allclose(q.scale, scale, rtol=1e-5, atol=0):
        return np.ascontiguousarray(q.value.data.reshape(-1))
    real = bias.data if bias.data is not None else (q.value.data.astype(np.float64) - q.zero) * q.scale
    return np.clip(np.rint(real.astype(np.float64).reshape(-1) / scale), -(2**31), 2**31 - 1).astype(np.int32)


def float_tail(xq: Quant, wq: Quant, bias: Value | None) -> dict[str, object]:
    """The epilogue of a product with float32 output."""
    scale = product_scale(xq, wq)
    return integer_tail(integer_bias(bias, scale), scale)


def integer_tail(bias: np.ndarray | None = None, scale: np.ndarray | None = None) -> dict[str, object]:
    """The arguments of an integer kernel between its weights and its output."""
    return {
        "bias": bias, "scale": scale, "clamp": None, "lut": None, "add_scale": None, "add_zero": None,
        "residual": None, "act": 0, "act_params": NO_PARAMS, "prepared": None,
    }  # fmt: skip


def weights(ctx: Lowering, wq: Quant, order, rows: slice = slice(None)) -> dict[str, object]:
    """The arguments w, colsum and wzp for the integer weights `wq` [n,...], of which a kernel takes `rows`.

    `order` maps the logical array to [n,k] (qgemm), [n,kh,kw,c] (qconv) or [c,kh,kw] (qdwconv). Constants are packed
    after all passes, run-time weights by a step.
    """
    value = wq.value
    n = value.shape[0]
    zero = np.broadcast_to(wq.zero.astype(np.int32), n)[rows]
    if not value.runtime:
        codes = value.data
        if codes.dtype == np.uint8:
            codes, zero = (codes ^ 0x80).view(np.int8), zero - 128
        scale = np.broadcast_to(wq.scale.astype(np.float32), n)[rows]
        w = Q8(np.ascontiguousarray(order(codes[rows])), scale, np.ascontiguousarray(zero))
        return {"w": w, "colsum": None, "wzp": w.zero if zero.any() else None}
    zero = np.ascontiguousarray(zero - (0 if value.dtype == "i8" else 128))
    codes = ctx.codes(value)[rows]
    x = order(codes if codes.ndim == 2 else ctx.contiguous(codes))
    flat = x.ndim == 2
    x = x[:, None] if flat else ctx.contiguous(x).reshape(x.shape[0], -1, x.shape[3])
    shape = (-(-x.shape[0] // 16), x.shape[1], -(-x.shape[2] // 4), 16, 4)
    panels, sums = ctx.new(shape, "u8").view(np.int8), ctx.new((x.shape[0],), "i32")
    ctx.step("qpack", x=x, out=panels, out_colsum=sums, reason="weights are computed at run time")
    w = panels.reshape(shape[0], *shape[2:]) if flat else panels
    return {"w": w, "colsum": sums, "wzp": zero if zero.any() else None}


def integer_product(
    ctx: Lowering, a: np.ndarray, azp: np.ndarray, wq: Quant, end: dict[str, object], out: np.ndarray, reason: str = ""
) -> None:
    """out[m,n] from the codes a [m,k] with zero points azp ([1] or [m]) and weights [n,k]."""
    ctx.step(
        "qgemm", a=a, azp=np.broadcast_to(azp, a.shape[0]), **weights(ctx, wq, lambda w: w if w.ndim == 2 else w.reshape(len(w), -1)), **end,
        out=out, reason=reason or "matrix product on integers",
    )  # fmt: skip


def windows(x: np.ndarray, win, out: np.ndarray) -> np.ndarray | None:
    """The windows of a convolution over a line x [1,1,w,c] or [1,h,1,c], as overlapping rows; None if they are no runs.

    qconv packs each cell of a window to four channels; a row has as many products as there are.
    """
    line = x[0, 0] if x.shape[1] == win.kh == 1 else x[0, :, 0] if x.shape[2] == win.kw == 1 else None
    if line is None or len(x) != 1 or any((win.pt, win.pl, win.pb, win.pr)) or out.size == 0:
        return None
    (length, c), cells = line.shape, win.kh * win.kw
    stride, dilation = (win.sw, win.dw) if x.shape[1] == win.kh == 1 else (win.sh, win.dh)
    count = out.shape[1] * out.shape[2]
    if cells == 1 or dilation != 1 or line.strides != (c, 1) or (count - 1) * stride + cells > length:
        return None
    return np.lib.stride_tricks.as_strided(line, (count, cells * c), (stride * c, 1))


def integer_conv(
    ctx: Lowering, x: np.ndarray, xzp: np.ndarray, wq: Quant, win, groups: int, end: dict[str, object], out: np.ndarray
) -> None:
    """out[n,oh,ow,outputs] from the codes x [n,h,w,c] with zero point xzp [1] and weights [outputs,c/groups,kh,kw]."""
    c, outputs = x.shape[3], out.shape[3]
    rows = windows(x, win, out) if groups == 1 and c < 4 and not wq.value.runtime else None
    if rows is not None:
        given = weights(ctx, wq, lambda w: w.reshape(outputs, c, -1).transpose(0, 2, 1).reshape(outputs, -1))
        flat = out.reshape(-1, outputs)
        ctx.step(
            "qgemm", a=rows, azp=np.broadcast_to(xzp, len(rows)), **given, **end, out=flat,
            reason="convolution of a line as a matrix product on integers",
        )  # fmt: skip
        return
    if groups == c == outputs and (c > 1 or win.kh * win.kw < LONG) and not wq.value.runtime:
        given = weights(ctx, wq, lambda w: w.reshape(c, win.kh, win.kw))
        ctx.step("qdwconv", x=x, xzp=xzp, **given, **win.sizes(), **end, out=out, reason="depthwise on integers")
        return
    if win.pointwise and groups == 1:
        rows, flat = x.reshape(-1, c, copy=False), out.reshape(-1, outputs)
        integer_product(ctx, rows, xzp, wq, end, flat, "1x1 convolution on integers")
        return
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
