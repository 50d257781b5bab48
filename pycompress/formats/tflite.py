"""ONNX to a .tflite file, for the operators of image classifiers, float or quantized in QDQ form.

Tensors of four dimensions become NHWC, weights OHWI.  A value between QuantizeLinear and DequantizeLinear becomes
an int8 tensor, its zero point moved by 128 where it was uint8, so the arithmetic is the .onnx file's but for the
rounding of the kernels; where only the weights are quantized, as in a last layer, LiteRT quantizes the input as it
runs.  What has no counterpart is refused.  Needs onnx, flatbuffers and ai-edge-litert, whose schema writes the file.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

_RELU6 = (0.0, 6.0)


@dataclass(frozen=True)
class _Quantized:
    """A constant and what its integers mean."""

    data: np.ndarray
    scale: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        shape = [1] * self.data.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        return (self.data * self.scale.reshape(shape)).astype(np.float32)


def convert(model) -> bytes:
    """The .tflite file of an onnx.ModelProto, or of its bytes or path, whose inputs have fixed shapes.

    Raises
    ------
    NotImplementedError
        For a node that has no counterpart here; the message names it.
    """
    import flatbuffers
    import onnx
    from ai_edge_litert import schema_py_generated as schema

    if isinstance(model, (bytes, bytearray)):
        model = onnx.load_from_string(bytes(model))
    elif not isinstance(model, onnx.ModelProto):
        model = onnx.load(model)
    builder = flatbuffers.Builder(1 << 20)
    made = _Converter(onnx.shape_inference.infer_shapes(model), schema).model()
    builder.Finish(made.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Converter:
    """`schema` holds LiteRT's classes and enumerations; a test may give others."""

    def __init__(self, model, schema):
        from onnx import helper, numpy_helper

        self.s = schema
        self.graph = model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.nodes = list(model.graph.node)  # kept, since nodes are told apart by id()
        self.attributes = {id(n): {a.name: helper.get_attribute_value(a) for a in n.attribute} for n in self.nodes}
        ports = [*model.graph.input, *model.graph.value_info, *model.graph.output]
        self.shapes = {p.name: [d.dim_value for d in p.type.tensor_type.shape.dim] for p in ports}
        self.outputs = {p.name for p in model.graph.output}
        self.readers = Counter(name for n in self.nodes for name in n.input)
        self.readers.update(self.outputs)
        self.reader = {name: n for n in self.nodes for name in n.input}
        self.alias: dict[str, str] = {}  # a DequantizeLinear's output: the quantized tensor's name
        self.done: set[int] = set()  # nodes that became part of one before them
        self.tensors, self.buffers, self.operators, self.codes = [], [schema.BufferT()], [], []
        self.index: dict[str, int] = {}
        self.quantization: dict[str, tuple[float, int]] = {}

    def model(self):
        """The schema's ModelT."""
        inputs = [self.tensor(p.name) for p in self.graph.input if p.name not in self.constants]
        for node in self.nodes:
            if id(node) not in self.done:
                getattr(self, f"_{node.op_type}", self._refuse)(node)
        s = self.s
        main = s.SubGraphT()
        main.tensors, main.operators, main.inputs = self.tensors, self.operators, inputs
        main.outputs = [self.real(p.name) for p in self.graph.output]
        model = s.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [main], self.buffers
        model.operatorCodes = []
        for code, version in self.codes:
            entry = s.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), version
            model.operatorCodes.append(entry)
        return model

    def _refuse(self, node, why: str = "has no counterpart here"):
        raise NotImplementedError(f"node {node.name or node.output[0]}: {node.op_type} {why}")

    # values

    def tensor(self, name: str) -> int:
        """The activation `name`, real, or int8 where it is an output of QuantizeLinear."""
        if name not in self.index:
            shape = self.shapes.get(name, [0])
            if not all(shape):
                raise NotImplementedError(f"{name} has no fixed shape")
            if len(shape) == 4:
                shape = [shape[0], *shape[2:], shape[1]]
            self.index[name] = self._add(name, shape, quantization=self.quantization.get(name))
        return self.index[name]

    def _add(self, name: str, shape, data=None, quantization=None, axis=0) -> int:
        s, t = self.s, self.s.TensorT()
        t.name, t.shape, t.buffer = name, [int(d) for d in shape], 0
        word = data.dtype.name if data is not None else "int8" if quantization else "float32"
        t.type = getattr(s.TensorType, word.upper())
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            t.buffer = len(self.buffers)
            self.buffers.append(buffer)
        if quantization is not None:
            scale, zero = np.atleast_1d(quantization[0]), quantization[1]
            t.quantization = s.QuantizationParametersT()
            t.quantization.scale = scale.astype(np.float32)
            t.quantization.zeroPoint = np.full(scale.size, zero, np.int64)
            t.quantization.quantizedDimension = axis
        self.tensors.append(t)
        return len(self.tensors) - 1

    def constant(self, name: str, data, quantization=None, axis=0) -> int:
        data = np.asarray(data)
        return self._add(name, data.shape, data, quantization, axis)

    def real(self, name: str) -> int:
        """The activation `name` in float."""
        if name not in self.alias:
            return self.tensor(name)
        if name not in self.index:
            self.shapes.setdefault(name, self.shapes[self.alias[name]])
            self._operator("DEQUANTIZE", [self.index[self.alias[name]]], self.tensor(name), version=2)
        return self.index[name]

    def result(self, node) -> tuple[str, str]:
        """(name of the tensor that `node` writes, activation): what can be one operator in TFLite is one here."""
        name, activation = node.output[0], "NONE"
        if self._sole(name, "Relu"):
            name, activation = self._absorb(name), "RELU"
        elif self._sole(name, "Clip") and self._bounds(self.reader[name]) == _RELU6:
            name, activation = self._absorb(name), "RELU6"
        return self._stored(name), activation

    def _stored(self, name: str) -> str:
        """`name`, or what QuantizeLinear makes of it where nothing else reads it."""
        if not self._sole(name, "QuantizeLinear"):
            return name
        node = self.reader[name]
        self._announce(node)
        return self._absorb(name)

    def _absorb(self, name: str) -> str:
        self.done.add(id(self.reader[name]))
        return self.reader[name].output[0]

    def _sole(self, name: str, op: str) -> bool:
        return self.readers[name] == 1 and name not in self.outputs and self.reader[name].op_type == op

    def _bounds(self, node) -> tuple[float, float]:
        low, high = (self.constants.get(n) for n in [*node.input[1:], "", ""][:2])
        return (-np.inf if low is None else float(low), np.inf if high is None else float(high))

    def operands(self, node, names, written: str) -> list[int]:
        """The activations `names` as `node`, which writes `written`, reads them: all int8 or all float."""
        if written not in self.quantization:
            return [self.real(n) for n in names]
        if any(n not in self.alias for n in names):
            self._refuse(node, "has an int8 output and a float input")
        return [self.index[self.alias[n]] for n in names]

    def _operator(self, code: str, inputs, output: int, kind: str = "", version: int = 1, **options) -> None:
        s, op = self.s, self.s.OperatorT()
        key = (getattr(s.BuiltinOperator, code), version)
        if key not in self.codes:
            self.codes.append(key)
        op.opcodeIndex, op.inputs, op.outputs = self.codes.index(key), list(inputs), [output]
        if kind:
            op.builtinOptionsType = getattr(s.BuiltinOptions, kind)
            op.builtinOptions = getattr(s, kind + "T")()
            for field, value in options.items():
                setattr(op.builtinOptions, field, value)
        self.operators.append(op)

    def _activation(self, word: str) -> int:
        return getattr(self.s.ActivationFunctionType, word)

    # QDQ

    def _announce(self, node) -> None:
        scale, zero = self.constants[node.input[1]], self.constants.get(node.input[2] if len(node.input) > 2 else "")
        if scale.size != 1:
            self._refuse(node, "of an activation with a scale per channel has no counterpart here")
        zero = np.zeros((), np.uint8) if zero is None else zero
        if zero.dtype not in (np.uint8, np.int8):
            self._refuse(node, f"to {zero.dtype} has no counterpart here")
        self.quantization[node.output[0]] = (float(scale), int(zero) - (128 if zero.dtype == np.uint8 else 0))
        self.shapes.setdefault(node.output[0], self.shapes[node.input[0]])

    def _QuantizeLinear(self, node):
        self._announce(node)
        source = self.index.get(self.alias.get(node.input[0], ""))
        source = self.tensor(node.input[0]) if source is None else source
        self._operator("QUANTIZE", [source], self.tensor(node.output[0]), "QuantizeOptions")

    def _DequantizeLinear(self, node):
        source, target = node.input[0], node.output[0]
        if source not in self.constants:
            self.alias[target] = source
            return
        zero = self.constants.get(node.input[2] if len(node.input) > 2 else "")
        if zero is not None and zero.any():
            self._refuse(node, "of a constant with a zero point has no counterpart here")
        scale = np.asarray(self.constants[node.input[1]])
        self.constants[target] = _Quantized(self.constants[source], scale, self.attributes[id(node)].get("axis", 1))

    # operators

    def _weights(self, node, w, order, channel: int) -> int:
        """The constant `w`, its axes in `order`, of which `channel` is the output's."""
        name = node.input[1]
        if not isinstance(w, _Quantized):
            return self.constant(name, np.transpose(w, order))
        return self.constant(name, np.transpose(w.data, order), (w.scale, 0), channel)

    def _bias(self, node, b, w, source: str, count: int, written: str) -> int:
        name = f"{node.output[0]}.bias"
        real = np.zeros(count, np.float32) if b is None else b.real() if isinstance(b, _Quantized) else b
        if written not in self.quantization:
            return self.constant(name, real.reshape(count))
        if not isinstance(w, _Quantized):
            self._refuse(node, "has an int8 output and float weights")
        scale = np.broadcast_to(self.quantization[self.alias[source]][0] * w.scale.astype(np.float64), (count,))
        return self.constant(name, np.rint(real.reshape(count) / scale).astype(np.int32), (scale, 0))

    def _folded(self, node, w, b):
        """Weights and bias of a Conv with the BatchNormalization that alone reads it; both as they are without."""
        if not self._sole(node.output[0], "BatchNormalization") or isinstance(w, _Quantized):
            return w, b, node
        norm = self.reader[node.output[0]]
        gamma, beta, mean, variance = (self.constants[n].astype(np.float64) for n in norm.input[1:5])
        factor = gamma / np.sqrt(variance + self.attributes[id(norm)].get("epsilon", 1e-5))
        self.done.add(id(norm))
        b = beta + ((0 if b is None else b) - mean) * factor
        return (w * factor.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32), b.astype(np.float32), norm

    def _given(self, node, at: int):
        if len(node.input) <= at or not node.input[at]:
            return None
        if node.input[at] not in self.constants:
            self._refuse(node, f"whose {node.input[at]} is no constant has no counterpart here")
        return self.constants[node.input[at]]

    def _Conv(self, node):
        a = self.attributes[id(node)]
        w, b, last = self._folded(node, self._given(node, 1), self._given(node, 2))
        shape = (w.data if isinstance(w, _Quantized) else w).shape
        groups, n = a.get("group", 1), shape[0]
        depthwise = groups > 1
        if len(shape) != 4 or (depthwise and (shape[1] != 1 or n != groups)):
            self._refuse(node, "of other than two dimensions, dense or depthwise, has no counterpart here")
        if a.get("auto_pad", b"NOTSET") != b"NOTSET":
            self._refuse(node, "with auto_pad has no counterpart here")
        if isinstance(w, _Quantized) and w.scale.size > 1 and w.axis != 0:
            self._refuse(node, "with a scale per input has no counterpart here")
        written, activation = self.result(last)
        (x,) = self.operands(node, node.input[:1], written)
        steps, holes = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
        x, padding = self._padded(node, x, a.get("pads", [0] * 4), shape[2:], steps, holes, written)
        weights = self._weights(node, w, (1, 2, 3, 0) if depthwise else (0, 2, 3, 1), 3 if depthwise else 0)
        inputs = [x, weights, self._bias(node, b, w, node.input[0], n, written)]
        options = dict(
            padding=getattr(self.s.Padding, padding), strideH=steps[0], strideW=steps[1],
            dilationHFactor=holes[0], dilationWFactor=holes[1], fusedActivationFunction=self._activation(activation),
        )  # fmt: skip
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        if depthwise:
            options["depthMultiplier"] = 1
        self._operator(
            kind, inputs, self.tensor(written), "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", 3, **options
        )

    def _padded(self, node, x: int, pads, kernel, steps, holes, written) -> tuple[int, str]:
        """(input, SAME or VALID): where neither means `pads`, after an operator that pads."""
        if not any(pads):
            return x, "VALID"
        size = self.shapes[node.input[0]][2:]
        total = [
            max((-(-size[i] // steps[i]) - 1) * steps[i] + (kernel[i] - 1) * holes[i] + 1 - size[i], 0) for i in (0, 1)
        ]
        if list(pads) == [total[0] // 2, total[1] // 2, -(-total[0] // 2), -(-total[1] // 2)]:
            return x, "SAME"
        amounts = np.array([[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]], np.int32)
        shape = np.array(self.tensors[x].shape) + amounts.sum(1)
        quantization = self.quantization[self.alias[node.input[0]]] if written in self.quantization else None
        padded = self._add(f"{node.output[0]}.padded", shape, quantization=quantization)
        self._operator("PAD", [x, self.constant(f"{node.output[0]}.pads", amounts)], padded, "PadOptions", 2)
        return padded, "VALID"

    def _Gemm(self, node):
        a = self.attributes[id(node)]
        if a.get("alpha", 1) != 1 or a.get("beta", 1) != 1 or a.get("transA", 0):
            self._refuse(node, "with alpha, beta or transA has no counterpart here")
        w, b = self._given(node, 1), self._given(node, 2)
        order = (0, 1) if a.get("transB", 0) else (1, 0)
        if isinstance(w, _Quantized) and w.scale.size > 1 and order[0] != w.axis:
            self._refuse(node, "with a scale per input has no counterpart here")
        written, activation = self.result(node)
        (x,) = self.operands(node, node.input[:1], written)
        n = self.shapes[node.output[0]][1]
        inputs = [x, self._weights(node, w, order, 0), self._bias(node, b, w, node.input[0], n, written)]
        self._operator(
            "FULLY_CONNECTED", inputs, self.tensor(written), "FullyConnectedOptions", 12 if isinstance(w, _Quantized) else 1,
            fusedActivationFunction=self._activation(activation),
        )  # fmt: skip

    def _binary(self, node, code: str, kind: str):
        written, activation = self.result(node)
        if any(n in self.constants for n in node.input) or len({len(self.shapes[n]) for n in node.input}) > 1:
            self._refuse(node, "of other than two activations of equal rank has no counterpart here")
        inputs = self.operands(node, node.input, written)
        fused = self._activation(activation)
        self._operator(code, inputs, self.tensor(written), kind, 2, fusedActivationFunction=fused)

    def _Add(self, node):
        self._binary(node, "ADD", "AddOptions")

    def _Mul(self, node):
        self._binary(node, "MUL", "MulOptions")

    def _unary(self, node, code: str, kind: str = "", version: int = 1):
        written = self._stored(node.output[0])
        self._operator(code, self.operands(node, node.input[:1], written), self.tensor(written), kind, version)

    def _Relu(self, node):
        self._unary(node, "RELU", version=2)

    def _Clip(self, node):
        if self._bounds(node) != _RELU6:
            self._refuse(node, "other than from 0 to 6 has no counterpart here")
        self._unary(node, "RELU6", version=2)

    def _HardSwish(self, node):
        self._unary(node, "HARD_SWISH", "HardSwishOptions")

    def _HardSigmoid(self, node):
        """min(max(x + 3, 0), 6) / 6, as TensorFlow writes it."""
        a = self.attributes[id(node)]
        if abs(a.get("alpha", 0.2) - 1 / 6) > 1e-6 or a.get("beta", 0.5) != 0.5:
            self._refuse(node, "other than x / 6 + 1 / 2 has no counterpart here")
        written = self._stored(node.output[0])
        (x,) = self.operands(node, node.input[:1], written)
        name, int8 = node.output[0], written in self.quantization
        if int8:
            three = self.constant(f"{name}.three", np.array([127], np.int8), (3 / 127, 0))
            sixth = self.constant(f"{name}.sixth", np.array([127], np.int8), (1 / 6 / 127, 0))
        else:
            three = self.constant(f"{name}.three", np.array([3], np.float32))
            sixth = self.constant(f"{name}.sixth", np.array([1 / 6], np.float32))
        middle = self._add(f"{name}.relu6", self.tensors[x].shape, quantization=(6 / 255, -128) if int8 else None)
        relu6 = self._activation("RELU6")
        self._operator("ADD", [x, three], middle, "AddOptions", 2, fusedActivationFunction=relu6)
        self._operator("MUL", [middle, sixth], self.tensor(written), "MulOptions", 2)

    def _GlobalAveragePool(self, node):
        written = self._stored(node.output[0])
        inputs = self.operands(node, node.input, written)
        axes = self.constant(f"{node.output[0]}.axes", np.array([1, 2], np.int32))
        self._operator("MEAN", [*inputs, axes], self.tensor(written), "ReducerOptions", 2, keepDims=True)

    def _Flatten(self, node):
        shape = self.shapes[node.input[0]]
        if self.attributes[id(node)].get("axis", 1) != 1 or (len(shape) == 4 and shape[2:] != [1, 1]):
            self._refuse(node, "of more than one pixel has no counterpart here")
        name = node.output[0]
        written = self._stored(name)
        inputs = self.operands(node, node.input, written)
        given = self.quantization.get(self.alias.get(node.input[0], ""))
        wanted = self.quantization.get(written)
        to = self.constant(f"{name}.shape", np.array(self.shapes[name], np.int32))
        if given == wanted or wanted is None:
            self._operator("RESHAPE", [*inputs, to], self.tensor(written), "ReshapeOptions", newShape=self.shapes[name])
            return
        flat = self._add(f"{name}.flat", self.shapes[name], quantization=given)  # RESHAPE does not rescale
        self._operator("RESHAPE", [*inputs, to], flat, "ReshapeOptions", newShape=self.shapes[name])
        self._operator("QUANTIZE", [flat], self.tensor(written), "QuantizeOptions", 2)
