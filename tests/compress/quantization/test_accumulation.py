import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pycompress import zoo
from pycompress.compress.calibration.moments import Moments
from pycompress.compress.model import graph as g
from pycompress.compress.model.layers import read_layer
from pycompress.compress.quantization import accumulation
from pycompress.compress.quantization.round import round_layer
from pycompress.compress.quantization.targets import Grid
from pycompress.compress.quantize import quantize
from pycompress.zoo import photos


def two_layers(loud=1.0):
    """Two convolutions that do not meet, whose errors count alike in the outputs, but for `loud`."""
    rng = np.random.default_rng(0)
    w = {name: rng.standard_normal((16, 32, 1, 1)).astype("f4") for name in "ab"}
    w["a"] *= np.float32(loud)
    nodes = [
        helper.make_node("Conv", ["input", "a"], ["x"], name="a"),
        helper.make_node("Conv", ["input", "b"], ["y"], name="b"),
        helper.make_node("Add", ["x", "y"], ["output"]),
    ]
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 6, 6]) for n, c in (("input", 32), ("output", 16))
    ]
    tensors = [numpy_helper.from_array(x, name) for name, x in w.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def never_merged(loud=1.0):
    """The same, with an activation function behind one, so that their sum is not one convolution."""
    model = two_layers(loud)
    model.graph.node[1].output[0] = "before"
    model.graph.node.insert(2, helper.make_node("Relu", ["before"], ["y"]))
    return model


def data(count=8):
    rng = np.random.default_rng(1)
    return [{"input": rng.standard_normal((1, 32, 6, 6)).astype("f4")} for _ in range(count)]


def layers(model):
    rng, found = np.random.default_rng(0), []
    for node in model.graph.node:
        if node.op_type == "Conv":
            met = Moments(node, (16, 32, 1, 1))
            for feed in data():
                met.add(feed["input"], rng)
            found.append(read_layer(model, node, x=Grid(np.float32(0.02), 128), moments=met))
    return found


def test_gain_is_what_an_error_of_a_layer_becomes_at_the_outputs():
    model = two_layers(loud=3)
    a, b = layers(model)
    probe = accumulation.Probe(model, [a, b], data(4))
    variance = np.concatenate([x.ravel() for (x,) in probe.wanted]).var()
    step = np.full(16, 1e-3)  # outputs are averages over 16 channels of errors summed over them
    for layer in (a, b):
        np.testing.assert_allclose(probe.gain(layer, step), 1 / 16 / variance, rtol=0.2)


def test_errors_of_all_layers_at_once_are_the_sum_of_those_of_each():
    model = two_layers(loud=3)
    a, b = layers(model)
    probe = accumulation.Probe(model, [a, b], data(4))
    steps = [(a, np.full(16, 1e-3)), (b, np.full(16, 2e-3))]
    apart = sum(probe.gain(*given) * accumulation.expected(*given) for given in steps)
    np.testing.assert_allclose(probe.together(steps, limit=1.0), apart, rtol=0.2)


def test_where_all_layers_together_leave_the_budget_none_is_measured_alone(monkeypatch):
    monkeypatch.setattr(accumulation, "BUDGET", 1.0)
    monkeypatch.setattr(accumulation.Probe, "gain", None)
    chosen = json.loads(g.metadata(quantize(never_merged(), data()))["pycompress.accumulate"])
    assert chosen == {"a": 8, "b": 8}


def test_larger_budgets_give_larger_depths():
    model, seen = two_layers(), []
    probe = accumulation.Probe(model, layers(model), data(4))
    options = [accumulation.Options(probe, layer).choices(accumulation.COST) for layer in layers(model)]
    for budget in (0.0, 1e-6, 1e-5, 1e-4, 1.0):
        taken = accumulation.cheapest(options, budget)
        assert sum(c.added for c in taken) <= budget
        seen.append(sum(c.cost for c in taken))
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == sum(own[0].cost for own in options) and seen[-1] == sum(own[-1].cost for own in options)


def test_what_is_added_is_measured_from_depth_two():
    model = two_layers()
    a, _ = layers(model)
    probe = accumulation.Probe(model, layers(model), data(4))
    two, four, eight = accumulation.Options(probe, a).choices(accumulation.COST)
    assert (two.value.T, four.value.T, eight.value.T) == (2, 4, 8)
    assert two.added == 0 < four.added < eight.added and two.cost > four.cost > eight.cost
    gain = probe.gain(a, eight.value.scale)
    most, least = (a.error(round_layer(a, T, 1).off(a.w32)) for T in (8, 2))
    np.testing.assert_allclose(eight.added, gain * (most - least))


def test_the_budget_goes_where_it_saves_most():
    def layer(*choices):
        return [accumulation.Choice(None, cost, added) for cost, added in choices]

    loud, quiet = layer((10.0, 0.0), (8.0, 5.0), (7.0, 9.0)), layer((10.0, 0.0), (8.0, 0.5), (7.0, 1.0))
    taken = accumulation.cheapest([loud, quiet], 1.5)
    assert [(c.cost, c.added) for c in taken] == [(10.0, 0.0), (7.0, 1.0)]
    assert [c.cost for c in accumulation.cheapest([loud, quiet], 0.0)] == [10.0, 10.0]
    assert [c.cost for c in accumulation.cheapest([loud, quiet], 10.0)] == [7.0, 7.0]


def test_layers_whose_errors_matter_more_get_smaller_depths(monkeypatch):
    monkeypatch.setattr(accumulation, "BUDGET", 1e-4)
    chosen = json.loads(g.metadata(quantize(never_merged(loud=30), data()))["pycompress.accumulate"])
    assert chosen["a"] < chosen["b"]


def test_what_was_chosen_stands_in_the_metadata_for_all_layers_that_have_a_choice():
    model = zoo.mobilenetv2(width=0.25, resolution=64, classes=20)
    samples = [photos.preprocess(c) for c in photos.crops(photos.CALIBRATION, 4, 0, 64)]
    told = json.loads(g.metadata(quantize(model, samples, accumulate=4))["pycompress.accumulate"])
    dense = {n.name for n in model.graph.node if n.op_type in ("Conv", "Gemm") and g.attribute(n, "group", 1) == 1}
    assert told == dict.fromkeys(dense, 4)
    auto = json.loads(g.metadata(quantize(model, samples))["pycompress.accumulate"])
    assert set(auto) == dense and set(auto.values()) <= {2, 4, 8}


def test_models_whose_answers_are_no_floats_are_judged_by_the_floats_before_them():
    model = two_layers()
    without = json.loads(g.metadata(quantize(model, data()))["pycompress.accumulate"])
    model.graph.node.append(helper.make_node("ArgMax", ["output"], ["best"], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 1, 6, 6]))
    onnx.checker.check_model(model)
    chosen = json.loads(g.metadata(quantize(model, data()))["pycompress.accumulate"])
    assert chosen == without


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("rank", [1, 2])
def test_convolutions_of_all_kinds_can_be_probed(rank, group):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 16 // group, *[3] * rank)).astype("f4")
    node = helper.make_node("Conv", ["input", "w"], ["output"], name="c", group=group)
    infos = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 16, *[8] * rank])]
    out = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 8, *[6] * rank])]
    graph = helper.make_graph([node], "g", infos, out, [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    samples = [rng.standard_normal((1, 16, *[8] * rank)).astype("f4") for _ in range(4)]
    assert json.loads(g.metadata(quantize(model, samples))["pycompress.accumulate"])["c"] in (2, 4, 8)
