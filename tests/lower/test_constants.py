"""What is computed while planning: shapes, the arithmetic around them, and constants; plans follow from shapes."""

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model, floats, one_node, ort_outputs, ours, same
from pycompress.errors import ModelError
from pycompress.lower import load, lower


def i64(*values):
    return np.array(values, np.int64)


X = np.float32([[1, -2, 3], [-4, 5.5, 6]])
N = np.array([[7, -3, 2], [5, 5, -9]])
CASES = [
    ("Add", [N, i64(1, 2, 3)], {}),
    ("Div", [N, i64(2, -2, 4)], {}),
    ("Div", [X, X[::-1].copy()], {}),
    ("Mod", [N, i64(2, -2, 4)], {}),
    ("Mod", [N, i64(2, -2, 4)], {"fmod": 1}),
    ("Pow", [X, np.float32([2])], {}),
    ("Min", [N, i64(1, 2, 3), i64(4)], {}),
    ("Max", [N, i64(1, 2, 3), i64(4)], {}),
    ("Sqrt", [abs(X)], {}),
    ("Exp", [X], {}),
    ("Floor", [X], {}),
    ("Cast", [X], {"to": 7}),
    ("Not", [X > 0], {}),
    ("Xor", [X > 0, X > 2], {}),
    ("LessOrEqual", [N, i64(5)], {}),
    ("Where", [X > 0, X, -X], {}),
    ("Concat", [N, N], {"axis": 0}),
    ("Gather", [N, i64(-1, 0)], {"axis": 1}),
    ("Slice", [N, i64(-1), i64(-9), i64(1), i64(-2)], {}),
    ("Reshape", [N, i64(0, -1)], {}),
    ("Transpose", [N], {}),
    ("Unsqueeze", [N, i64(0, 3)], {}),
    ("Squeeze", [N[:1], i64(0)], {}),
    ("Expand", [N[:1], i64(3, 3)], {}),
    ("Tile", [N, i64(2, 1)], {}),
    ("NonZero", [N * (N > 0)], {}),
    ("Range", [np.array(7), np.array(-2), np.array(-2)], {}),
    ("ReduceProd", [i64(2, 3, 4)], {"keepdims": 0}),
    ("ReduceMean", [X, i64(1)], {}),
    ("ReduceL2", [X, i64(0)], {}),
    ("ReduceMean", [X, i64(0)], {"noop_with_empty_axes": 0, "keepdims": 1}),
    ("ReduceSum", [X], {"noop_with_empty_axes": 1}),
    ("ReduceSumSquare", [X, i64(0)], {}),
    ("ReduceL1", [X], {}),
    ("Clip", [N, np.array(-3), np.array(4)], {}),
    ("ArgMax", [N], {"axis": 1}),
    ("ArgMin", [N], {"axis": 0, "keepdims": 0}),
    ("CumSum", [N, np.array(1)], {}),
    ("GatherElements", [N, i64(2, -1)[:, None]], {"axis": 1}),
    ("GatherND", [N, np.array([[1, 2], [0, -1]])], {}),
    ("ScatterElements", [N, i64(2, 0)[:, None], i64(70, 80)[:, None]], {"axis": 1}),
    ("ScatterND", [N, np.array([[1], [0]]), N + 100], {}),
    ("OneHot", [i64(1, 0, -1), np.array(4), i64(5, 6)], {}),
    ("Compress", [N, np.array([True, False, True])], {"axis": 1}),
    ("IsNaN", [X], {}),
    ("BitShift", [np.array([1, 4], np.uint64), np.array([3, 1], np.uint64)], {"direction": "LEFT"}),
    ("Shape", [N], {"start": -1}),
    ("Size", [N], {}),
    ("ConstantOfShape", [i64(2, 3)], {"value": helper.make_tensor("v", 7, [1], [5])}),
]


@pytest.mark.parametrize("op,inputs,attributes", CASES, ids=[f"{c[0]}{i}" for i, c in enumerate(CASES)])
def test_constants_are_computed_as_onnxruntime_does(op, inputs, attributes):
    inputs = {f"c{i}": np.asarray(x) for i, x in enumerate(inputs)}
    model = one_node(op, inputs, tuple(inputs), **attributes)
    same(ours(model, {})[0], ort_outputs(model, {}))


def test_split_of_constants():
    for attributes, constants in [({"num_outputs": 2}, []), ({}, [i64(1, 2)])]:
        inputs = {"x": i64(4, 5, 6)} | {f"s{i}": c for i, c in enumerate(constants)}
        model = one_node("Split", inputs, tuple(inputs), outputs=2, **attributes)
        same(ours(model, {})[0], ort_outputs(model, {}))


