"""What is slower on integers stays in float: with given times, and measured ones."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model import graph as g
from pycompress.compress.tuning import pays

SAMPLES = np.random.default_rng(1).standard_normal((4, 8, 6, 6)).astype("f4")


def network():
    """Three convolutions in a row."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((8, 8, 1, 1)).astype("f4") / 3, f"w{i}") for i in range(3)]
    nodes = [helper.make_node("Conv", [f"t{i}", f"w{i}"], [f"t{i + 1}"], f"conv{i}") for i in range(3)]
    ports = [helper.make_tensor_value_info(f"t{i}", TensorProto.FLOAT, [1, 8, 6, 6]) for i in (0, 3)]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def integers(model):
    """The convolutions whose weights are codes."""
    made = {o for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return [n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] in made]


def given(monkeypatch, *totals, slow=("conv1",)):
    """Replaces what is measured by `totals` of the first models; steps of `slow` take twice as long on integers."""

    def measure(models, feed):
        told = []
        for model, total in zip(models, totals):
            found = integers(model)
            nodes = {f"conv{i}": 0.2 if f"conv{i}" in found and f"conv{i}" in slow else 0.1 for i in range(3)}
            told.append(nodes | {"others": total - sum(nodes.values())})
        return told

    monkeypatch.setattr(pays, "measure", measure)


def left(model):
    return pc.verdict(model).slower


def test_nodes_stay_in_float_if_the_model_gains_by_it(monkeypatch):
    given(monkeypatch, 10.0, 9.0, 8.0)
    model = pc.quantize(network(), SAMPLES, unless_slower=True)
    assert integers(model) == ["conv0", "conv2"] and left(model) == {"conv1": pays.STEP}
    assert pays.METADATA in g.metadata(model) and "1 node left in float" in str(pc.verdict(model))
    again = pc.quantize(network(), SAMPLES, exclude=["conv1"])
    run = [pc.InferenceSession(m).run(None, {"t0": SAMPLES[:1]})[0] for m in (model, again)]
    np.testing.assert_allclose(*run, rtol=0.1, atol=0.05)


def test_they_become_integers_if_it_does_not(monkeypatch):
    given(monkeypatch, 10.0, 8.0, 9.0)
    model = pc.quantize(network(), SAMPLES, unless_slower=True)
    assert len(integers(model)) == 3 and not left(model)


def test_a_model_that_is_not_faster_as_a_whole_stays_as_it_is(monkeypatch):
    given(monkeypatch, 10.0, 12.0, 11.0)
    model = pc.quantize(network(), SAMPLES, unless_slower=True)
    assert not integers(model) and set(left(model)) == {"conv0", "conv1", "conv2"}
    wanted, got = (pc.InferenceSession(m).run(None, {"t0": SAMPLES[:1]})[0] for m in (network(), model))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_times_are_measured_by_node():
    model = network()
    first, second = pays.measure([model, pc.quantize(model, SAMPLES)], {"t0": SAMPLES[:1]})
    for times in (first, second):
        assert {"conv0", "conv1", "conv2"} <= times.keys()
        assert min(times.values()) > 0


def test_what_cannot_be_timed_or_run_is_refused():
    model = network()
    model.graph.node.append(helper.make_node("Odd", ["t3"], ["t4"], "odd", domain="else"))
    model.opset_import.append(helper.make_opsetid("else", 1))
    model.graph.output[0].name = "t4"
    with pytest.raises(ValueError, match="unless_slower: node 'odd' cannot be timed"):
        pc.quantize(model, SAMPLES, unless_slower=True)
    with pytest.raises(ValueError, match="bias_correction=\"sequential\": node 'odd' cannot be run"):
        pc.quantize(model, SAMPLES, bias_correction="sequential")
