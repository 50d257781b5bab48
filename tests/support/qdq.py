"""Quantized networks for tests, and what the integer contract says that they answer.

``evaluate`` walks a QDQ model (or a QOperator one, spelled out as QDQ) tensor by tensor.  Wherever
codes are made it follows the contract, in plain numpy, and checks that float64 arithmetic on the
same inputs would have made the same codes within one step.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pycompress import native

OPS = {"Relu": 1, "Clip": 2, "LeakyRelu": 3, "HardSigmoid": 4, "HardSwish": 5, "Sigmoid": 6, "Tanh": 8}
LIMITS = {np.dtype(t): (np.iinfo(t).min, np.iinfo(t).max) for t in (np.uint8, np.int8, np.int16, np.uint16)}


# ---- float networks, and their quantization by ONNX Runtime ----


class Builder:
    """Nodes and constants of a float network with random weights."""

    def __init__(self, rng):
        self.rng, self.nodes, self.constants = rng, [], []

    def constant(self, data) -> str:
        data = np.asarray(data)
        data = data.astype(np.float32) if data.dtype.kind == "f" else data
        self.constants.append(numpy_helper.from_array(data, f"c{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x, inputs, outputs, k=3, stride=1, group=1, pads=None, dilation=1) -> str:
        w = self.rng.standard_normal((outputs, inputs // group, k, k)) / np.sqrt(inputs // group * k * k)
        bias = self.constant(self.rng.standard_normal(outputs) * 0.3)
        pads = [k // 2] * 4 if pads is None else pads
        return self.op("Conv", x, self.constant(w), bias, kernel_shape=[k, k], strides=[stride] * 2, pads=pads,
                       group=group, dilations=[dilation] * 2)  # fmt: skip

    def relu6(self, x) -> str:
        return self.op("Clip", x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def quantize(self, x, scale, zero, axis=None) -> str:
        """x -> QuantizeLinear -> DequantizeLinear; `zero` is an array, whose type is that of the codes."""
        scale, zero = self.constant(np.asarray(scale, np.float32)), self.constant(zero)
        axis = {} if axis is None else {"axis": axis}
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, scale, zero, **axis), scale, zero, **axis)

    def codes(self, codes, scale, zero, axis=0) -> str:
        """Constant codes -> DequantizeLinear."""
        scale, zero = self.constant(np.asarray(scale, np.float32)), self.constant(zero)
        return self.op("DequantizeLinear", self.constant(codes), scale, zero, axis=axis)

    def model(self, shape, output: str) -> onnx.ModelProto:
        port = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *map(int, shape)])
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [port], [out], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def small_network(rng) -> onnx.ModelProto:
    """Everything a mobile CNN has: depthwise, residual, groups, concat, pools, gates."""
    g = Builder(rng)
    x = g.op("Relu", g.conv("x", 3, 16, 3, 2))
    y = g.relu6(g.conv(x, 16, 32, 1))
    y = g.relu6(g.conv(y, 32, 32, 3, group=32))
    x = g.op("Add", x, g.conv(y, 32, 16, 1))
    y = g.op("HardSwish", g.conv(x, 16, 24, 3, group=2))
    z = g.conv(x, 16, 8, 5)
    z = g.op("Mul", z, g.op("Sigmoid", z))
    x = g.op("Concat", y, z, axis=1)
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    s = g.op("Relu", g.conv(g.op("GlobalAveragePool", x), 32, 8, 1))
    x = g.op("Mul", x, g.op("HardSigmoid", g.conv(s, 8, 32, 1)))
    x = g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    x = g.op("Flatten", g.op("GlobalAveragePool", x))
    w, bias = g.constant(rng.standard_normal((10, 32))), g.constant(rng.standard_normal(10))
    return g.model((3, 20, 20), g.op("Gemm", x, w, bias, transB=1))


def quantize_static(model: onnx.ModelProto, images: list[np.ndarray], **options) -> onnx.ModelProto:
    """`model` quantized by ONNX Runtime's own tool."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            x = next(self.left, None)
            return None if x is None else {model.graph.input[0].name: x}

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, before)
        if any(node.op_type == "BatchNormalization" for node in model.graph.node):
            quantization.quant_pre_process(before, before, skip_symbolic_shape=True)  # folds them
        quantization.quantize_static(before, after, Reader(), **options)
        return onnx.load(after)


