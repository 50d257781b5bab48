"""Any number of samples on models whose batch is open, fixed or held by a plan."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from pycompress import zoo
from pycompress.batches import Batches


def model_of(nodes, batch, width=4, out=("y", ["n", 4])) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info(out[0], TensorProto.FLOAT, out[1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def doubled(batch) -> onnx.ModelProto:
    return model_of([helper.make_node("Add", ["x", "x"], ["y"])], batch, out=("y", [batch, 4]))


def samples(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)


@pytest.mark.parametrize("batch", ["n", 1, 4])
@pytest.mark.parametrize("rows", [0, 1, 3, 4, 11])
def test_every_sample_gets_its_result_whatever_the_batch_of_the_model(batch, rows):
    x = samples(rows)
    y = Batches(pc.InferenceSession(doubled(batch)), limit=8).run({"x": x})["y"]
    assert np.array_equal(y, 2 * x)


def test_a_plan_runs_the_batches_that_it_holds():
    plan = pc.compile(doubled("n"), input_shapes=[{"x": (2, 4)}, {"x": (5, 4)}])
    batches = Batches(pc.InferenceSession(plan))
    assert batches.sizes == (2, 5) and batches.open
    for rows in (1, 2, 5, 8):
        assert np.array_equal(batches.run({"x": samples(rows)})["y"], 2 * samples(rows))


def test_an_open_batch_is_run_in_few_sizes():
    assert Batches(pc.InferenceSession(doubled("n")), limit=6).sizes == (1, 2, 4, 6)
    assert Batches(pc.InferenceSession(doubled("n")), limit=1).sizes == (1,)
    assert Batches(pc.InferenceSession(doubled(3))).sizes == (3,)


def test_an_output_without_a_row_per_sample_is_refused():
    total = model_of([helper.make_node("ReduceSum", ["x"], ["y"], keepdims=1)], "n", out=("y", [1, 1]))
    with pytest.raises(ValueError, match="no result for each of 2 samples"):
        Batches(pc.InferenceSession(total)).run({"x": samples(2)})


def test_inputs_that_disagree_about_the_number_of_samples_are_refused():
    add = model_of([helper.make_node("Add", ["x", "z"], ["y"])], "n")
    add.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4]))
    with pytest.raises(ValueError, match="as many in each"):
        Batches(pc.InferenceSession(add)).run({"x": samples(2), "z": samples(3)})


def test_a_network_does_not_mix_samples():
    assert (
        Batches(pc.InferenceSession(zoo.mobilenetv1(width=0.25, resolution=32, classes=4, batch=None)), 4).mixed() == ""
    )


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [helper.make_node("ReduceMax", ["x"], ["m"], axes=[0]), helper.make_node("Sub", ["x", "m"], ["y"])],
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
    ],
    ids=["softmax", "subtract", "dynamic"],
)
def test_a_model_whose_samples_depend_on_each_other_is_found_out(nodes):
    assert "depends on the other samples" in Batches(pc.InferenceSession(model_of(nodes, "n")), 4).mixed()


def test_a_fixed_batch_is_not_shared():
    assert "open" in Batches(pc.InferenceSession(doubled(4))).mixed()
