"""ONNX's integer operators: QLinear*, *Integer, DynamicQuantizeLinear.

A QLinear operator is lowered as its float operator between DequantizeLinear and QuantizeLinear, so that it reaches
the integer kernels in the same way as a QDQ model.
"""

from __future__ import annotations

import numpy as np

from .. import native
from . import convolution, matmul
from .context import Lowering
from .emit import cast
from .integer import MAX_K, integer_tail
from .integer_conv import integer_conv
from .node import Node
from .quantize_linear import alive, codes, grid, requantize
from .registry import operator
from .values import Quant, Value

ONE = np.ones(1, np.float32)


def dequantized(ctx: Lowering, node: Node, index: int, axis: int | None = None) -> Value:
    """The float value of the 8-bit codes, scale and zero point in a node's inputs `index` to `index + 2`."""
    x = eight_bits(node, index)
    return codes(ctx, x, grid(ctx, node, x.shape, x.dtype, index + 1, axis))


def weights(ctx: Lowering, node: Node, index: int, axis: int) -> tuple[Value, np.ndarray]:
    """As ``dequantized``, for weights, whose scales may be 0; also returns the scales as in the file."""
    x = eight_bits(node, index)
    g = grid(ctx, node, x.shape, x.dtype, index + 1, axis, dead=not x.runtime)
    given = g.scale
    if (given == 0).any():
        x, g = alive(x, g)
    return codes(ctx, x, g), given


def eight_bits(node: Node, index: int) -> Value:
    """Input `index`, which must be u8 or i8."""
    x = node.input(index)
    if x.dtype not in ("u8", "i8"):
        node.refuse(f"input {index} must be u8 or i8, got {x.dtype}")
    return x


def quantized(ctx: Lowering, node: Node, y: Value, first: int, default: str | None = None) -> Value:
    """The value `y` quantized with a node's inputs `first` (scale) and `first + 1` (zero point)."""
    zero = node.optional(first + 1)
    dtype = zero.dtype if zero is not None else default
    if dtype not in ("u8", "i8"):
        node.refuse(f"input {first + 1} must be a zero point of type u8 or i8, got {dtype}")
    return requantize(ctx, y, dtype, grid(ctx, node, y.shape, dtype, first))


def sum_bias(node: Node, index: int, x: Value, w: Value, given: np.ndarray) -> Value | None:
    """An int32 bias in units of the scale of x times that of w; `given` are the scales of w as in the file."""
    bias = node.optional(index)
    if bias is None:
        return None
    if bias.dtype != "i32":
        node.refuse(f"input {index}, the bias, must be i32, got {bias.dtype}")
    if (given == 0).any():
        if bias.runtime:
            node.refuse(f"input {index}, the bias, must be known when planning where a scale is 0")
        bias = Value.constant(np.where(given == 0, 0, bias.data).astype(np.int32))
    scale = (x.quant.scale.astype(np.float64) * w.quant.scale).astype(np.float32)
    return Value("f32", bias.shape, None, bias.runtime, Quant(bias, scale, np.zeros(scale.size, np.int32)))


@operator("QLinearConv")
def qlinear_conv(ctx: Lowering, node: Node) -> Value:
    x, (w, given) = dequantized(ctx, node, 0), weights(ctx, node, 3, axis=0)
    y = convolution.conv(ctx, node.become("Conv", [x, w, sum_bias(node, 8, x, w, given)]))
    return quantized(ctx, node, y, 6)


@operator("QLinearMatMul")
def qlinear_matmul(ctx: Lowering, node: Node) -> Value:
    a, (b, _) = dequantized(ctx, node, 0), weights(ctx, node, 3, axis=-1)
    return quantized(ctx, node, matmul.matmul(ctx, node.become("MatMul", [a, b])), 6)


def zero_points(ctx: Lowering, node: Node, index: int, x: Value) -> np.ndarray:
    """The zero points of `x` in its storage, i32[count], constant or computed at run time."""
    zero = node.optional(index)
    if zero is None:
        return np.full(1, 128 if x.dtype == "i8" else 0, np.int32)
    if zero.dtype != x.dtype:
        node.refuse(f"zero point {node.proto.input[index]!r} must be {x.dtype} as the codes, got {zero.dtype}")
    if not zero.runtime:
        return zero.data.reshape(-1).astype(np.int32) + (128 if x.dtype == "i8" else 0)
    stored = Value("u8", zero.shape, ctx.data(zero), True)
    return ctx.contiguous(ctx.data(cast(ctx, stored, "i32"))).reshape(-1)


