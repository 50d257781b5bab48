"""All nodes that cannot be run are found, each by itself."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.formats.onnx_model import self_contained
from pycompress.lower.support import unsupported

FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING


def port(name, kind=FLOAT, shape=(4,)):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes, inputs, outputs, constants=()):
    return helper.make_graph(nodes, "g", inputs, outputs, list(constants))


def found(nodes, inputs, outputs, constants=(), shapes=None, opset=17):
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph(nodes, inputs, outputs, constants), opset_imports=opsets, ir_version=9)
    return {row.node: (row.op, row.why) for row in unsupported(self_contained(model), shapes)}


RELU = graph([helper.make_node("Relu", ["x"], ["e"], "relu")], [], [port("e")])
OTHER = graph([helper.make_node("Other", ["x"], ["t"], "other", domain="mine")], [], [port("t")])


def test_a_model_that_runs_has_none():
    assert found([helper.make_node("Relu", ["x"], ["y"])], [port("x")], [port("y")]) == {}


def test_nodes_that_no_output_needs_refuse_no_model():
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("RandomUniformLike", ["x"], ["d"], "dead"),
        helper.make_node("Other", ["d"], ["e"], "dead too", domain="mine"),
    ]
    given = [port("x", shape=[2, 3, 3])], [port("y", shape=[2, 3, 3])]
    assert found(nodes, *given) == {}
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    model = helper.make_model(graph(nodes, *given), opset_imports=opsets, ir_version=9)
    (y,) = pc.InferenceSession(model).run(None, {"x": -np.ones((2, 3, 3), np.float32)})
    assert not y.any()


def test_every_one_is_found_and_no_node_after_it_is_blamed():
    nodes = [
        helper.make_node("RandomUniformLike", ["x"], ["d"], "first"),
        helper.make_node("Relu", ["d"], ["r"], "fine"),
        helper.make_node("Unique", ["r"], ["u"], "second"),
        helper.make_node("Tanh", ["u"], ["t"], "fine too"),
        helper.make_node("Softmax", ["r"], ["s"], "third", axis=7),
        helper.make_node("Other", ["t"], ["y"], "fourth", domain="mine"),
    ]
    rows = found(nodes, [port("x", shape=[2, 3, 3])], [port("s", shape=[2]), port("y", shape=[None])])
    assert list(rows) == ["first", "second", "third", "fourth"]
    assert rows["first"] == ("RandomUniformLike", "operator 'RandomUniformLike' is not supported")
    assert rows["third"][0] == "Softmax" and "axis" in rows["third"][1]
    assert rows["fourth"] == ("mine.Other", "operator 'Other' of domain 'mine' is not supported")


def test_nodes_of_subgraphs_are_named_with_the_node_that_holds_them():
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Greater", ["m", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], "choice", then_branch=OTHER, else_branch=RELU),
        helper.make_node("Sigmoid", ["y"], ["z"]),
    ]
    rows = found(nodes, [port("x")], [port("z")], [numpy_helper.from_array(np.float32(0), "zero")])
    assert list(rows) == ["choice", "other"]
    assert "only known at run time, and not both of its branches can be run: node 'other'" in rows["choice"][1]
    assert rows["other"][1].endswith("it lies in then_branch of 'choice'")


def test_an_if_that_the_caller_decides_is_supported():
    node = helper.make_node("If", ["c"], ["y"], "choice", then_branch=RELU, else_branch=RELU)
    assert found([node], [port("c", BOOL, [1]), port("x")], [port("y")]) == {}


def a_loop(*inner, times):
    body = graph(
        [helper.make_node("Add", ["s", "x"], ["s2"]), helper.make_node("Identity", ["go"], ["on"]), *inner],
        [port("i", INT64, []), port("go", BOOL, []), port("s")],
        [port("on", BOOL, []), port("s2")],
    )
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["y"], "loop", body=body)]
    return found(nodes, [port("x")], [port("y")], [numpy_helper.from_array(np.int64(times), "n")])


def test_loops_that_run_are_supported_and_nodes_in_others_are_named():
    assert a_loop(times=3) == {}
    assert a_loop(times=10**6)["loop"][1].startswith("loops are unrolled, no more than")
    rows = a_loop(helper.make_node("Other", ["x"], ["t"], "other", domain="mine"), times=3)
    assert list(rows) == ["loop", "other"] and rows["other"][1].endswith("it lies in body of 'loop'")


def test_constants_and_inputs_of_types_that_do_not_exist_here_are_named_with_who_reads_them():
    eights = helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, [4, 4], [0.5] * 16)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["f"], "codes"),
        helper.make_node("MatMul", ["x", "f"], ["y"], "product"),
        helper.make_node("Equal", ["text", "text"], ["same"], "text"),
    ]
    ports = [port("x", shape=[1, 4]), port("text", STRING)], [port("y", shape=[1, 4]), port("same", BOOL)]
    rows = found(nodes, *ports, [eights, numpy_helper.from_array(np.float32(1), "scale")], opset=19)
    assert rows == {
        "codes": ("DequantizeLinear", "tensor 'w': type float8e4m3fn is not supported"),
        "text": ("Equal", "tensor 'text': type string is not supported"),
    }


@pytest.mark.parametrize("shapes, names", [(None, ["no"]), ({"x": (1, 3, 4, 4)}, ["odd", "no"])])
def test_where_sizes_are_open_operators_are_judged_alone(shapes, names):
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], "odd", axis=7),
        helper.make_node("RandomUniformLike", ["s"], ["y"], "no"),
    ]
    ports = [port("x", shape=["n", 3, "h", "w"])], [port("y", shape=None)]
    assert list(found(nodes, *ports, shapes=shapes)) == names


def test_sequences_are_no_tensors():
    nodes = [helper.make_node("SequenceAt", ["q", "i"], ["y"], "at")]
    sequence = helper.make_tensor_sequence_value_info("q", FLOAT, [4])
    rows = found(nodes, [sequence], [port("y")], [numpy_helper.from_array(np.int64(0), "i")])
    assert rows == {"at": ("SequenceAt", "tensor 'q': type sequence is not supported")}


def test_the_model_is_not_changed():
    node = helper.make_node("Equal", ["x", "k"], ["y"])
    strings = [helper.make_tensor("k", STRING, [2], [b"a", b"b"])]
    model = helper.make_model(graph([node], [port("x", STRING, [2])], [port("y", BOOL, [2])], strings))
    before = model.SerializeToString()
    assert unsupported(model)
    assert onnx.ModelProto.FromString(before) == model
