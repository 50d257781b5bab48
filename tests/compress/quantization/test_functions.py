"""Codes flow through every kind of node between two products, and the files mean the same to ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.quantize import quantize

C, SIZE = 8, 10
node = helper.make_node


def network(middle, constants, channels=C):
    """A convolution, the nodes `middle` from "a" to "b", and a convolution of `channels`; plain zeros would hide errors."""
    rng = np.random.default_rng(0)
    own = {"w": rng.standard_normal((C, 3, 3, 3)) / 3, "bias": rng.standard_normal(C) / 4,
           "v": rng.standard_normal((5, channels, 3, 3)) / 8}  # fmt: skip
    nodes = [node("Conv", ["input", "w", "bias"], ["a"], "first", pads=[1] * 4), *middle,
             node("Conv", ["b", "v"], ["output"], "last")]  # fmt: skip
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in own.items()]
    tensors += [numpy_helper.from_array(np.asarray(v, np.int64 if k.startswith("i.") else np.float32), k)
                for k, v in constants.items()]  # fmt: skip
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 5, "h", "w"])
    graph = helper.make_graph(nodes, "net", [given], [answer], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def data(count=6, seed=0):
    return [np.random.default_rng(seed + i).standard_normal((1, 3, SIZE, SIZE)).astype("f4") for i in range(count)]


def theirs(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": x})[0]


ROW = np.linspace(-0.5, 1.5, C).reshape(C, 1, 1)
HALF = np.linspace(0.5, 2, C)
KINDS = {
    "prelu": ([node("PRelu", ["a", "k"], ["b"], "k")], {"k": ROW / 4}),
    "prelu with one slope": ([node("PRelu", ["a", "k"], ["b"], "k")], {"k": [0.2]}),
    "pad": ([node("Relu", ["a"], ["r"], "r"), node("MaxPool", ["r"], ["m"], "m", kernel_shape=[2, 2]),
             node("Pad", ["m", "i.pads"], ["b"], "p")], {"i.pads": [0, 0, 1, 2, 0, 0, 2, 1]}),
    "pad channels": ([node("Pad", ["a", "i.pads"], ["b"], "p")], {"i.pads": [0, 0, 0, 0, 0, 4, 0, 0]}),
    "resize": ([node("Resize", ["a", "", "scales"], ["b"], "r", mode="nearest")], {"scales": [1, 1, 2, 2]}),
    "max with a constant": ([node("Max", ["a", "k"], ["b"], "m")], {"k": -0.4}),
    "min with a row": ([node("Min", ["k", "a"], ["b"], "m")], {"k": ROW}),
    "leaky relu and max": ([node("LeakyRelu", ["a"], ["l"], "l", alpha=0.2), node("Max", ["l", "k"], ["b"], "m")],
                           {"k": -0.1}),
    "hard-swish in four nodes": (
        [node("Add", ["a", "three"], ["p"], "p"), node("Clip", ["p", "zero", "six"], ["q"], "q"),
         node("Mul", ["a", "q"], ["r"], "r"), node("Div", ["r", "six"], ["b"], "d")],
        {"three": 3, "zero": 0, "six": 6}),
    "gelu in five nodes": (
        [node("Div", ["a", "root"], ["p"], "p"), node("Erf", ["p"], ["q"], "q"), node("Add", ["q", "one"], ["r"], "r"),
         node("Mul", ["a", "r"], ["s"], "s"), node("Mul", ["s", "half"], ["b"], "m")],
        {"root": 2**0.5, "one": 1, "half": 0.5}),
    "silu": ([node("Sigmoid", ["a"], ["s"], "s"), node("Mul", ["a", "s"], ["b"], "m")], {}),
    "subtraction": ([node("Relu", ["a"], ["r"], "r"), node("MaxPool", ["a"], ["p"], "p", kernel_shape=[3, 3], pads=[1] * 4),
                     node("Sub", ["p", "r"], ["b"], "s")], {}),
    "squeeze and excite": (
        [node("GlobalAveragePool", ["a"], ["g"], "g"), node("Conv", ["g", "s1"], ["h"], "h"),
         node("Add", ["h", "three"], ["p"], "p"), node("Clip", ["p", "zero", "six"], ["q"], "q"),
         node("Div", ["q", "six"], ["s"], "s"), node("Mul", ["a", "s"], ["b"], "m")],
        {"three": 3, "zero": 0, "six": 6, "s1": np.linspace(-1, 1, C * C).reshape(C, C, 1, 1)}),
    "squeeze by a mean": (
        [node("ReduceMean", ["a"], ["g"], "g", axes=[2, 3]), node("Conv", ["g", "s1"], ["h"], "h"),
         node("Sigmoid", ["h"], ["s"], "s"), node("Mul", ["a", "s"], ["b"], "m")],
        {"s1": np.linspace(-1, 1, C * C).reshape(C, C, 1, 1)}),
    "affine before and after an activation": (
        [node("Mul", ["a", "k"], ["p"], "p"), node("Add", ["p", "o"], ["q"], "q"), node("HardSwish", ["q"], ["r"], "r"),
         node("Mul", ["r", "two"], ["s"], "s"), node("Add", ["s", "o"], ["b"], "t")],
        {"k": 1.5, "o": -0.25, "two": 2}),
    "pre-activation": (
        [node("Relu", ["a"], ["r"], "r"), node("BatchNormalization", ["r", "g1", "b1", "m1", "v1"], ["n"], "n"),
         node("Relu", ["n"], ["s"], "s"), node("Conv", ["s", "s1"], ["h"], "h"), node("Add", ["h", "r"], ["b"], "z")],
        {"g1": HALF, "b1": HALF - 1, "m1": HALF / 3, "v1": HALF, "s1": np.linspace(-1, 1, C * C).reshape(C, C, 1, 1)}),
}  # fmt: skip


def between(session):
    """The steps between the first and the last product on integers, and the last product."""
    steps = session.explain()
    at = [i for i, s in enumerate(steps) if s["macs"] and s["kernel"].startswith("q")]
    return steps[at[0] : at[-1]]


@pytest.mark.parametrize("name", KINDS)
def test_between_products_every_step_is_on_codes(name):
    middle, constants = KINDS[name]
    model = network(middle, constants, C + 4 if name == "pad channels" else C)
    quantized = quantize(model, data())
    onnx.checker.check_model(quantized, full_check=True)
    session = pc.InferenceSession(quantized)
    noise = signal = apart = 0.0
    for x in data(3, 100):
        got, wanted, other = session.run(None, {"input": x})[0], theirs(model, x), theirs(quantized, x)
        noise, signal = noise + np.square(got - wanted).mean(), signal + wanted.var()
        apart = max(apart, np.abs(got - other).max() / np.ptp(wanted))
    assert noise < 2e-3 * signal
    assert apart < 0.02  # a code or two at a tie
    steps = between(session)
    assert all(s["dtype"] == "uint8" and s["kernel"] not in ("quantize", "dequantize") for s in steps), steps


def test_a_function_of_several_nodes_is_rounded_once():
    quantized = quantize(network(*KINDS["hard-swish in four nodes"]), data())
    pairs = [n for n in quantized.graph.node if n.op_type == "QuantizeLinear"]
    assert len(pairs) == 3  # the input, what the function is of, and its result
    kernels = [s["kernel"] for s in pc.InferenceSession(quantized, None).explain({"input": data(1)[0]})]
    assert kernels.count("lut") == 0  # the table is the epilogue of the convolution


def test_functions_of_tensors_that_stay_float_stay_float():
    middle = [
        node("Softmax", ["a"], ["s"], "s", axis=1),
        node("Mul", ["s", "k"], ["t"], "t"),
        node("Relu", ["t"], ["b"], "r"),
    ]
    quantized = quantize(network(middle, {"k": 3}), data())
    makers = {n.output[0]: n for n in quantized.graph.node}
    for n in quantized.graph.node:
        if n.op_type in ("Mul", "Relu"):
            assert makers[n.input[0]].op_type in ("Softmax", "Mul")


def test_pads_with_other_values_than_zero_stay_float():
    middle = [node("MaxPool", ["a"], ["m"], "m", kernel_shape=[2, 2]), node("Pad", ["m", "i.pads", "k"], ["b"], "p")]
    model = network(middle, {"i.pads": [0, 0, 1, 1, 0, 0, 1, 1], "k": 0.3})
    quantized = quantize(model, data())
    (x,) = data(1, 100)
    got, wanted = pc.InferenceSession(quantized).run(None, {"input": x})[0], theirs(model, x)
    assert np.square(got - wanted).mean() < 2e-3 * wanted.var()
    pad = next(n for n in quantized.graph.node if n.op_type == "Pad")
    assert {n.op_type for n in quantized.graph.node if pad.output[0] in n.input} == {"QuantizeLinear"}


def test_operands_that_vary_over_the_image_stay_float():
    k = np.random.default_rng(1).standard_normal((1, C, SIZE, SIZE))
    quantized = quantize(network([node("Add", ["a", "k"], ["b"], "s")], {"k": k}), data())
    add = next(n for n in quantized.graph.node if n.op_type == "Add")
    assert add.input[0] == "a" and "k" in add.input


def test_the_range_before_a_function_is_what_the_function_needs():
    quantized = quantize(network([node("HardSwish", ["a"], ["b"], "h")], {}), [5 * x for x in data()])
    grids = [n for n in quantized.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "a"]
    values = {t.name: numpy_helper.to_array(t) for t in quantized.graph.initializer}
    scale, zero = (float(values[n]) for n in grids[0].input[1:])
    low = -zero * scale
    assert -3.5 < low < -1  # hard-swish is 0 below -3, and the convolution reaches -15


def test_slopes_that_several_functions_share_and_dead_tensors_do_no_harm():
    middle = [node("Mul", ["a", "none"], ["z"], "z"), node("Relu", ["a"], ["r"], "r"), node("PRelu", ["z", "k"], ["p"], "p"),
              node("PRelu", ["a", "k"], ["q"], "q"), node("Add", ["p", "q"], ["b"], "s")]  # fmt: skip
    model = network(middle, {"k": ROW / 4, "none": 0})
    quantized = quantize(model, data())
    (x,) = data(1, 100)
    got, wanted = pc.InferenceSession(quantized).run(None, {"input": x})[0], theirs(model, x)
    assert np.square(got - wanted).mean() < 2e-3 * wanted.var()
