"""Transposed convolutions become convolutions with the same answers, and then run on codes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model.transposed import replace_transposed


def network(kernel=2, group=1, inside=(), **attributes):
    """Conv -> ConvTranspose -> `inside` -> Conv."""
    rng = np.random.default_rng(0)

    def tensor(name, *shape):
        return numpy_helper.from_array(rng.standard_normal(shape).astype("f4") / 4, name)

    weights = [
        tensor("w0", 8, 3, 1, 1),
        tensor("w1", 8, 6 // group, kernel, kernel),
        tensor("b1", 6),
        tensor("w2", 4, 6, 1, 1),
    ]
    nodes = [helper.make_node("Conv", ["x", "w0"], ["t0"], "first"),
             helper.make_node("ConvTranspose", ["t0", "w1", "b1"], ["t1"], "up", group=group, **attributes)]  # fmt: skip
    for i, op in enumerate(inside, 1):
        nodes.append(helper.make_node(op, [f"t{i}"], [f"t{i + 1}"], op))
    nodes.append(helper.make_node("Conv", [f"t{len(inside) + 1}", "w2"], ["y"], "last"))
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 7, 5])]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, "h", "w"])]
    graph = helper.make_graph(nodes, "net", ports, out, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SAMPLES = np.random.default_rng(1).standard_normal((8, 3, 7, 5)).astype("f4")
CASES = [
    ({"kernel": 2, "strides": [2, 2]}, 1),
    ({"kernel": 3, "strides": [3, 3]}, 1),
    ({"kernel": 4, "strides": [2, 2], "pads": [1, 1, 1, 1]}, 3),
    ({"kernel": 3, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, 2),
    ({"kernel": 3, "strides": [2, 2], "pads": [0, 1, 1, 0]}, 2),
]


def answer(model):
    return pc.InferenceSession(model).run(None, {"x": SAMPLES[:1]})[0]


@pytest.mark.parametrize(("given", "window"), CASES, ids=range(len(CASES)))
def test_the_answers_stay(given, window):
    model = network(**given, inside=("Relu", "Sigmoid"))
    wanted = answer(model)
    replace_transposed(model)
    onnx.checker.check_model(model)
    ops = {n.op_type: n for n in model.graph.node}
    assert "ConvTranspose" not in ops and [n.op_type for n in model.graph.node][-2] == "DepthToSpace"
    (wide,) = (
        t for t in model.graph.initializer if t.name in next(n for n in model.graph.node if n.name == "up").input[1:2]
    )
    assert list(wide.dims)[2:] == [window, window]
    np.testing.assert_allclose(answer(model), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [{"strides": [2, 2], "group": 2}, {"strides": [2, 1]}, {"kernel": 3, "strides": [2, 2]},
     {"kernel": 2, "strides": [2, 2], "dilations": [2, 2]}, {"kernel": 5, "strides": [4, 4], "pads": [1, 0, 0, 1]}],
    ids=range(5),
)  # fmt: skip
def test_others_are_left_alone(given):
    model = network(**given)
    before = model.SerializeToString()
    replace_transposed(model)
    assert model.SerializeToString() == before


def test_codes_flow_through_a_transposed_convolution():
    model = network(strides=[2, 2], inside=("Relu",))
    steps = pc.InferenceSession(pc.quantize(model, SAMPLES), providers=None).explain()
    inside = [s for s in steps if s["macs"]]
    assert len(inside) == 3 and all(s["kernel"].startswith("q") for s in inside)
    kernels = [s["kernel"] for s in steps]
    assert kernels.count("quantize") <= 1 and "dequantize" not in kernels[:-1]
    kept = pc.quantize(model, SAMPLES, exclude=["up"])
    assert "ConvTranspose" in {n.op_type for n in kept.graph.node}
