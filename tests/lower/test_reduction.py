"""Reductions and softmax against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress import InferenceSession
from pycompress.errors import ModelError

few = settings(max_examples=40, deadline=None, derandomize=True)
OPS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
       "ReduceLogSum", "ReduceLogSumExp"]  # fmt: skip


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.data(), st.sampled_from(OPS), st.booleans())
def test_reduce(shape, data, op, keep):
    x = abs(floats(np.random.default_rng(0), *shape)) + np.float32(0.1)
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), max_size=len(shape), unique=True))
    axes = [a - len(shape) * data.draw(st.booleans()) for a in axes]
    inputs = {"x": x, "a": np.array(axes, np.int64)}
    for constants in (("a",), ()):
        check(op, inputs, constants, keepdims=int(keep), opset=18, rtol=1e-4)
    check(op, {"x": x}, keepdims=int(keep), opset=18, rtol=1e-4)
    if axes and op != "ReduceSum":
        check(op, {"x": x}, axes=axes, keepdims=int(keep), opset=11, rtol=1e-4)


def test_no_axes_may_mean_no_reduction():
    x = floats(np.random.default_rng(0), 3, 4)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax"):
        check(op, {"x": x, "a": np.array([], np.int64)}, ("a",), noop_with_empty_axes=1, opset=18)


def test_mean_over_the_image_after_a_convolution_is_one_step():
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 2, 4, 3, 5), "w": floats(rng, 6, 4, 1, 1)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("ReduceMean", ["a"], ["y"], axes=[2, 3])]
    model = as_model(nodes, inputs, ["y"], ("w",), opset=13)
    got, program = ours(model, {"x": inputs["x"]})
    same(got, ort_outputs(model, {"x": inputs["x"]}))
    assert [s.kernel for s in program.steps] == ["permute", "sgemm", "reduce"]


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data(), st.sampled_from(["Softmax", "LogSoftmax"]))
def test_softmax(shape, data, op):
    x = floats(np.random.default_rng(0), *shape) * 5
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check(op, {"x": x}, axis=axis)
    check(op, {"x": x}, axis=axis, opset=11)  # from this axis on, all count as one


@pytest.mark.parametrize(
    "op,axes,attributes,words",
    [
        ("ReduceSum", [3], {}, "outside 2"),
        ("ReduceSum", [0, 0], {}, "twice"),
        ("ReduceSum", [0], {"keepdims": 2}, "'keepdims'"),
        ("Softmax", None, {"axis": 2}, "'axis' = 2"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, axes, attributes, words):
    inputs = {"x": np.zeros((2, 3), np.float32)}
    if axes is not None:
        inputs["a"] = np.array(axes, np.int64)
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, **attributes), inputs)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8", "int8"])
@pytest.mark.parametrize("largest", [0, 1])
def test_the_first_k_of_any_axis(dtype, largest):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 9, (3, 7, 4)).astype(dtype)
    for axis, k in ((0, 2), (1, 7), (-1, 1), (1, 0)):
        model = one_node("TopK", {"x": x, "k": np.array([k])}, ("k",), outputs=2, axis=axis, largest=largest)
        values, index = ours(model, {"x": x})[0]
        order = np.argsort(-x.astype(np.float64) if largest else x, axis, kind="stable").take(range(k), axis)
        assert values.dtype == x.dtype and index.dtype == np.int64
        np.testing.assert_array_equal(index, order)
        np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


def test_k_may_be_an_input_of_a_session():
    x = floats(np.random.default_rng(0), 3, 6)
    session = InferenceSession(one_node("TopK", {"x": x, "k": np.array([2])}, outputs=2))
    for k in (2, 5):
        values, _ = session.run(None, {"x": x, "k": np.array([k])})
        np.testing.assert_array_equal(values, np.sort(x)[:, ::-1][:, :k])
    with pytest.raises(ModelError, match=r"node 'the_node' \(TopK\): k = 7 does not fit"):
        session.run(None, {"x": x, "k": np.array([7])})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("opset", [11, 13])
def test_one_where_the_maximum_is(axis, opset):
    x = np.round(floats(np.random.default_rng(0), 3, 4, 5))
    check("Hardmax", {"x": x}, axis=axis, opset=opset)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_products(dtype, exclusive, reverse):
    x = np.random.default_rng(0).integers(-2, 3, (3, 4)).astype(dtype)
    inputs = {"x": x, "axis": np.array(1)}
    model = one_node("CumProd", inputs, ("axis",), exclusive=exclusive, reverse=reverse, opset=26)
    line = x[:, ::-1] if reverse else x
    want = np.cumprod(line, 1, dtype=dtype)
    want = np.concatenate([np.ones((3, 1), dtype), want[:, :-1]], 1) if exclusive else want
    np.testing.assert_array_equal(ours(model, {"x": x})[0][0], want[:, ::-1] if reverse else want)
