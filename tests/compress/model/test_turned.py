"""Transpositions between channels-last steps and convolutions."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model.affine import fold_affine
from pycompress.compress.model.prepare import drop_nothings
from pycompress.compress.model.turned import sink_transposes

IMAGE = np.random.default_rng(0).standard_normal((2, 8, 8, 6)).astype("f4")
TO, BACK = [0, 3, 1, 2], [0, 2, 3, 1]
C = 6
ROW = np.linspace(0.5, 2, C).astype("f4")


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], output, **attributes)


def network(between, last="b", opset=17, **constants):
    """An image in channels-last order through a convolution, steps that turn "a" into `last`, and a convolution."""
    rng = np.random.default_rng(1)
    constants |= {f"w{i}": rng.standard_normal((C, C, 3, 3)).astype("f4") for i in (1, 2)}
    nodes = [
        node("Transpose", ["x"], "x.t", perm=TO), node("Conv", ["x.t", "w1"], "c1", pads=[1] * 4), node("Transpose", ["c1"], "a", perm=BACK),
        *between, node("Transpose", [last], "b.t", perm=TO), node("Conv", ["b.t", "w2"], "y"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 8, C])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def answer(model, x=IMAGE):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})


def operators(model, rewrite):
    """The operators that `rewrite` leaves; what the model answers has to stay."""
    wanted = answer(model)
    rewrite(model)
    onnx.checker.check_model(model, full_check=True)
    for got, exact in zip(answer(model), wanted, strict=True):
        assert got.shape == exact.shape
        np.testing.assert_allclose(got, exact, atol=2e-5 * np.abs(exact).max())
    return [n.op_type for n in model.graph.node]


def test_a_batch_norm_in_channels_last_order_becomes_part_of_the_convolution():
    steps = [node("Sub", ["a", "mean"], "s"), node("Mul", ["scale", "s"], "m"), node("Add", ["m", "offset"], "o"), node("Relu", ["o"], "b")]  # fmt: skip
    model = network(steps, mean=ROW, scale=ROW[::-1].copy(), offset=ROW.reshape(1, 1, C))
    assert operators(model, fold_affine) == ["Transpose", "Conv", "Relu", "Conv"]


@pytest.mark.parametrize(
    "steps, left, constants",
    [
        ([node("Relu", ["a"], "r"), node("Add", ["r", "a"], "b")], ["Relu", "Add"], {}),
        ([node("PRelu", ["a", "slope"], "b")], ["PRelu"], {"slope": ROW.reshape(1, 1, C)}),
        ([node("Clip", ["a", "low", "high"], "b")], ["Clip"], {"low": np.float32(-1), "high": np.float32(2)}),
        ([node("Pad", ["a", "pads"], "b")], ["Pad"], {"pads": np.array([0, 1, 2, 0, 0, 3, 0, 0])}),
        ([node("Add", ["a", "map"], "b")], ["Add"], {"map": np.random.default_rng(2).standard_normal((8, 1, C)).astype("f4")}),
        ([node("Concat", ["a", "map"], "b", axis=2)], ["Concat"], {"map": np.random.default_rng(2).standard_normal((2, 8, 3, C)).astype("f4")}),
        ([node("ReduceMean", ["a"], "m", axes=[1, -2]), node("Mul", ["m", "a"], "b")], ["ReduceMean", "Mul"], {}),
        ([node("Exp", ["a"], "e"), node("Concat", ["a", "e"], "j", axis=1), node("Abs", ["j"], "b")], ["Exp", "Concat", "Abs"], {}),
    ],
)  # fmt: skip
def test_what_works_element_by_element_lets_transpositions_pass(steps, left, constants):
    assert operators(network(steps, **constants), sink_transposes) == ["Transpose", "Conv", *left, "Conv"]


def test_a_mean_without_its_dimensions_needs_no_transposition():
    model = network([node("ReduceMean", ["a"], "z", axes=[1, 2], keepdims=0)], last="a")
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, None]))
    assert sorted(operators(model, sink_transposes)) == ["Conv", "Conv", "ReduceMean", "Transpose"]


@pytest.mark.parametrize(
    "steps",
    [
        [node("Softmax", ["a"], "b", axis=-1)],
        [node("Transpose", ["a"], "t", perm=[0, 2, 1, 3]), node("Add", ["a", "t"], "b")],
        [node("ReduceMax", ["a"], "r", axes=[2], keepdims=0), node("Unsqueeze", ["r", "axis"], "u"), node("Mul", ["a", "u"], "b")],
    ],
)  # fmt: skip
def test_what_depends_on_the_order_keeps_its_transposition(steps):
    model = network(steps, axis=np.array([2]))
    before = [n.op_type for n in model.graph.node]
    assert operators(model, sink_transposes) == before


def test_an_output_in_channels_last_order_keeps_its_name_and_its_order():
    model = network([node("Relu", ["a"], "b")])
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [None] * 4))
    assert operators(model, sink_transposes).count("Transpose") == 2


def test_branches_read_what_was_moved_and_keep_their_names():
    inner = "b.turned"  # as a new tensor would be called
    branches = [
        helper.make_graph([node(op, ["b.t"], inner), node("Neg", [inner], f"{op}.y")], op, [], [helper.make_tensor_value_info(f"{op}.y", TensorProto.FLOAT, [None] * 4)])
        for op in ("Relu", "Abs")
    ]  # fmt: skip
    model = network([node("Exp", ["a"], "b")], yes=np.array(True))
    model.graph.node.append(node("If", ["yes"], "z", then_branch=branches[0], else_branch=branches[1]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None] * 4))
    assert operators(model, sink_transposes) == ["Transpose", "Conv", "Exp", "Conv", "If"]


def test_excluded_nodes_stay_where_they_are():
    model = network([node("Relu", ["a"], "b")])
    sink_transposes(model, {"b"})
    assert [n.op_type for n in model.graph.node].count("Transpose") == 3


def test_casts_to_the_same_type_and_identities_are_dropped():
    steps = [node("Cast", ["a"], "f", to=TensorProto.FLOAT), node("Identity", ["f"], "i"), node("Cast", ["i"], "d", to=TensorProto.DOUBLE),
             node("Cast", ["d"], "b", to=TensorProto.FLOAT)]  # fmt: skip
    model = network(steps)
    assert operators(model, drop_nothings) == ["Transpose", "Conv", "Transpose", "Cast", "Cast", "Transpose", "Conv"]
    model.graph.node.append(node("Identity", ["y"], "again"))
    model.graph.output.append(helper.make_tensor_value_info("again", TensorProto.FLOAT, [None] * 4))
    drop_nothings(model, {"again"})
    assert model.graph.node[-1].op_type == "Identity"


def test_a_node_that_does_nothing_can_be_excluded():
    model = network([node("Identity", ["a"], "b")])
    quantized = pc.quantize(model, [{"x": IMAGE + i} for i in range(4)], exclude=["b"])
    assert "b" in {n.name for n in quantized.graph.node}


def test_codes_flow_through_a_network_converted_from_channels_last_order():
    steps = [node("Cast", ["a"], "f", to=TensorProto.FLOAT), node("Sub", ["f", "mean"], "s"), node("Mul", ["s", "scale"], "m"), node("Relu", ["m"], "b")]  # fmt: skip
    model = network(steps, mean=ROW, scale=ROW)
    quantized = pc.quantize(model, [{"x": IMAGE + i} for i in range(4)])
    told = pc.InferenceSession(quantized)
    told.run(None, {"x": IMAGE})
    assert not {s["kernel"] for s in told.explain()} & {"binary", "dwconv", "dequantize"}