# ---- the contract, tensor by tensor ----


@dataclass(frozen=True)
class Real:
    """A float tensor that follows from codes: in float64, in float32 step by step, and how to round it to codes."""

    f64: np.ndarray
    f32: np.ndarray
    codes: tuple | None = None  # (array, zero, scale, name) where it is dequantized, with one scale
    weight: tuple | None = None  # the same for constants, scale and zero along `axis`
    requantize: object = None  # scale of the output -> float32 to round
    bounds: tuple = (-np.inf, np.inf)

    def moved(self, f) -> Real:
        """Rearranged, or the maximum of some: `f` commutes with rounding."""
        codes = self.codes and (f(self.codes[0]), *self.codes[1:])
        later = self.requantize and (lambda s: f(self.requantize(s)))
        return Real(f(self.f64), f(self.f32), codes, requantize=later, bounds=self.bounds)


def f32(x):
    return np.asarray(x, np.float64).astype(np.float32)


def clamped(y, zero, low, high):
    """clamp(round_half_even(y) + zero), clamped in float first."""
    return np.rint(np.clip(y, np.float32(low - zero), np.float32(high - zero))).astype(np.int64) + zero


def along(v, axis, rank):
    return v.reshape([-1 if i == axis % max(rank, 1) else 1 for i in range(rank)]) if v.size > 1 else v.reshape(())


def columns(x, kernel, strides, dilations, pads, out, fill):
    """[n,c,kh*kw,oh,ow] windows of x [n,c,h,w] and which cells lie inside the image."""
    n, c, h, w = x.shape
    cells = np.full((n, c, kernel[0] * kernel[1], *out), fill, x.dtype)
    inside = np.zeros(cells.shape[2:], bool)
    for at in np.ndindex(*kernel):
        for o in np.ndindex(*out):
            i, j = (o[d] * strides[d] + at[d] * dilations[d] - pads[d] for d in (0, 1))
            if 0 <= i < h and 0 <= j < w:
                cells[:, :, at[0] * kernel[1] + at[1], o[0], o[1]] = x[:, :, i, j]
                inside[at[0] * kernel[1] + at[1], o[0], o[1]] = True
    return cells, inside


