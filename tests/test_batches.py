"""A batch, run as a whole or a few images at a time, answers as its images one by one."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from oracle import as_model
from pycompress import compiler as planning
from pycompress._pcx import lib

BATCH = 6


def network(nodes, size=6, constants=(), outputs=("y",)):
    """`nodes` on x f32[N,3,size,size], weights of a convolution among the constants."""
    rng = np.random.default_rng(0)
    values = {"x": np.zeros((1, 3, size, size), np.float32), "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32)}
    values |= dict(constants)
    model = as_model(nodes, values, list(outputs), tuple(n for n in values if n != "x"), opset=13)
    for port in (*model.graph.input, *model.graph.output):
        if port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].dim_param = "N"
    return model


CONV = helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1])
FLAT = [
    helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
    helper.make_node("Flatten", ["p"], ["f"], "flatten"),
    helper.make_node("Softmax", ["f"], ["y"], "softmax"),
]
GATED = [
    CONV,
    helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
    helper.make_node("Mul", ["c", "p"], ["y"], "gate"),
]
RESHAPED = [
    CONV,
    helper.make_node("Shape", ["c"], ["s"], "shape"),
    helper.make_node("Gather", ["s", "zero"], ["n"], "gather"),
    helper.make_node("Concat", ["n", "rest"], ["t"], "concat", axis=0),
    helper.make_node("Reshape", ["c", "t"], ["y"], "reshape"),
]
RESHAPE = {"zero": np.array([0]), "rest": np.array([-1])}


@pytest.fixture
def small_caches(monkeypatch):
    monkeypatch.setattr(planning, "CACHE", 1024)


def programs(model):
    """(plan, session) for one image and for BATCH."""
    plan = pc.compile(model, input_shapes=[(1, 3, 6, 6), (BATCH, 3, 6, 6)])
    return plan, pc.InferenceSession(plan, pc.SessionOptions(intra_op_num_threads=2))


def agree(session):
    x = np.random.default_rng(1).standard_normal((BATCH, 3, 6, 6)).astype(np.float32)
    one = [session.run(None, {"x": image[None]})[0] for image in x]
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], np.concatenate(one))
    rows = session.profile({"x": x}, runs=2)
    assert all(0 <= row["start"] <= row["end"] for row in rows)
    return rows


@pytest.mark.parametrize(
    "nodes,constants", [([CONV, *FLAT], {}), (GATED, {}), (RESHAPED, RESHAPE)], ids=["flat", "gated", "reshaped"]
)
def test_images_that_are_independent_run_a_few_at_a_time(small_caches, nodes, constants):
    plan, session = programs(network(nodes, constants=constants))
    assert lib.pcx_plan_arena(plan.handle, 1) < 2 * max(lib.pcx_plan_arena(plan.handle, 0), 1024)
    rows = agree(session)
    assert f"{BATCH} images, " in rows[0]["reason"]
    conv = next(row for row in rows if row["macs"])
    assert conv["macs"] == BATCH * 36 * 4 * 27


def test_a_batch_that_fits_the_caches_runs_as_a_whole():
    plan, session = programs(network([CONV, *FLAT]))
    assert "times" not in plan.metadata["pycompress"] and '"format":1' in plan.metadata["pycompress"]
    agree(session)


DEPENDENT = {
    "mean over the batch": (
        [CONV, helper.make_node("ReduceMean", ["c"], ["y"], "mean", axes=[0], keepdims=1)], {}, "mean"),
    "softmax over the batch": ([CONV, helper.make_node("Softmax", ["c"], ["y"], "soft", axis=0)], {}, "soft"),
    "softmax over the batch from the end": (
        [CONV, helper.make_node("Softmax", ["c"], ["y"], "soft", axis=-4)], {}, "soft"),
    "images swapped": (
        [CONV, helper.make_node("Transpose", ["c"], ["y"], "swap", perm=[1, 0, 2, 3])], {}, "swap"),
    "reversed images": (
        [CONV, helper.make_node("Slice", ["c", "from", "to", "axes", "by"], ["y"], "flip")],
        {"from": np.array([-1]), "to": np.array([-100]), "axes": np.array([0]), "by": np.array([-1])}, "flip"),
    "divided by the number of images": (
        [CONV, helper.make_node("Shape", ["x"], ["s"], "shape"),
         helper.make_node("Gather", ["s", "zero"], ["n"], "count"),
         helper.make_node("Cast", ["n"], ["m"], "cast", to=TensorProto.FLOAT),
         helper.make_node("Div", ["c", "m"], ["y"], "divide")], {"zero": np.array([0])}, "divide"),
    "another weight for each image": (
        [CONV, helper.make_node("Mul", ["c", "v"], ["y"], "weigh")],
        {"v": np.arange(BATCH, dtype=np.float32).reshape(-1, 1, 1, 1)}, "weigh"),
}  # fmt: skip


@pytest.mark.parametrize("case", DEPENDENT)
def test_images_that_may_depend_on_each_other_run_together_and_the_plan_says_why(small_caches, case):
    nodes, constants, node = DEPENDENT[case]
    model = network(nodes, constants=constants)
    plan = pc.compile(model, input_shapes=(BATCH, 3, 6, 6))
    assert '"times"' not in plan.metadata["pycompress"]
    reason = pc.InferenceSession(plan).explain()[0]["reason"]
    assert f"all {BATCH} images at once" in reason and node in reason, reason


def test_a_session_on_a_model_takes_batches_apart_too(small_caches):
    model = network([CONV, *FLAT])
    session = pc.InferenceSession(model)
    agree(session)


def test_a_small_batch_is_not_split_where_that_is_not_worth_finding_out(small_caches):
    model, shapes = pc.lower.load(network([CONV, *FLAT])), {"x": (BATCH, 3, 6, 6)}
    assert planning.lowered(model, shapes).times > 1
    assert planning.lowered(model, shapes, together=1 << 20).times == 1


def test_large_weights_are_read_once_for_the_whole_batch(small_caches):
    nodes = [CONV, *FLAT[:2], helper.make_node("Gemm", ["f", "v"], ["y"], "gemm")]
    model = network(nodes, constants={"v": np.ones((4, 4096), np.float32)})
    assert '"times"' not in pc.compile(model, input_shapes=(BATCH, 3, 6, 6)).metadata["pycompress"]


def test_outputs_made_of_the_number_of_images_are_not_cut(small_caches):
    nodes = [
        CONV,
        helper.make_node("Relu", ["c"], ["y"]),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["r"]),
    ]
    model = network(nodes, constants={"zero": np.array(0), "one": np.array(1)})
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.INT64, ["n"]))
    session = pc.InferenceSession(pc.compile(model, input_shapes=(BATCH, 3, 6, 6)))
    _, numbers = session.run(None, {"x": np.zeros((BATCH, 3, 6, 6), np.float32)})
    np.testing.assert_array_equal(numbers, range(BATCH))
    assert "'r'" in session.explain()[0]["reason"]
