"""LSTMs get int8 weights, and their states are quantized in each step."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc

SIZE, INPUTS = 40, 24


def network(directions=1, nodes=1, layout=0):
    """LSTMs of the same weights, one behind the other, on a projection."""
    rng = np.random.default_rng(0)
    width = [INPUTS, *[directions * SIZE] * (nodes - 1)]
    tensors, steps, x = {"p": rng.standard_normal((INPUTS, INPUTS)).astype("f4") / 5}, [], "r"
    steps.append(helper.make_node("MatMul", ["x", "p"], ["r"], "project"))
    for i, k in enumerate(width):
        of = 0 if k == INPUTS else 1
        for name, shape in (("W", (4 * SIZE, k)), ("R", (4 * SIZE, SIZE)), ("B", (8 * SIZE,))):
            tensors[f"{name}{of}"] = rng.standard_normal((directions, *shape)).astype("f4") / 6
        steps.append(
            helper.make_node(
                "LSTM", [x, *(f"{n}{of}" for n in "WRB")], [f"y{i}"], f"lstm{i}", hidden_size=SIZE, layout=layout,
                direction="bidirectional" if directions == 2 else "forward",
            )
        )  # fmt: skip
        steps.append(helper.make_node("Transpose", [f"y{i}"], [f"t{i}"], f"turn{i}", perm=[0, 2, 1, 3]))
        steps.append(helper.make_node("Reshape", [f"t{i}", "flat"], [f"z{i}"], f"flat{i}"))
        x = f"z{i}"
    tensors["flat"] = np.array([0, 0, -1])
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["t", 2, INPUTS])]
    out = [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(v, n) for n, v in tensors.items()]
    graph = helper.make_graph(steps, "net", ports, out, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def answers(model, given):
    return np.concatenate([pc.InferenceSession(model).run(None, {"x": x})[0].ravel() for x in given])


def ratio(a, b):
    return 10 * np.log10(np.square(a).sum() / np.square(a - b).sum())


GIVEN = list(np.random.default_rng(1).standard_normal((16, 9, 2, INPUTS)).astype("f4"))


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("options", [{"activations": "dynamic"}, {"lstm": True}])
def test_an_lstm_of_int8_weights_answers_as_the_float_one_does(directions, options):
    model = network(directions)
    made = pc.quantize(model, GIVEN, **options)
    assert [n.op_type for n in made.graph.node if "LSTM" in n.op_type] == ["DynamicQuantizeLSTM"]
    assert made.ByteSize() < 0.4 * model.ByteSize()
    found = answers(made, GIVEN)
    assert ratio(answers(model, GIVEN), found) > 25
    other = ort.InferenceSession(made.SerializeToString())
    theirs = np.concatenate([other.run(None, {"x": x})[0].ravel() for x in GIVEN])
    assert ratio(theirs, found) > 30


def test_by_default_and_where_it_is_excluded_an_lstm_stays_as_it_is():
    for options in ({}, {"activations": "dynamic", "exclude": ["lstm0"]}, {"activations": "dynamic", "lstm": False}):
        made = pc.quantize(network(), GIVEN, **options)
        assert [n.domain for n in made.graph.node if n.op_type == "LSTM"] == [""]


def test_lstms_with_common_weights_keep_them_common_and_alone_they_are_enough():
    model = network(nodes=3)
    made = pc.quantize(model, GIVEN, lstm=True, exclude=["project"])
    codes = [t for t in made.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 3]
    assert len(codes) == 4 and ratio(answers(model, GIVEN), answers(made, GIVEN)) > 25


def test_an_lstm_with_the_batch_first_stays_in_float():
    with pytest.raises(ValueError, match="nothing to quantize"):
        pc.quantize(network(layout=1), GIVEN, lstm=True, exclude=["project"])
    made = pc.quantize(network(layout=1), GIVEN, lstm=True)
    assert pc.verdict(made).left == {"lstm0": "its batch comes before time"}


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="lstm: unless_slower does not time LSTMs"):
        pc.quantize(network(), GIVEN, lstm=True, unless_slower=True)
    with pytest.raises(ValueError, match="lstm must be True or False, got 'yes'"):
        pc.quantize(network(), GIVEN, lstm="yes")
    model = network()
    w = next(t for t in model.graph.initializer if t.name == "W0")
    values = numpy_helper.to_array(w).copy()
    values[0, 0, 0] = np.inf
    w.CopyFrom(numpy_helper.from_array(values, "W0"))
    with pytest.raises(pc.ModelError, match="'lstm0' .*'W0' are not finite"):
        pc.quantize(model, GIVEN, lstm=True, judge=False)
    model = network()
    model.graph.output.append(helper.make_tensor_value_info("R0", TensorProto.FLOAT, [1, 4 * SIZE, SIZE]))
    assert pc.verdict(pc.quantize(model, GIVEN, lstm=True)).left == {"lstm0": "others read its weights, too"}
