"""Operators that move data, against onnxruntime; several cost no step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress.errors import ModelError

few = settings(max_examples=30, deadline=None, derandomize=True)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)


def i64(*values):
    return np.array(values, np.int64)


def kernels(program):
    return [s.kernel for s in program.steps]


@few
@given(shapes, st.data(), st.sampled_from(["float32", "int64", "uint8", "int8", "bool"]))
def test_transpose_of_any_type_is_one_copy(shape, data, dtype):
    x = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    perm = data.draw(st.permutations(range(len(shape))))
    program = check("Transpose", {"x": x}, perm=perm)
    if dtype != "int8":  # which is stored 128 higher
        assert kernels(program) == ["permute"]


@few
@given(st.data(), shapes)
def test_reshape_of_a_transposed_tensor(data, shape):
    x = floats(np.random.default_rng(0), *shape)
    perm = data.draw(st.permutations(range(len(shape))))
    splits = data.draw(st.sampled_from([(-1,), (1, -1), (-1, 1), (0, -1)]))
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=perm),
        helper.make_node("Reshape", ["t", "s"], ["r"]),
        helper.make_node("Relu", ["r"], ["y"]),
    ]
    model = as_model(nodes, {"x": x, "s": i64(*splits)}, ["y"], ("s",))
    same(ours(model, {"x": x})[0], ort_outputs(model, {"x": x}))


def test_channel_shuffle_stays_in_the_order_of_the_convolution():
    rng = np.random.default_rng(0)
    inputs = {
        "x": floats(rng, 2, 4, 3, 5), "w": floats(rng, 6, 4, 1, 1), "v": floats(rng, 6, 1, 3, 3),
        "s": i64(2, 2, 3, 3, 5), "r": i64(2, 6, 3, 5),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "s"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["c", "r"], ["d"]),
        helper.make_node("Conv", ["d", "v"], ["y"], group=6, pads=[1, 1, 1, 1]),
    ]
    model = as_model(nodes, inputs, ["y"], ("w", "v", "s", "r"))
    got, program = ours(model, {"x": inputs["x"]})
    same(got, ort_outputs(model, {"x": inputs["x"]}), atol=1e-4)
    assert kernels(program) == ["permute", "sgemm", "permute", "dwconv", "permute"]


def test_views_cost_no_step_of_their_own():
    x = floats(np.random.default_rng(0), 2, 3, 1, 4)
    for op, inputs, constants, attributes in [
        ("Flatten", {}, (), {"axis": 2}),
        ("Squeeze", {"a": i64(2)}, ("a",), {}),
        ("Squeeze", {}, (), {}),
        ("Unsqueeze", {"a": i64(-1, 0)}, ("a",), {}),
        ("Slice", {"s": i64(1, -2), "e": i64(9, 99), "a": i64(0, -1), "t": i64(1, 1)}, ("s", "e", "a", "t"), {}),
        ("Slice", {"s": i64(0), "e": i64(99), "a": i64(3), "t": i64(2)}, (), {}),
        ("Expand", {"s": i64(2, 3, 5, 1)}, ("s",), {}),
        ("Identity", {}, (), {}),
        ("Gather", {"i": i64(0, 2)}, ("i",), {"axis": 1}),
        ("Gather", {"i": np.array(-1)}, ("i",), {"axis": 3}),
        ("Dropout", {}, (), {}),
    ]:
        assert kernels(check(op, {"x": x, **inputs}, constants, **attributes)) == ["permute"], op


def test_old_forms_with_attributes():
    x = floats(np.random.default_rng(0), 2, 3, 1, 4)
    check("Squeeze", {"x": x}, axes=[2], opset=12)
    check("Unsqueeze", {"x": x}, axes=[0, 3], opset=12)
    check("Slice", {"x": x}, starts=[1, -3], ends=[99, -1], axes=[1, 3], opset=9)
    check("Split", {"x": x}, outputs=2, axis=1, split=[1, 2], opset=12)
    check("Dropout", {"x": x}, ratio=0.3, opset=11)


@few
@given(st.integers(1, 7), st.data())
def test_slice(size, data):
    x = np.arange(3 * size, dtype=np.float32).reshape(3, size)
    bound = st.integers(-2 * size, 2 * size)
    start, end = data.draw(bound), data.draw(bound)
    step = data.draw(st.sampled_from([1, 2, 3, -1, -2, -(2**62), 2**62]))
    inputs = {"s": i64(start), "e": i64(end), "a": i64(1), "t": i64(step)}
    check("Slice", {"x": x, **inputs}, tuple(inputs))


@few
@given(shapes, st.data())
def test_concat_and_split(shape, data):
    rng = np.random.default_rng(0)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    parts = []
    for _ in range(data.draw(st.integers(1, 3))):
        one = list(shape)
        one[axis] = data.draw(st.integers(0, 3))
        parts.append(floats(rng, *one))
    inputs = {f"x{i}": p for i, p in enumerate(parts)}
    check("Concat", inputs, ("x0",) if len(parts) > 1 else (), axis=axis)
    whole = np.concatenate(parts, axis)
    sizes = i64(*(p.shape[axis] for p in parts))
    check("Split", {"x": whole, "s": sizes}, ("s",), outputs=len(parts), axis=axis)
    check("Split", {"x": floats(rng, *shape)}, outputs=min(2, shape[axis]), axis=axis, num_outputs=min(2, shape[axis]))


@few
@given(st.lists(st.integers(-4, 3), max_size=6), st.sampled_from(["float32", "int64", "int8"]))
def test_gather(index, dtype):
    x = np.arange(2 * 4 * 3).reshape(2, 4, 3).astype(dtype)
    check("Gather", {"x": x, "i": i64(*index)}, ("i",), axis=1)
    check("Gather", {"x": x, "i": i64(*index, *index).reshape(2, len(index))}, axis=-2)  # keyed by its value


def test_gather_refuses_an_index_outside():
    x = np.zeros((2, 4), np.float32)
    for index in (4, -5):
        with pytest.raises(ModelError, match=r"node 'the_node' \(Gather\).*outside \[-4, 4\)"):
            ours(one_node("Gather", {"x": x, "i": i64(0, index)}, ("i",), axis=1), {"x": x})


def test_tile_expand_and_blocks():
    rng = np.random.default_rng(0)
    check("Tile", {"x": floats(rng, 2, 3, 4), "r": i64(2, 1, 3)}, ("r",))
    check("Tile", {"x": floats(rng, 2, 3), "r": i64(0, 2)})
    check("Expand", {"x": floats(rng, 3, 1), "s": i64(2, 1, 4)}, ("s",))
    check("DepthToSpace", {"x": floats(rng, 2, 12, 3, 5)}, blocksize=2, mode="DCR")
    check("DepthToSpace", {"x": floats(rng, 2, 12, 3, 5)}, blocksize=2, mode="CRD")
    check("SpaceToDepth", {"x": floats(rng, 2, 3, 4, 6)}, blocksize=2)


def test_concat_of_convolutions_and_pixel_shuffle_keep_their_order():
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 1, 4, 3, 5), "w": floats(rng, 6, 4, 1, 1), "v": floats(rng, 2, 4, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Conv", ["x", "v"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("DepthToSpace", ["c"], ["y"], blocksize=2),
    ]
    model = as_model(nodes, inputs, ["y"], ("w", "v"))
    same(ours(model, {"x": inputs["x"]})[0], ort_outputs(model, {"x": inputs["x"]}), atol=1e-4)


@pytest.mark.parametrize(
    "op,shape,inputs,attributes,words",
    [
        ("Reshape", (2, 3), {"s": i64(4, -1)}, {}, "does not fit"),
        ("Reshape", (2, 3), {"s": i64(-1, -1)}, {}, "does not fit"),
        ("Reshape", (2, 3), {"s": i64(2, 3, 0)}, {}, "lacks"),
        ("Transpose", (2, 3), {}, {"perm": [0, 0]}, "'perm'"),
        ("Squeeze", (2, 3), {"a": i64(0)}, {}, "not all 1"),
        ("Unsqueeze", (2, 3), {"a": i64(0, 0)}, {}, "twice"),
        ("Unsqueeze", (2, 3), {"a": i64(7)}, {}, "outside"),
        ("Flatten", (2, 3), {}, {"axis": 3}, "'axis'"),
        ("Split", (2, 3), {"s": i64(1, 1)}, {"axis": 1}, "'split'"),
        ("Slice", (2, 3), {"s": i64(0), "e": i64(1), "a": i64(0), "t": i64(0)}, {}, "steps"),
        ("Slice", (2, 3), {"s": i64(0), "e": i64(1, 2)}, {}, "belong together"),
        ("Expand", (2, 3), {"s": i64(4, 3)}, {}, "broadcast"),
        ("Tile", (2, 3), {"s": i64(4)}, {}, "repeats"),
        ("Concat", (2, 3), {"b": np.zeros((3, 3), np.float32)}, {"axis": 1}, "join"),
        ("Concat", (2, 3), {}, {}, "'axis' is required"),
        ("DepthToSpace", (1, 3, 2, 2), {}, {"blocksize": 2}, "'blocksize'"),
        ("DepthToSpace", (1, 4, 2, 2), {}, {"blocksize": 2, "mode": "RGB"}, "'mode'"),
        ("Dropout", (2, 3), {"r": np.array(0.5, np.float32), "t": np.array(True)}, {}, "training_mode"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, shape, inputs, attributes, words):
    inputs = {"x": np.zeros(shape, np.float32), **inputs}
    model = one_node(op, inputs, tuple(n for n in inputs if n != "x"), **attributes)
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(model, {"x": inputs["x"]})


def test_a_shape_computed_at_run_time_is_refused_by_name():
    x = np.float32([2, 3])
    nodes = [helper.make_node("Cast", ["x"], ["s"], to=7), helper.make_node("Reshape", ["y", "s"], ["z"], name="r")]
    inputs = {"x": x, "y": np.zeros(6, np.float32)}
    with pytest.raises(ModelError, match=r"node 'r' \(Reshape\): input 1 'shape' must be known when planning"):
        ours(as_model(nodes, inputs, ["z"]), inputs)