def flattening():
    """x.view(x.size(0), -1) as exporters write it, and a bilinear resize to twice the size, with any batch and image."""
    w = floats(np.random.default_rng(0), 4, 3, 3, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four", "zero"], ["image"]),
        helper.make_node("Cast", ["image"], ["float"], to=1),
        helper.make_node("Mul", ["float", "factor"], ["scaled"]),
        helper.make_node("Floor", ["scaled"], ["floor"]),
        helper.make_node("Cast", ["floor"], ["target"], to=7),
        helper.make_node("Slice", ["shape", "zero", "two", "zero"], ["head"]),
        helper.make_node("Concat", ["head", "target"], ["sizes"], axis=0),
        helper.make_node("Resize", ["a", "", "", "sizes"], ["b"], mode="linear"),
        helper.make_node("Gather", ["shape", "first"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "zero"], ["lead"]),
        helper.make_node("Concat", ["lead", "rest"], ["flat"], axis=0),
        helper.make_node("Reshape", ["b", "flat"], ["y"]),
    ]
    constants = {
        "w": w, "two": i64(2), "four": i64(4), "zero": i64(0), "factor": np.float32([2, 2]), "first": np.array(0),
        "rest": i64(-1),
    }  # fmt: skip
    model = as_model(nodes, {"x": np.zeros((1, 3, 1, 1), np.float32)} | constants, ["y"], tuple(constants))
    for i, word in ((0, "batch"), (2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[i].dim_param = word
    return model


def test_one_model_runs_at_any_batch_and_size():
    model = flattening()
    session = pc.InferenceSession(model)
    for shape in [(1, 3, 4, 5), (2, 3, 7, 3), (1, 3, 4, 5), (3, 3, 1, 1)]:
        x = floats(np.random.default_rng(1), *shape)
        same(session.run(None, {"x": x}), ort_outputs(model, {"x": x}), atol=1e-4)
    program = lower(load(model), {"x": (2, 3, 4, 5)})
    assert {s.kernel for s in program.steps} == {"permute", "sconv", "resample"}  # no shape is computed at run time


def test_a_shape_may_be_an_input_and_keys_the_plan_by_its_value():
    x = floats(np.random.default_rng(0), 2, 6)
    session = pc.InferenceSession(one_node("Reshape", {"x": x, "s": i64(3, 4)}))
    for shape in [(3, 4), (4, 3), (12, 1), (3, 4)]:
        np.testing.assert_array_equal(session.run(None, {"x": x, "s": i64(*shape)})[0], x.reshape(shape))
    with pytest.raises(ModelError, match="does not fit"):
        session.run(None, {"x": x, "s": i64(5, 5)})


def test_fills_stay_one_element_through_packing():
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("v", 1, [1], [0.5])),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    x = np.ones((1, 2048), np.float32)
    plan = pc.compile(as_model(nodes, {"x": x, "s": i64(65536, 2048)}, ["y"], ("s",)))  # 512 MB if it were dense
    np.testing.assert_allclose(pc.InferenceSession(plan).run(None, {"x": x})[0], np.full((1, 65536), 1024))


@pytest.mark.parametrize(
    "op,inputs,words",
    [
        ("Div", [N, i64(0)], "by zero"),
        ("Mod", [N, i64(0)], "by zero"),
        ("Range", [np.array(0), np.array(2**40), np.array(1)], "too many"),
        ("Range", [np.array(0), np.array(2), np.array(0)], "step of 0"),
        ("Concat", [N, i64(1)], "while planning"),
        ("Gather", [N, i64(9)], "while planning"),
        ("Reshape", [N, i64(4)], "while planning"),
        ("ConstantOfShape", [i64(-1)], "not valid"),
        ("ConstantOfShape", [i64(2**40)], "limits"),
        ("ConstantOfShape", [i64(2**62, 2**62)], "limits|while planning"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(op, inputs, words):
    inputs = {f"c{i}": np.asarray(x) for i, x in enumerate(inputs)}
    attributes = {"axis": 0} if op == "Concat" else {}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*({words})"):
        ours(one_node(op, inputs, tuple(inputs), **attributes), {})


def test_a_large_fill_is_refused_where_it_would_be_touched():
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["w"]),
        helper.make_node("Exp", ["w"], ["y"], name="touch"),
    ]
    with pytest.raises(ModelError, match=r"node 'touch' \(Exp\).*limits"):
        ours(as_model(nodes, {"s": i64(2**30)}, ["y"], ("s",)), {})


@pytest.mark.parametrize(
    "op,inputs,attributes",
    [
        ("GatherND", [N, np.array([[9, 9]])], {}),
        ("ScatterElements", [N, i64(7)[:, None], i64(1)[:, None]], {"axis": 1}),
        ("CumSum", [N, np.array(5)], {}),
    ],
)
def test_values_that_do_not_fit_a_rare_operator_are_refused_by_its_name(op, inputs, attributes):
    inputs = {f"c{i}": np.asarray(x) for i, x in enumerate(inputs)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\): cannot be computed while planning"):
        ours(one_node(op, inputs, tuple(inputs), **attributes), {})


def test_rare_operators_compute_no_large_constants():
    inputs = {"i": i64(0), "depth": np.array(2**40), "v": i64(0, 1)}
    with pytest.raises(ModelError, match=r"node 'the_node' \(OneHot\): a tensor of shape .* is beyond the limits"):
        ours(one_node("OneHot", inputs, tuple(inputs)), {})
