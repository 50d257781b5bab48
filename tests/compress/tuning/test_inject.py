import numpy as np
import pytest

import pycompress
from pycompress import zoo
from pycompress.compress.model import graph as g
from pycompress.compress.model.layers import float_model
from pycompress.compress.tuning.inject import Injector, Section, after


@pytest.fixture(scope="module")
def network():
    model = float_model(zoo.mobilenetv2(width=0.35, resolution=32, classes=4))
    x = np.random.default_rng(0).standard_normal((3, 1, 3, 32, 32)).astype(np.float32)
    return model, [{"input": a} for a in x]


def test_only_what_depends_on_a_tensor_is_run_again(network):
    model, _ = network
    nodes, others = after(model, "blocks.2.expand.act.out")
    names = [n.name for n in nodes]
    assert "stem.conv" not in names and "blocks.2.project.conv" in names
    assert others == ["blocks.1.project.bn.out"]  # the residual


def test_an_injected_layer_gives_the_outputs_of_the_changed_model(network):
    model, samples = network
    name = "blocks.4.expand.conv"
    pruned = pycompress.prune(model, {name: 0.6})
    node = next(n for n in model.graph.node if n.name == name)
    injector = Injector(model, ["logits"], [node.output[0], node.input[0]], samples)
    values = Section(pruned, node.input[0], node.output[0]).run([v[node.input[0]] for v in injector.values])
    whole, changed = (pycompress.InferenceSession(m) for m in (model, pruned))
    noise = signal = 0.0
    for sample, value, own in zip(samples, values, injector.values):
        wanted = changed.run(None, sample)[0]
        np.testing.assert_allclose(injector.outputs(node.output[0], value, own)[0], wanted, rtol=1e-4, atol=1e-5)
        right = whole.run(None, sample)[0]
        noise, signal = noise + np.square(wanted - right).sum(), signal + np.square(right).sum()
    assert injector.error(node.output[0], values) == pytest.approx(noise / signal, rel=1e-3)


def test_nothing_injected_is_no_error(network):
    model, samples = network
    (out,) = g.outputs(model)
    injector = Injector(model, [out], ["stem.act.out", out], samples)
    assert injector.error(out, [v[out] for v in injector.values]) == 0
    assert injector.error("stem.act.out", [v["stem.act.out"] for v in injector.values]) < 1e-10


def test_outputs_that_are_not_finite_are_named(network):
    model, samples = network
    blown = g.copied(model)
    weights = next(t for t in blown.graph.initializer if t.name == "classifier.weight")
    weights.raw_data = np.full(weights.dims, np.inf, np.float32).tobytes()
    end = blown.graph.output[0].name
    with pytest.raises(pycompress.ModelError, match=f"tensor '{end}' is not finite"):
        Injector(blown, [end], [], samples)
