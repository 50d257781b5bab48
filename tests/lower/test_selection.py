"""Results whose number is only known at run time: sessions hand out as many as there are, against onnxruntime and numpy."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from oracle import as_model, floats, one_node, ort_outputs, same
from pycompress.errors import ModelError


def check(model, *feeds, rtol=1e-5):
    """One session serves all feeds as onnxruntime does."""
    session = pc.InferenceSession(model)
    for feed in feeds:
        same(session.run(None, feed), ort_outputs(model, feed), rtol)
    return session


def scenes(rng, images=1, count=20, classes=2):
    low = rng.uniform(0, 4, (images, count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.5, 2, (images, count, 2))], 2).astype(np.float32)
    return {"b": boxes, "s": rng.random((images, classes, count)).astype(np.float32)}


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "uint8", "int8", "bool"])
@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 2), (0, 3)])
def test_the_places_of_what_is_not_zero(dtype, shape):
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.integers(0, n, shape).astype(dtype)} for n in (2, 1, 3)]
    session = pc.InferenceSession(one_node("NonZero", feeds[0]))
    for feed in feeds:
        same(session.run(None, feed), [np.array(np.nonzero(feed["x"]))])


@pytest.mark.parametrize("how", [{}, {"axis": 0}, {"axis": -1}])
@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "bool"])
def test_rows_where_a_condition_holds_that_is_computed(how, dtype):
    rng = np.random.default_rng(0)
    x, size = rng.integers(0, 2, (3, 4)).astype(dtype), {None: 10, 0: 3, -1: 4}[how.get("axis")]
    feeds = [{"x": x, "c": rng.random(size) < share} for share in (0.5, 0, 1)]
    check(one_node("Compress", feeds[0], **how), *feeds)
    feeds = [{"c": feed["c"]} for feed in feeds]
    check(one_node("Compress", {"x": x, **feeds[0]}, ("x",), **how), *feeds)


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("images, classes", [(1, 1), (2, 3)])
def test_boxes_that_do_not_cover_each_other(center, images, classes):
    rng = np.random.default_rng(0)
    inputs = scenes(rng, images, 30, classes)
    inputs |= {"n": np.array([4]), "o": np.float32([0.3]), "t": np.float32([0.4])}
    model = one_node("NonMaxSuppression", inputs, ("n", "o"), center_point_box=center)
    feeds = [scenes(rng, images, 30, classes) | {"t": np.float32([t])} for t in (0.4, 0.9, 1.5)]
    check(model, *feeds)
    short = {n: inputs[n] for n in "bsn"}
    check(one_node("NonMaxSuppression", short, ("n",)), scenes(rng, images, 30, classes))


def detector(rng, *tail, outputs):
    inputs = scenes(rng) | {"n": np.array([5]), "o": np.float32([0.4]), "t": np.float32([0.2]), "col": np.array([2])}
    nodes = [helper.make_node("NonMaxSuppression", ["b", "s", "n", "o", "t"], ["i"]), *tail]
    return as_model(
        nodes, inputs | {"zero": np.array([0]), "two": np.float32(2)}, outputs, ("n", "o", "t", "col", "zero", "two")
    )


TAIL = [
    helper.make_node("Gather", ["i", "col"], ["c"], axis=1),
    helper.make_node("Squeeze", ["c", "one"], ["flat"]),
    helper.make_node("Squeeze", ["b", "zero"], ["boxes"]),
    helper.make_node("Gather", ["boxes", "flat"], ["chosen"]),
    helper.make_node("Mul", ["chosen", "two"], ["large"]),
    helper.make_node("Cast", ["i"], ["numbers"], to=TensorProto.FLOAT),
    helper.make_node("Concat", ["numbers", "large"], ["y"], axis=1),
    helper.make_node("Transpose", ["y"], ["turned"]),
]


def test_what_follows_keeps_the_rows_that_there_are():
    rng = np.random.default_rng(0)
    one = helper.make_node("Constant", [], ["one"], value_ints=[1])
    model = detector(rng, one, *TAIL, outputs=["y", "turned", "flat"])
    session = check(model, scenes(rng), scenes(rng), scenes(rng))
    plan = pc.Plan.from_bytes(b"".join(bytes(c) for c in pc.compile(model)._chunks()))
    again, feed = pc.InferenceSession(plan), scenes(rng)
    same(again.run(None, feed), session.run(None, feed))
    assert [tuple(port.shape) for port in again.get_outputs()] == [(None, 7), (7, None), (None,)]


def test_places_of_true_elements_choose_rows():
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 6, 3), "zero": np.float32(0)}
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["m"]),
        helper.make_node("NonZero", ["m"], ["p"]),
        helper.make_node("Transpose", ["p"], ["t"]),
        helper.make_node("GatherND", ["x", "t"], ["y"]),
    ]
    check(as_model(nodes, inputs, ["y", "t"], ("zero",)), *({"x": floats(rng, 6, 3) - s} for s in (0, 1, 9)))


def test_arrays_of_the_caller_have_room_for_the_most_and_the_used_part_comes_back():
    x = np.float32([0, 3, 0, 4])
    session, room = pc.InferenceSession(one_node("NonZero", {"x": x})), np.full((1, 4), 9)
    (y,) = session.run(None, {"x": x}, out=[room])
    assert y.tolist() == [[1, 3]] and np.shares_memory(y, room)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y0")
    session.run_with_iobinding(binding)
    assert binding.copy_outputs_to_cpu()[0].tolist() == [[1, 3]]


@pytest.mark.parametrize("node, words", [
    (helper.make_node("ReduceSum", ["i"], ["y"], name="late"), "size that is only known at run time"),
    (helper.make_node("Shape", ["i"], ["y"], name="late"), "size that is only known at run time"),
    (helper.make_node("Slice", ["i", "zero", "col"], ["y"], name="late"), "size that is only known at run time"),
    (helper.make_node("Concat", ["i", "i"], ["y"], name="late", axis=0), "size that is only known at run time"),
    (helper.make_node("Flatten", ["i"], ["y"], name="late", axis=2), "size that is only known at run time"),
    (helper.make_node("Gather", ["i", "zero"], ["y"], name="late"), "size that is only known at run time"),
])  # fmt: skip
def test_an_operator_that_would_mix_the_rows_is_refused(node, words):
    rng = np.random.default_rng(0)
    model = detector(rng, node, outputs=["y"])
    with pytest.raises(ModelError, match=rf"node 'late' .*{words}"):
        pc.InferenceSession(model).run(None, scenes(rng))


def test_rows_of_two_kinds_do_not_meet():
    inputs = {"a": np.float32([0, 1, 2]), "b": np.float32([1, 1, 0])}
    nodes = [helper.make_node("NonZero", [n], [f"p{n}"]) for n in "ab"] + [
        helper.make_node("Add", ["pa", "pb"], ["y"], name="late")
    ]
    with pytest.raises(ModelError, match="node 'late' .*may differ"):
        pc.InferenceSession(as_model(nodes, inputs, ["y"])).run(None, inputs)
    nodes[-1] = helper.make_node("Add", ["pa", "k"], ["y"], name="late")
    with pytest.raises(ModelError, match="node 'late' .*input 1 of shape"):
        model = as_model([nodes[0], nodes[-1]], {"a": inputs["a"], "k": np.array([1, 2, 3])}, ["y"], ("k",))
        pc.InferenceSession(model).run(None, {"a": inputs["a"]})
