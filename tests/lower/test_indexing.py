"""Operators that pick elements by indices, and put them there, against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress import InferenceSession, SessionOptions
from pycompress.errors import InvalidArgument, ModelError

few = settings(max_examples=25, deadline=None, derandomize=True)
TYPES = ["float32", "int64", "uint8", "int8", "bool"]
BOTH = pytest.mark.parametrize("constants", [("i",), ()], ids=["known", "computed"])


def i64(*values):
    return np.array(values, np.int64)


def data(rng, *shape, dtype="float32"):
    return rng.integers(-9, 10, shape).astype(dtype)


@BOTH
@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), st.sampled_from(TYPES))
def test_rows_are_gathered_along_any_axis(constants, shape, draw, dtype):
    rng = np.random.default_rng(0)
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    index = rng.integers(-shape[axis], shape[axis], draw.draw(st.sampled_from([(), (3,), (2, 2)])))
    for kind in (np.int32, np.int64):
        check("Gather", {"x": data(rng, *shape, dtype=dtype), "i": np.asarray(index, kind)}, constants, axis=axis)


@BOTH
@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), st.sampled_from(TYPES))
def test_elements_are_gathered_along_any_axis(constants, shape, draw, dtype):
    rng = np.random.default_rng(0)
    axis = draw.draw(st.integers(-len(shape), len(shape) - 1))
    counts = [draw.draw(st.integers(1, d)) for d in shape]
    counts[axis] = draw.draw(st.integers(1, 5))
    index = rng.integers(-shape[axis], shape[axis], counts)
    check("GatherElements", {"x": data(rng, *shape, dtype=dtype), "i": index}, constants, axis=axis)


@BOTH
@few
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), st.sampled_from(TYPES))
def test_points_are_gathered_from_any_number_of_axes(constants, shape, draw, dtype):
    rng = np.random.default_rng(0)
    depth = draw.draw(st.integers(1, len(shape)))
    batch = draw.draw(st.integers(0, len(shape) - depth))
    counts = (*shape[:batch], draw.draw(st.integers(1, 3)))
    index = np.stack([rng.integers(-d, d, counts) for d in shape[batch : batch + depth]], -1)
    check("GatherND", {"x": data(rng, *shape, dtype=dtype), "i": index}, constants, batch_dims=batch)


def test_blue_and_red_change_places():
    x = floats(np.random.default_rng(0), 2, 3, 5, 4)
    points = np.stack(np.meshgrid([0, 1], [2, 1, 0], indexing="ij"), -1)
    check("GatherND", {"x": x, "i": points}, ("i",))


@BOTH
def test_the_index_of_an_image_that_lies_pixel_by_pixel(constants):
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 1, 4, 3, 5), "w": floats(rng, 6, 4, 1, 1), "i": i64(5, 0, -2)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Gather", ["a", "i"], ["y"], axis=1)]
    model = as_model(nodes, inputs, ["y"], ("w", *constants))
    feed = {n: x for n, x in inputs.items() if n not in ("w", *constants)}
    same(ours(model, feed)[0], ort_outputs(model, feed))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("far", [3, -4, 2**62, -(2**63)])
def test_an_index_outside_that_is_computed_is_an_error_of_the_run_alone(far, threads):
    x, u = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones((2, 2), np.float32)
    for op, index, other in (
        ("Gather", lambda i: i64(1, i), {}), ("GatherElements", lambda i: i64([1, i], [0, 0]), {}),
        ("GatherND", lambda i: i64([0], [i]), {}), ("ScatterND", lambda i: i64([0], [i]), {"u": u}),
        ("ScatterElements", lambda i: i64([0, i], [1, 1]), {"u": u}),
    ):  # fmt: skip
        feed = {"x": x, "i": index(far), **other}
        model = one_node(op, feed)
        session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads))
        good = {**feed, "i": index(2)}
        want = ort_outputs(model, good)
        for _ in range(2):
            with pytest.raises(InvalidArgument, match=rf"node 'the_node' \({op}\): an index is outside"):
                session.run(None, feed)
            same(session.run(None, good), want)


def test_a_branch_that_is_not_taken_may_point_outside():
    inner = []
    for name, at in (("a", "i"), ("b", "j")):
        node = helper.make_node("Gather", ["x", at], ["o"], name=f"in_{name}")
        inner.append(helper.make_graph([node], name, [], [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])]))
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner[0], else_branch=inner[1])
    feed = {"x": np.float32([5, 6]), "i": i64([1])[0], "j": i64([7])[0], "c": np.array(True)}
    model = as_model([node], feed, ["y"], ())
    same(ours(model, feed)[0], [np.float32([6])])


def test_one_plan_serves_words_of_any_number():
    table = floats(np.random.default_rng(0), 50, 8)
    inputs = {"ids": i64([3, 7, 49, -1]), "table": table}
    nodes = [
        helper.make_node("Cast", ["ids"], ["i"], to=6),
        helper.make_node("Gather", ["table", "i"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["y"], axes=[1], keepdims=0),
    ]
    model = as_model(nodes, inputs, ["y"], ("table",), opset=13)
    session = InferenceSession(model)
    for ids in (inputs["ids"], i64([0, 0, 1, 2])):
        np.testing.assert_allclose(session.run(None, {"ids": ids})[0], table[ids].mean(1), rtol=1e-5)


def test_a_table_of_codes_stays_codes():
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 127, (20, 6)).astype(np.int8)
    inputs = {"q": codes, "s": np.float32(0.1), "z": np.int8(3), "i": i64(4, -1, 0)}
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["t"]),
        helper.make_node("Gather", ["t", "i"], ["y"]),
    ]
    model = as_model(nodes, inputs, ["y"], ("q", "s", "z"))
    got, program = ours(model, {"i": inputs["i"]})
    same(got, ort_outputs(model, {"i": inputs["i"]}))
    assert [s.kernel for s in program.steps if s.kernel != "permute"] == ["lookup", "dequantize"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("fixed", [("i",), ("x", "i"), ("u", "i")])
def test_elements_are_put_in_their_places(dtype, fixed):
    rng = np.random.default_rng(0)
    for axis in (0, 1, -1):
        index = np.stack([rng.permutation(4)[:2] for _ in range(3)]) if axis else np.array([[0, 2, 1, 0], [2, 0, 0, 1]])
        inputs = {"x": data(rng, 3, 4, dtype=dtype), "i": index - (4 if axis else 3) * (index > 1)}
        inputs["u"] = data(rng, *index.shape, dtype=dtype)
        check("ScatterElements", inputs, fixed, axis=axis)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("fixed", [("i",), ("x", "i"), ("u", "i")])
def test_rows_and_points_are_put_in_their_places(dtype, fixed):
    rng = np.random.default_rng(0)
    for index in (i64([2], [0]), i64([[0, 1]], [[-1, 3]]), i64([[1, 1, 2]])):
        x = data(rng, 3, 4, 5, dtype=dtype)
        u = data(rng, *index.shape[:-1], *x.shape[index.shape[-1] :], dtype=dtype)
        check("ScatterND", {"x": x, "i": index, "u": u}, fixed)


@pytest.mark.parametrize("kind", ["int64", "int32", "float32"])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_classes_become_rows_of_one_and_zero(kind, axis):
    inputs = {"i": np.array([[0, 2, -1], [3, 9, -5]], kind), "d": i64(4).reshape(()), "v": np.float32([0, 1])}
    if kind == "int64":
        for constants in (("d", "v"), ("d",), ("v",)):
            check("OneHot", inputs, constants, axis=axis)
    expected = np.moveaxis(
        ((inputs["i"] % 4)[..., None] == np.arange(4)) & (abs(inputs["i"] + 0.5) < 4.5)[..., None], -1, axis
    )
    same(ours(one_node("OneHot", inputs, ("d",), axis=axis), inputs)[0], [expected.astype(np.float32)])


def test_whole_numbers_for_on_and_off():
    inputs = {"i": i64(1, 0, 2), "d": i64(3), "v": i64(5, -7)}
    check("OneHot", inputs, ("d", "v"))


@pytest.mark.parametrize(
    "op,inputs,constants,attributes,words",
    [
        ("Gather", [np.float32([1, 2]), i64(2)], ("b",), {}, "outside"),
        ("Gather", [np.float32([1, 2]), np.float32([1])], (), {}, "must be integers"),
        ("Gather", [np.zeros((0, 2), np.float32), i64(2)], (), {}, "no elements"),
        ("GatherND", [np.float32([1, 2]), i64([1, 2])], ("b",), {}, "do not fit"),
        ("GatherND", [np.float32([1, 2]), i64([-3])], ("b",), {}, "outside"),
        ("GatherND", [np.float32([1, 2]), i64([1])], ("b",), {"batch_dims": 2}, "batch_dims"),
        ("GatherElements", [np.zeros((2, 2), np.float32), i64(1)], ("b",), {}, "do not fit"),
        ("ScatterND", [np.float32([1, 2]), i64([5]), np.float32([1])], ("b",), {}, "outside"),
        ("ScatterND", [np.float32([1, 2]), i64([1]), np.float32([1])], ("b",), {"reduction": "sum"}, "'reduction'"),
        ("ScatterND", [np.array([True]), i64([0]), np.array([True])], (), {"reduction": "max"}, "'reduction'"),
        ("ReverseSequence", [np.zeros((2, 3), np.float32), i64(1, 2)], (), {}, "do not fit"),
        ("Compress", [np.zeros((2, 3), np.float32), np.ones(3, bool)], ("b",), {"axis": 0}, "longer"),
        ("EyeLike", [np.zeros(3, np.float32)], (), {}, "matrices"),
        ("ScatterND", [np.float32([1, 2]), i64([1]), i64(1)], ("b",), {}, "one type"),
        ("ScatterElements", [np.float32([1, 2]), i64(1), np.float32([1, 2])], ("b",), {}, "shape"),
        ("OneHot", [i64(1), i64(3), np.float32([1, 2, 3])], ("b",), {}, "do not fit"),
        ("OneHot", [i64(1), i64(3), np.float32([1, 2])], ("b",), {"axis": 5}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, inputs, constants, attributes, words):
    inputs = {n: x for n, x in zip("abc", inputs)}
    model = one_node(op, inputs, constants, **attributes)
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(model, {n: x for n, x in inputs.items() if n not in constants})


REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
NUMBERS = ["float32", "float64", "int64", "int32", "int8", "uint8", "int16"]


@BOTH
@REDUCTIONS
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_elements_are_joined_to_those_in_their_places(constants, reduction, dtype):
    rng = np.random.default_rng(0)
    for axis in (0, 1, -1):
        index = rng.integers(-3 if axis == 0 else -4, 3 if axis == 0 else 4, (4, 2) if axis == 0 else (3, 5))
        index = index if axis == 0 else index[:, :4]
        inputs = {"x": data(rng, 3, 4, dtype=dtype), "i": index, "u": data(rng, *index.shape, dtype=dtype)}
        check("ScatterElements", inputs, constants, axis=axis, reduction=reduction)


@BOTH
@REDUCTIONS
@pytest.mark.parametrize("dtype", NUMBERS)
def test_rows_and_points_are_joined_to_those_in_their_places(constants, reduction, dtype):
    rng, join = np.random.default_rng(0), dict(add=np.add, mul=np.multiply, min=np.minimum, max=np.maximum)
    for index in (i64([2], [0], [2]), i64([[0, 1]], [[-1, 3]]), i64([[1, 1, 2]])):
        x = data(rng, 3, 4, 5, dtype=dtype)
        u = data(rng, *index.shape[:-1], *x.shape[index.shape[-1] :], dtype=dtype)
        want = x.copy()
        for i in np.ndindex(index.shape[:-1]):
            at = tuple(index[i])
            want[at] = join[reduction](want[at], u[i]) if reduction in join else u[i]
        inputs = {"x": x, "i": index, "u": u}
        model = one_node("ScatterND", inputs, constants, reduction=reduction)
        same(ours(model, {n: v for n, v in inputs.items() if n not in constants})[0], [want])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("batch", [0, 1])
def test_sequences_are_reversed_up_to_their_length(dtype, batch):
    x = data(np.random.default_rng(0), 4, 5, 3, dtype=dtype)
    lengths = i64(1, 4, 3, 2) if batch == 0 else i64(1, 4, 3, 2, 4)
    for constants in ((), ("n",)):
        check("ReverseSequence", {"x": x, "n": lengths}, constants, batch_axis=batch, time_axis=1 - batch)


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_are_kept_where_a_condition_holds(dtype):
    x = data(np.random.default_rng(0), 3, 4, 2, dtype=dtype)
    for condition, how in (
        ([1, 0, 1], {"axis": 0}),
        ([0, 1], {"axis": -2}),
        ([0, 0, 0, 1, 1, 0, 1], {}),
        ([0, 0], {"axis": 2}),
    ):
        check("Compress", {"x": x, "c": np.array(condition, bool)}, ("c",), **how)


@pytest.mark.parametrize("dtype", [None, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.BOOL])
def test_ones_on_a_diagonal(dtype):
    for k in (0, 1, -2):
        x = np.zeros((3, 5), np.int64)
        how = {} if dtype is None else {"dtype": dtype}
        if dtype == TensorProto.BOOL:
            got = ours(one_node("EyeLike", {"x": x}, k=k, **how), {"x": x})[0][0]
            np.testing.assert_array_equal(got, np.eye(3, 5, k, bool))
        else:
            check("EyeLike", {"x": x}, k=k, **how)


@pytest.mark.parametrize("image, block, how", [
    ((5, 6), (2, 3), {}),
    ((5, 6), (2, 2), dict(strides=[2, 1], pads=[1, 0, 0, 1])),
    ((6, 6), (2, 3), dict(dilations=[2, 1])),
    ((7,), (3,), dict(strides=[2])),
    ((4, 3, 5), (2, 1, 2), {}),
])  # fmt: skip
def test_blocks_are_summed_into_images(image, block, how):
    rank = len(image)
    pads, strides, dilations = (
        how.get("pads", [0] * 2 * rank),
        how.get("strides", [1] * rank),
        how.get("dilations", [1] * rank),
    )
    steps = [
        (d + pads[i] + pads[i + rank] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
        for i, d in enumerate(image)
    ]
    x = floats(np.random.default_rng(0), 2, 3 * int(np.prod(block)), int(np.prod(steps)))
    check("Col2Im", {"x": x, "image": i64(*image), "block": i64(*block)}, ("image", "block"), **how)