def convolve(x, w, attributes):
    """The sums of a convolution; zero beyond the image."""
    groups = attributes.get("group", 1)
    cells, _ = columns(x, *geometry(x, w.shape[2:], attributes), 0)
    n, c, taps, oh, ow = cells.shape
    cells = cells.reshape(n, groups, c // groups * taps, oh * ow)
    w = w.reshape(groups, w.shape[0] // groups, -1)
    return np.einsum("ngko,gmk->ngmo", cells, w).reshape(n, -1, oh, ow)


def geometry(x, kernel, attributes):
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads = attributes.get("pads", [0, 0, 0, 0])
    out = [
        (x.shape[2 + d] + pads[d] + pads[d + 2] - dilations[d] * (kernel[d] - 1) - 1) // strides[d] + 1 for d in (0, 1)
    ]
    return kernel, strides, dilations, pads, out


class Evaluation:
    """One run: `codes` holds every integer tensor that a QuantizeLinear made."""

    def __init__(self, model: onnx.ModelProto, inputs: dict[str, np.ndarray]):
        model = as_qdq(model)
        constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.env = constants | inputs
        self.constants = set(constants)
        self.codes: dict[str, np.ndarray] = {}
        self.differences = 0
        for node in model.graph.node:
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            values = [self.env[n] if n else None for n in node.input]
            if node.op_type not in ("DequantizeLinear", "QuantizeLinear") and not hasattr(self, node.op_type):
                assert node.op_type in OPS, node.op_type
                result = self.unary(node, *values, **attributes)
            else:
                result = getattr(self, node.op_type)(node, *values, **attributes)
            self.env[node.output[0]] = result
            if all(n in self.constants or not n for n in node.input):
                self.constants.add(node.output[0])
        self.outputs = [self.env[o.name] for o in model.graph.output]

    def DequantizeLinear(self, node, x, scale, zero=None, axis=1):
        zero = np.zeros_like(scale, np.int64) if zero is None else zero.astype(np.int64)
        shaped_zero, shaped = along(zero, axis, x.ndim), along(scale, axis, x.ndim)
        f64 = (x.astype(np.int64) - shaped_zero) * shaped.astype(np.float64)
        single = (x.astype(np.int64) - shaped_zero).astype(np.float32) * shaped
        if node.input[0] in self.constants:
            return Real(f64, single, weight=(x.astype(np.int64) - shaped_zero, scale.reshape(-1), axis))
        codes = (x.astype(np.int64), int(zero.reshape(())), np.float64(scale.reshape(())), node.input[0])
        return Real(f64, single, codes)

    def QuantizeLinear(self, node, x, scale, zero, axis=1):
        if isinstance(x, np.ndarray):
            x = Real(x.astype(np.float64), x)
        low, high = LIMITS[zero.dtype]
        step, offset = along(scale, axis, x.f32.ndim), along(zero.astype(np.int64), axis, x.f32.ndim)
        exact = np.clip(np.rint(x.f64 / step.astype(np.float64)) + offset, low, high).astype(np.int64)
        if x.requantize is None:
            codes = np.clip(np.rint((x.f32 / step).astype(np.float64)) + offset, low, high).astype(np.int64)
        else:
            bounds = [int(np.clip(np.rint(np.float32(b) / scale) + zero, low, high)) for b in x.bounds]
            codes = clamped(x.requantize(np.float64(scale.reshape(()))), int(zero), *bounds)
        difference = np.abs(codes - exact)
        assert difference.max(initial=0) <= 1, (node.name, difference.max())
        self.differences += np.count_nonzero(difference)
        self.codes[node.output[0]] = codes.astype(zero.dtype)
        return self.codes[node.output[0]]

    def product(self, x, w, bias, multiply, axis, rank):
        """A sum of products in exact integers where both sides are codes."""
        real = x.f64 if isinstance(x, Real) else x
        f64 = multiply(real, w.f64)
        shape = [-1 if i == axis % rank else 1 for i in range(rank)]
        offset = 0 if bias is None else (bias.f64 if isinstance(bias, Real) else bias.astype(np.float64))
        f64 = f64 + (offset.reshape(shape) if bias is not None else 0)
        if not isinstance(x, Real) or x.codes is None:
            return Real(f64, f64.astype(np.float32))
        codes, zero, sx, _ = x.codes
        w_codes, sw, _ = w.weight
        scale = (
            np.broadcast_to(sx * sw.astype(np.float64), f64.shape[axis]) if sw.size == 1 else sx * sw.astype(np.float64)
        )
        total = multiply(codes - zero, w_codes)
        if bias is not None:
            whole = bias.weight[0] if isinstance(bias, Real) else np.rint(offset / scale).astype(np.int64)
            total = total + whole.reshape(shape)
        assert np.abs(total).max(initial=0) < 2**31
        total = total.astype(np.float32)
        return Real(
            f64, total * f32(scale).reshape(shape), requantize=lambda sy: total * f32(scale / sy).reshape(shape)
        )

    def Conv(self, node, x, w, bias=None, **attributes):
        return self.product(x, w, bias, lambda a, b: convolve(a, b, attributes), 1, 4)

    def Gemm(self, node, x, w, bias=None, transB=0, **_):
        return self.product(x, w, bias, lambda a, b: a @ (b.T if transB else b), 1, 2)

    def MatMul(self, node, x, w):
        return self.product(x, w, None, lambda a, b: a @ b, -1, x.f64.ndim)

    def unary(self, node, x, low=None, high=None, alpha=None, beta=None):
        op = OPS[node.op_type]
        params = np.zeros(2, np.float32)
        if op == 2:
            params[:] = -np.inf if low is None else low, np.inf if high is None else high
        elif op == 3:
            params[0] = 0.01 if alpha is None else alpha
        elif op == 4:
            params[:] = 0.2 if alpha is None else alpha, 0.5 if beta is None else beta
        y = np.empty((1, x.f32.size), np.float32)
        native.unary(np.ascontiguousarray(x.f32).reshape(1, -1), op, params, y, isa="scalar")
        y, v, p = y.reshape(x.f32.shape), x.f64, params.astype(np.float64)
        gate = np.clip(v / 6 + 0.5, 0, 1)
        with np.errstate(over="ignore"):
            f64 = (None, np.maximum(v, 0), np.clip(v, *p) if op == 2 else v, np.where(v < 0, p[0] * v, v),
                   np.clip(p[0] * v + p[1], 0, 1), v * gate, 1 / (1 + np.exp(-v)), None, np.tanh(v))[op]  # fmt: skip
        if op in (1, 2) and x.requantize is not None:
            return Real(f64, y, requantize=x.requantize, bounds=(0, np.inf) if op == 1 else tuple(params))
        return Real(f64, y)

    def two(self, node, a, b, f):
        a, b = (v if isinstance(v, Real) else Real(v.astype(np.float64), v) for v in (a, b))
        result = Real(f(a.f64, b.f64), f(a.f32, b.f32))
        if any(v.codes is None and (v.weight is None or v.weight[1].size > 1) for v in (a, b)):
            return result
        (x, sx), (y, sy) = ((v.codes[0] - v.codes[1], v.codes[2]) if v.codes else v.weight[:2] for v in (a, b))
        sx, sy = np.float64(sx), np.float64(sy)
        if node.op_type == "Mul":
            return replace(result, requantize=lambda s: (x * y).astype(np.float32) * f32(sx * sy / s))
        sign = 1 if node.op_type == "Add" else -1
        return replace(
            result, requantize=lambda s: x.astype(np.float32) * f32(sx / s) + y.astype(np.float32) * f32(sign * sy / s)
        )

    def Add(self, node, a, b):
        return self.two(node, a, b, np.add)

    def Sub(self, node, a, b):
        return self.two(node, a, b, np.subtract)

    def Mul(self, node, a, b):
        return self.two(node, a, b, np.multiply)

    def mean(self, x, cells, inside, counts):
        """Averages over axis 2 of windows; cells maps an array and its padding to them."""
        f64 = (cells(x.f64, 0.0) * inside).sum(2) / counts
        if x.codes is None:
            return Real(f64, f64.astype(np.float32))
        codes, zero, scale, _ = x.codes
        total = ((cells(codes, zero) - zero) * inside).sum(2).astype(np.float32)
        return Real(f64, f64.astype(np.float32), requantize=lambda s: total * (f32(scale / s) / f32(counts)))

    def AveragePool(self, node, x, kernel_shape=None, count_include_pad=0, **attributes):
        x = x if isinstance(x, Real) else Real(x.astype(np.float64), x)
        shape = geometry(x.f64, kernel_shape, attributes)
        _, inside = columns(x.f64, *shape, 0)
        counts = inside.sum(0)
        if count_include_pad:
            counts = np.full_like(counts, kernel_shape[0] * kernel_shape[1])
        return self.mean(x, lambda v, fill: columns(v, *shape, fill)[0], inside, counts)

    def GlobalAveragePool(self, node, x):
        x = x if isinstance(x, Real) else Real(x.astype(np.float64), x)
        flat = lambda v, fill: v.reshape(*v.shape[:2], -1, 1, 1)  # noqa: E731
        return self.mean(x, flat, 1, x.f64.shape[2] * x.f64.shape[3])

    def MaxPool(self, node, x, kernel_shape=None, **attributes):
        if isinstance(x, np.ndarray):
            return columns(x, *geometry(x, kernel_shape, attributes), LIMITS[x.dtype][0])[0].max(2)
        return x.moved(lambda v: columns(v, *geometry(v, kernel_shape, attributes), v.min())[0].max(2))

    def Concat(self, node, *parts, axis):
        return Real(np.concatenate([p.f64 for p in parts], axis), np.concatenate([p.f32 for p in parts], axis))

    def Flatten(self, node, x, axis=1):
        return self.Reshape(node, x, np.array([int(np.prod((x.f64 if isinstance(x, Real) else x).shape[:axis])), -1]))

    def Reshape(self, node, x, shape):
        return x.moved(lambda v: v.reshape(shape)) if isinstance(x, Real) else x.reshape(shape)

    def Identity(self, node, x):
        return x


def as_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """A QOperator model with each integer operator as its float one between DequantizeLinear and QuantizeLinear."""
    nodes, extra, made = [], [], onnx.ModelProto()
    made.CopyFrom(model)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def dequantize(name, scale, zero, axis):
        out = f"{name}__{len(nodes)}"
        nodes.append(
            helper.make_node("DequantizeLinear", [name, scale, zero] if zero else [name, scale], [out], axis=axis)
        )
        return out

    for node in model.graph.node:
        if not node.op_type.startswith(("QLinear", "QGemm")):
            nodes.append(node)
            continue
        i, op = list(node.input), node.op_type.removeprefix("QLinear").replace("QGemm", "Gemm")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "channels_last"}
        if op == "Concat":
            inputs, target = [dequantize(*i[k : k + 3], 1) for k in range(2, len(i), 3)], i[:2]
        elif op in ("Conv", "Gemm", "MatMul"):
            b_first, target = 3, i[7:9] if op == "Gemm" else i[6:8]
            axis = 0 if op == "Conv" or attributes.get("transB") else 1
            inputs = [dequantize(*i[:3], 1), dequantize(*i[b_first : b_first + 3], axis)]
            bias = i[6:7] if op == "Gemm" else i[8:9]
            if bias and bias[0]:
                scale = (constants[i[1]].astype(np.float64) * constants[i[4]]).astype(np.float32)
                extra.append(numpy_helper.from_array(scale, f"{node.name}_bias_scale"))
                inputs.append(dequantize(bias[0], extra[-1].name, None, 0))
        elif op in ("Add", "Mul"):
            inputs, target = [dequantize(*i[:3], 1), dequantize(*i[3:6], 1)], i[6:8]
        else:
            inputs, target = [dequantize(*i[:3], 1)], i[3:5]
        nodes.append(helper.make_node(op, inputs, [f"{node.output[0]}__f"], name=node.name, **attributes))
        nodes.append(helper.make_node("QuantizeLinear", [f"{node.output[0]}__f", *target], list(node.output)))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(extra)
    return made


def check(model: onnx.ModelProto, inputs: dict[str, np.ndarray], **options):
    """`model` on the integer kernels answers what the contract says, in every tensor of codes that is left of it.

    Returns the program, the evaluation and how many tensors were compared.
    """
    from interpret import interpret
    from pycompress.lower.values import root
    from pycompress.optimize.dataflow import writes

    expected = Evaluation(model, inputs)
    outputs, program = interpret(model, inputs, **options)
    written = {id(root(x)) for step in program.steps for x in writes(step)}
    compared = 0
    for name, codes in expected.codes.items():
        stored = program.names.get(name)
        if stored is None or id(root(stored)) not in written:
            continue
        stored = (stored ^ 0x80).view(np.int8) if codes.dtype == np.int8 else stored
        np.testing.assert_array_equal(stored, codes, err_msg=name)
        compared += 1
    for got, want in zip(outputs, expected.outputs):
        want = want.f32 if isinstance(want, Real) else want
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max(initial=0))
    return program, expected, compared
