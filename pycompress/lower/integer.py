"""Helpers shared by integer convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from ..weights import Q8
from .context import NO_PARAMS, Lowering
from .values import Quant, Value

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
    reach = 0 if offset is None else int(np.abs(offset.astype(np.int64)).max(initial=0))
    if 255 * 255 * k + reach < 2**31:
        return True
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