def weight_codes(node: Node, index: int, w: Value, columns: int) -> Quant:
    """Integer weights of input `index` with the zero points of input `index + 2` and scale 1."""
    zero = node.plan_time(index + 2, "zero point")
    if zero is None:
        zero = np.zeros(1, np.int32)
    elif node.optional(index + 2).dtype != w.dtype:
        node.refuse(f"zero point {node.proto.input[index + 2]!r} must be {w.dtype} as the codes")
    if zero.size not in (1, columns):
        node.refuse(f"zero point {node.proto.input[index + 2]!r} must have 1 or {columns} elements, got {zero.size}")
    return Quant(w, ONE, zero.reshape(-1).astype(np.int32))


@operator("ConvInteger")
def conv_integer(ctx: Lowering, node: Node) -> Value:
    x, w = eight_bits(node, 0), eight_bits(node, 1)
    geometry = node.become("Conv", [x, w])
    kernel = convolution.kernel_shape(geometry, x, w)
    n, c, h, wide = convolution.spatial(geometry, x)
    win, groups, outputs = convolution.window(geometry, kernel, h, wide), node.int("group", 1), w.shape[0]
    convolution.check_groups(geometry, groups, c, w)
    xzp = zero_points(ctx, node, 2, x)
    if xzp.size != 1:
        node.refuse(f"zero point {node.proto.input[2]!r} must be a scalar, got {xzp.size} elements")
    oh, ow = win.out(h, wide)
    if oh < 1 or ow < 1:
        node.refuse(f"the window {kernel} does not fit into shape {x.shape}")
    out, logical = ctx.image((n, outputs, oh, ow), "i32")
    image = ctx.nhwc(convolution.lift(ctx.codes(x)))
    integer_conv(ctx, image, xzp, weight_codes(node, 1, w, outputs), win, groups, integer_tail(), out)
    return ctx.value(logical.reshape(n, outputs, ow) if len(x.shape) == 3 else logical)


@operator("MatMulInteger")
def matmul_integer(ctx: Lowering, node: Node) -> Value:
    a, b = eight_bits(node, 0), eight_bits(node, 1)
    sa, sb, shape, final = matmul.matmul_shapes(node, a, b)
    if sa[-1] > MAX_K:
        node.refuse(f"sums over more than {MAX_K} products are not supported")
    azp = zero_points(ctx, node, 2, a)
    if azp.size not in (1, sa[-2]):
        node.refuse(f"zero point {node.proto.input[2]!r} must have 1 or {sa[-2]} elements, got {azp.size}")
    wq = weight_codes(node, 1, b, sb[-1])
    data = (ctx.codes(b) if b.runtime else b.data).reshape(sb)
    wq = Quant(Value(b.dtype, sb[::-1], data.T, b.runtime), wq.scale, wq.zero)
    out = ctx.new(shape, "i32")
    matmul.on_integers(ctx, ctx.codes(a).reshape(sa), azp, wq, integer_tail(), out)
    return ctx.value(out.reshape(final))


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(ctx: Lowering, node: Node) -> list[Value]:
    x = ctx.f32(node.input(0))
    if not node.input(0).runtime:
        return _quantized_now(x)
    flat, target, out = ctx.flat_pair(x, "u8")
    if len(flat) != 1 and x.size:
        x = ctx.contiguous(x)
        flat, target, out = ctx.flat_pair(x, "u8")
    scale, zero = ctx.new((), "f32"), ctx.new((), "i32")
    ctx.step(
        "dynquant", x=flat.reshape(1, -1), out=target.reshape(1, -1), out_scale=scale.reshape(1), out_zero=zero.reshape(1),
        reason="scale and zero point of this input",
    )  # fmt: skip
    return [ctx.value(out), ctx.value(scale), cast(ctx, ctx.value(zero), "u8")]


def _quantized_now(x: np.ndarray) -> list[Value]:
    """A constant by the kernel itself, so that its codes are those of a run: weights that a tool took for activations."""
    out, scale, zero = np.empty(x.shape, np.uint8), np.empty(1, np.float32), np.empty(1, np.int32)
    native.dynquant(np.ascontiguousarray(x).reshape(1, -1), out.reshape(1, -1), scale, zero)
    return [Value.constant(v) for v in (out, scale.reshape(()), zero.astype(np.uint8).reshape(()))]
