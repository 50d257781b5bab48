"""Matrix products with constant 4-bit weights; float activations are quantized row by row."""

from __future__ import annotations

import numpy as np

from ..weights import Q4
from .context import NO_PARAMS, Lowering, axis_shape
from .integer import MAX_K, zero_point
from .values import Quant, Value

ACTIVATIONS = ("file", "dynamic", "float")  # how float activations meet 4-bit weights
SMALL = 8192  # weights; up to here, with one scale per output, qgemm's speed is worth twice the memory
GROUP_MULTIPLE = 32  # a group has a multiple of this many columns, or all
MAX_SCALE = 2.0**90  # sums of codes are below 2**28, so no result comes near infinity
INT8 = 4  # accuracy_level of MatMulNBits: the activations may be rounded to int8


def int4_weights(
    ctx: Lowering, x: Value, w: Value, bias: Value | None, level: int = 0, pixels: bool = True
) -> Q4 | None:
    """The weights w [n,k] or [n,k,1,1] for q4gemm.

    None if q4gemm cannot take them, or must not round x; then ``ctx.in_float`` holds the reason. `level` is the file's
    accuracy_level; `pixels` is False for convolutions that are not 1x1.
    """
    q = w.quant
    if q is None or q.bits != 4 or q.value.runtime or 0 in w.shape:
        return None
    why = _unfit(x, w, bias, pixels) or _too_exact(ctx, x, level)
    if why:
        ctx.in_float[ctx.node.name] = f"in float, although its weights have 4 bits: {why}"
        return None
    n, k = w.shape[:2]
    if not q.block and static(x) and n * k <= SMALL:
        return None
    shift = 8 if q.value.dtype == "i8" else 0
    codes = (q.value.data.reshape(n, k).astype(np.int16) + shift).astype(np.uint8)
    groups = -(-k // q.block) if q.block else 1
    scale, zero = (
        np.ascontiguousarray(np.broadcast_to(v.reshape(-1, groups), (n, groups)))
        for v in (q.scale.astype(np.float32), (q.zero + shift).astype(np.uint8))
    )
    return Q4(codes, scale, zero, min(q.block or k, k))


def _unfit(x: Value, w: Value, bias: Value | None, pixels: bool) -> str:
    """Why q4gemm does not take the weights or the bias; "" if it does."""
    q, k = w.quant, w.shape[1]
    if not pixels:
        return "such convolutions have no kernel for them"
    if q.block and q.axis != 1:
        return "its blocks lie along another axis than the sum's"
    if q.block and q.block < k and q.block % GROUP_MULTIPLE:
        return f"its blocks have {q.block} weights, which is no multiple of {GROUP_MULTIPLE}"
    if not q.block and q.scale.size > 1 and q.axis != 0:
        return "its scales lie along another axis than the outputs'"
    if k > MAX_K:
        return f"it sums over more than {MAX_K} products"
    if bias is not None and bias.runtime:
        return "its bias is computed at run time"
    if np.abs(q.scale).max(initial=0) * (float(x.quant.scale[0]) if static(x) else 1.0) > MAX_SCALE:
        return "its scales are too large"
    return ""


def _too_exact(ctx: Lowering, x: Value, level: int) -> str:
    """Why the activations x must stay float; "" if they need not."""
    wish = ctx.int4_activations
    if static(x) or wish == "dynamic" or (wish == "file" and level == INT8):
        return ""
    if wish == "float":
        return 'int4_activations="float" keeps its activations so'
    return 'the file keeps its activations so; int4_activations="dynamic" rounds them to 8 bits'


def static(x: Value) -> bool:
    """Whether x is dequantized from 8-bit codes with one scale."""
    q = x.quant
    return q is not None and q.value.dtype in ("u8", "i8") and q.scale.size == 1 and not q.block


def widened(w: Value) -> Value:
    """`w` for the 8-bit kernels: 4-bit constants without blocks become int8 with zero points 0 and positive scales."""
    q = w.quant
    if q is None or q.bits != 4 or q.block or q.value.runtime:
        return w
    scale, zero = (v.reshape(axis_shape(v, w.shape, q.axis)) for v in (q.scale, q.zero))
    codes = ((q.value.data.astype(np.int32) - zero) * np.where(scale < 0, -1, 1)).astype(np.int8)
    return Value(
        w.dtype, w.shape, None, False, Quant(Value.constant(codes), abs(q.scale), np.zeros_like(q.zero), q.axis)
    )


def q4_product(ctx: Lowering, x: Value, rows, w: Q4, bias: Value | None, out: np.ndarray, reason: str) -> None:
    """out[m,n] = x . w' + bias; `rows` reshapes the data of x, codes or floats, to [m,k]."""
    m, k = len(out), w.w.shape[1]
    if static(x):
        a, scale = rows(ctx.codes(x.quant.value)), x.quant.scale.astype(np.float64)
        given = {"a": a, "azp": np.broadcast_to(zero_point(x.quant), m), "ascale": np.broadcast_to(scale, m)}
    else:
        given = _rounded(ctx, x, rows, m, k)
    kind = "per channel" if w.group == k else f"group {w.group}"
    ctx.step(
        "q4gemm", **given, w=w, group=None, scale=None, zero=None, colsum=None, bias=_bias(bias), clamp=None, lut=None,
        add_scale=None, add_zero=None, residual=None, act=0, act_params=NO_PARAMS, out=out,
        reason=f"{reason} on integers; 4-bit weights, {kind}",
    )  # fmt: skip


def _rounded(ctx: Lowering, x: Value, rows, m: int, k: int) -> dict[str, np.ndarray]:
    """The float activations x quantized row by row, once for all products of one kind that read x."""
    key = (id(x), ctx.node.op)
    if key not in ctx.rounded:
        given = {"a": ctx.new((m, k), "u8"), "azp": ctx.new((m,), "i32"), "ascale": ctx.new((m,))}
        ctx.step(
            "dynquant", x=rows(ctx.f32(x)), out=given["a"], out_scale=given["ascale"], out_zero=given["azp"],
            reason="rows of activations to uint8, for 4-bit weights",
        )  # fmt: skip
        ctx.rounded[key] = x, given  # x is kept alive, so that its id is not reused
    return ctx.rounded[key][1]


def _bias(bias: Value | None) -> np.ndarray | None:
    """A constant bias as f64[n]; it stays float64 until packing, so that fusion rounds only once."""
    if bias is None:
        return None
    q = bias.quant
    real = bias.data if q is None or bias.data is not None else (q.value.data.astype(np.float64) - q.zero) * q.scale
    return real.astype(np.float64).reshape(-1)
