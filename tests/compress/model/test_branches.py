"""Convolutions of one tensor that are summed become one; the sum stays what it was."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model.branches import merge_branches

C = 6
KINDS = {  # weights, attributes
    "3x3": ((C, C, 3, 3), {"pads": [1, 1, 1, 1]}),
    "5x5": ((C, C, 5, 5), {"pads": [2, 2, 2, 2]}),
    "1x1": ((C, C, 1, 1), {}),
    "apart": ((C, C, 3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}),
    "depthwise 3x3": ((C, 1, 3, 3), {"pads": [1, 1, 1, 1], "group": C}),
    "depthwise 1x1": ((C, 1, 1, 1), {"group": C}),
    "grouped": ((C, 3, 3, 3), {"pads": [1, 1, 1, 1], "group": 2}),
    "grouped 1x1": ((C, 3, 1, 1), {"group": 2}),
    "low": ((C, C, 3, 3), {"pads": [2, 2, 0, 0]}),
    "high": ((C, C, 3, 3), {"pads": [0, 0, 2, 2]}),
    "valid": ((C, C, 1, 1), {"auto_pad": "VALID"}),
    "same": ((C, C, 3, 3), {"auto_pad": "SAME_UPPER"}),
}
RNG = np.random.default_rng(5)


def summed(*kinds, strides=(1, 1), more=(), bias=True):
    """The sum of convolutions of x, in order; `more`: nodes behind it."""
    nodes, values = [], []
    for i, kind in enumerate(kinds):
        shape, attributes = KINDS[kind]
        given = {f"w{i}": shape} | ({f"b{i}": (C,)} if bias and i else {})
        values += [numpy_helper.from_array(RNG.standard_normal(s).astype("f4"), n) for n, s in given.items()]
        nodes.append(
            helper.make_node(
                "Conv",
                ["x", *given],
                [f"v{i}"],
                kind if kind not in kinds[:i] else f"{kind} {i}",
                strides=strides,
                **attributes,
            )
        )
    last = "v0"
    for i in range(1, len(kinds)):
        nodes.append(helper.make_node("Add", [last, f"v{i}"], [f"s{i}"], f"add{i}"))
        last = f"s{i}"
    nodes += [helper.make_node(op, [last if i == "sum" else i for i in inputs], [out]) for op, inputs, out in more]
    last = more[-1][2] if more else last
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (2, C, 9, 8)), (last, [None] * 4))
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def merged(model, exclude=frozenset()):
    """The names of the nodes after merging; the answer stays."""
    x = RNG.standard_normal((2, C, 9, 8)).astype("f4")
    run = lambda: ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]  # noqa: E731
    wanted = run()
    merge_branches(model, exclude)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_allclose(run(), wanted, atol=2e-5 * np.abs(wanted).max())
    return [n.name or n.op_type for n in model.graph.node]


@pytest.mark.parametrize("kinds", [
    ("3x3", "1x1"), ("1x1", "5x5"), ("5x5", "3x3"), ("1x1", "1x1"), ("depthwise 3x3", "depthwise 1x1"), ("3x3", "depthwise 1x1"),
    ("depthwise 1x1", "1x1"), ("grouped", "grouped 1x1"), ("apart", "1x1"), ("3x3", "depthwise 3x3"), ("high", "1x1"),
    ("3x3", "valid"), ("3x3", "1x1", "depthwise 1x1"), ("depthwise 3x3", "depthwise 3x3", "depthwise 1x1"),
], ids=" + ".join)  # fmt: skip
def test_sums_become_one_convolution(kinds):
    assert len(merged(summed(*kinds))) == 1
    if "high" not in kinds:
        assert len(merged(summed(*kinds, strides=(2, 2), bias=False))) == 1


@pytest.mark.parametrize("kinds", [
    ("depthwise 3x3", "1x1"), ("5x5", "apart"), ("low", "high"), ("same", "1x1"), ("grouped", "1x1"),
    ("grouped", "depthwise 1x1"),
], ids=" + ".join)  # fmt: skip
def test_what_does_not_fit_or_would_be_more_work_stays(kinds):
    assert len(merged(summed(*kinds))) == 3


def test_what_is_read_elsewhere_or_excluded_stays():
    assert len(merged(summed("3x3", "1x1", more=[("Mul", ["sum", "v1"], "y")]))) == 4
    for name in ("3x3", "1x1", "add1"):
        assert len(merged(summed("3x3", "1x1"), {name})) == 3


def test_quantizing_rounds_the_sum():
    model = summed("3x3", "1x1", "depthwise 1x1", more=[("Relu", ["sum"], "y")])
    samples = [{"x": RNG.standard_normal((2, C, 9, 8)).astype("f4")} for _ in range(16)]
    quantized = pc.quantize(model, samples)
    assert sum(n.op_type == "Conv" for n in quantized.graph.node) == 1
    mine, wanted = (pc.InferenceSession(m).run(None, samples[0])[0] for m in (quantized, model))
    assert np.square(mine - wanted).mean() < 1e-3 * np.square(wanted).mean()
