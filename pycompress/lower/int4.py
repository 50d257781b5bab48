"""Matrix products with constant weights of 4 bits; activations are codes already, or are made so row by row."""

from __future__ import annotations

import numpy as np

from ..weights import Q4
from .context import NO_PARAMS, Lowering, axis_shape
from .integer import LARGEST_K, zero_point
from .values import Quant, Value

ACTIVATIONS = ("file", "dynamic", "float")  # what weights of 4 bits make of float activations
SMALL = 8192  # weights with one scale per output, up to which qgemm's speed is worth more than half the memory
LEAST = 32  # a group is all columns, or a multiple of so many
LARGEST = 2.0**90  # of a scale: sums of codes are less than 2**28, and so all stays far from infinity
INT8 = 4  # accuracy_level of MatMulNBits: the activations may be rounded to int8


def four_bits(ctx: Lowering, x: Value, w: Value, bias: Value | None, level: int = 0, pixels: bool = True) -> Q4 | None:
    """The weights w [n,k] or [n,k,1,1] as q4gemm multiplies x by them.

    None where it cannot, or must not round x; then ``ctx.in_float`` holds why.  `level` is the file's accuracy_level,
    `pixels` is False for convolutions that are no products of each pixel.
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
    """What of the weights or the bias q4gemm does not take."""
    q, k = w.quant, w.shape[1]
    if not pixels:
        return "such convolutions have no kernel for them"
    if q.block and q.axis != 1:
        return "its blocks lie along another axis than the sum's"
    if q.block and q.block < k and q.block % LEAST:
        return f"its blocks have {q.block} weights, which is no multiple of {LEAST}"
    if not q.block and q.scale.size > 1 and q.axis != 0:
        return "its scales lie along another axis than the outputs'"
    if k > LARGEST_K:
        return f"it sums over more than {LARGEST_K} products"
    if bias is not None and bias.runtime:
        return "its bias is computed at run time"
    if np.abs(q.scale).max(initial=0) * (float(x.quant.scale[0]) if static(x) else 1.0) > LARGEST:
        return "its scales are too large"
    return ""


def _too_exact(ctx: Lowering, x: Value, level: int) -> str:
    """Why the activations x must stay float."""
    wish = ctx.int4_activations
    if static(x) or wish == "dynamic" or (wish == "file" and level == INT8):
        return ""
    if wish == "float":
        return 'int4_activations="float" keeps its activations so'
    return 'the file keeps its activations so; int4_activations="dynamic" rounds them to 8 bits'


def static(x: Value) -> bool:
    """Whether x stands for 8-bit codes with one scale."""
    q = x.quant
    return q is not None and q.value.dtype in ("u8", "i8") and q.scale.size == 1 and not q.block


def widened(w: Value) -> Value:
    """`w` for the kernels of 8 bits: constants of 4 without blocks become int8, without zero points, at positive scales."""
    q = w.quant
    if q is None or q.bits != 4 or q.block or q.value.runtime:
        return w
    scale, zero = (v.reshape(axis_shape(v, w.shape, q.axis)) for v in (q.scale, q.zero))
    codes = ((q.value.data.astype(np.int32) - zero) * np.where(scale < 0, -1, 1)).astype(np.int8)
    return Value(
        w.dtype, w.shape, None, False, Quant(Value.constant(codes), abs(q.scale), np.zeros_like(q.zero), q.axis)
    )


def q4_product(ctx: Lowering, x: Value, rows, w: Q4, bias: Value | None, out: np.ndarray, reason: str) -> None:
    """out[m,n] = x . w' + bias; `rows` makes of the data of x, codes or floats, an array [m,k]."""
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
    """The float activations x as codes, each row over its own range: once for all products of one kind that read it."""
    key = (id(x), ctx.node.op)
    if key not in ctx.rounded:
        given = {"a": ctx.new((m, k), "u8"), "azp": ctx.new((m,), "i32"), "ascale": ctx.new((m,))}
        ctx.step(
            "dynquant", x=rows(ctx.f32(x)), out=given["a"], out_scale=given["ascale"], out_zero=given["azp"],
            reason="rows of activations to uint8, for weights of 4 bits",
        )  # fmt: skip
        ctx.rounded[key] = x, given  # x, so that its id stays its own
    return ctx.rounded[key][1]


def _bias(bias: Value | None) -> np.ndarray | None:
    """A constant bias, f64[n]: in float64 until packing, so that fusing rounds once."""
    if bias is None:
        return None
    q = bias.quant
    real = bias.data if q is None or bias.data is not None else (q.value.data.astype(np.float64) - q.zero) * q.scale
    return real.astype(np.float64).reshape(-1)
