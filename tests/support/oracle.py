"""One-node models, run by this library and by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx.defs import onnx_opset_version

import interpret as interpreter

NEWEST = min(onnx_opset_version(), 23)  # what onnxruntime knows


def tensor_type(x: np.ndarray) -> int:
    """The ONNX element type of an array."""
    return helper.np_dtype_to_tensor_dtype(x.dtype)


def one_node(op, inputs, constants=(), *, outputs=1, opset=NEWEST, domain="", **attributes):
    """A model of one node.  `inputs` maps names to arrays (None: left out); those in `constants` are initializers."""
    names = [n if x is not None else "" for n, x in inputs.items()]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, made, name="the_node", domain=domain, **attributes)
    return as_model([node], inputs, made, constants, opset)


def as_model(nodes, inputs, outputs, constants=(), opset=NEWEST):
    """A model of `nodes`; the outputs' types and shapes are left open."""
    given = {n: x for n, x in inputs.items() if x is not None}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(n, tensor_type(x), x.shape) for n, x in given.items() if n not in constants],
        [ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(x, n) for n, x in given.items() if n in constants],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 8 if opset < 20 else 10
    return model


def ours(model, inputs, **options):
    """Outputs by this library."""
    return interpreter.interpret(model, {n: x for n, x in inputs.items()}, **options)


WEIGHTS = {"QLinearConv": 3, "QLinearMatMul": 3, "MatMulInteger": 1, "ConvInteger": 1, "QGemm": 3}  # which input


def exact(model, inputs):
    """The same products with uint8 weights, 128 higher: onnxruntime's sums of uint8 times int8 saturate on AVX2."""
    model, inputs = ModelProto.FromString(model.SerializeToString()), dict(inputs)
    held = {t.name: t for t in model.graph.initializer}
    ports = {port.name: port for port in model.graph.input}

    def dtype(name):
        return numpy_helper.to_array(held[name]).dtype if name in held else getattr(inputs.get(name), "dtype", None)

    def higher(name):
        if name in held:
            codes = numpy_helper.to_array(held[name]).view(np.uint8) ^ np.uint8(0x80)
            held[name].CopyFrom(numpy_helper.from_array(codes, name))
        else:
            inputs[name] = np.asarray(inputs[name]).view(np.uint8) ^ np.uint8(0x80)
            ports[name].type.tensor_type.elem_type = TensorProto.UINT8

    for node in model.graph.node:
        at = WEIGHTS.get(node.op_type)
        if at is None or dtype(node.input[0]) == np.int8 or dtype(node.input[at]) != np.int8:
            continue
        higher(node.input[at])
        if len(node.input) > at + 2 and node.input[at + 2]:
            higher(node.input[at + 2])  # their zero point
        else:
            node.input.extend([""] * (at + 2 - len(node.input)) + ["zero_point_128"])
            model.graph.initializer.append(numpy_helper.from_array(np.uint8(128), "zero_point_128"))
    return model, inputs


def ort_outputs(model, inputs):
    """Outputs by onnxruntime, its graph optimizations off, with exact integer sums."""
    model, inputs = exact(model, inputs)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, inputs)


def same(got, want, rtol=1e-5, atol=1e-5):
    """Assert that outputs agree in number, type, shape and values."""
    assert len(got) == len(want)
    for a, b in zip(got, want):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol, atol)
        else:
            np.testing.assert_array_equal(a, b)


def check(op, inputs, constants=(), rtol=1e-5, atol=1e-5, **options):
    """Run one node here and by onnxruntime, and compare; returns the program."""
    model = one_node(op, inputs, constants, **options)
    feed = {n: x for n, x in inputs.items() if x is not None and n not in constants}
    got, program = ours(model, feed)
    same(got, ort_outputs(model, feed), rtol, atol)
    return program


def floats(rng, *shape):
    """Normally distributed float32."""
    return rng.standard_normal(shape).astype(np.float32)
