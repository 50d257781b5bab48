"""Shared weights, search by gradients, and training: seconds on digits."""

import numpy as np
import pytest
import spaces

torch = pytest.importorskip("torch")
optuna = pytest.importorskip("optuna")
pytest.importorskip("sklearn")
from pycompress.search import evaluate, gradient, samplers, supernet  # noqa: E402
from pycompress.search.space import read  # noqa: E402
from pycompress.search.table import Table  # noqa: E402
from pycompress.train.twin import Twin  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
DIGITS = {"data": {"path": "digits", "validation": 0.2}, "recipe": {"train": {"epochs": 1, "batch": 64}}}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def parts(size=8):
    return evaluate.parts_of(evaluate.data_of(read(spaces.MOBILE | DIGITS)), size, 1, 10)


def filled(space) -> Table:
    table = Table.here()
    table.blocks = {block.key: 1e-9 * (1 + block.macs) for block in space.blocks()}
    return table


@pytest.mark.parametrize("table", [spaces.MOBILE, spaces.CELLS, spaces.INT8], ids=["mobile", "cells", "int8"])
def test_every_network_of_the_space_runs_on_the_shared_weights(table):
    space, rng = read(table), np.random.default_rng(0)
    net = supernet.Supernet(space)
    for _ in range(15):
        logits = net(torch.randn(4, 1, 8, 8), space.network(space.random(rng)))
        assert logits.shape == (4, 10) and torch.isfinite(logits).all()


@pytest.mark.parametrize("table", [spaces.MOBILE, spaces.CELLS], ids=["mobile", "cells"])
def test_the_shared_network_computes_what_the_onnx_network_does(table):
    """With the weights of the twin of the same network, and statistics of the batch."""
    space, rng = read(table), np.random.default_rng(4)
    net = supernet.Supernet(space)
    for _ in range(6):
        network = space.network(space.random(rng))
        twin = Twin(network.onnx(batch=None)).train()
        given = _copied(net, network, twin)
        x = torch.randn(16, 1, network.resolution, network.resolution)
        assert given and torch.allclose(net(x, network), twin(x), atol=1e-3, rtol=1e-3)


def _copied(net, network, twin) -> int:
    """Write the shared weights that `network` uses into the twin; how many there were."""
    count = 0
    with torch.no_grad():
        for layer in twin.layers:
            name = layer.node.removesuffix(".conv")
            w = net.weights[supernet._slot(name, "weight")]
            have = layer.parameter
            if w.dim() == 4:
                edge = (w.shape[2] - have.shape[2]) // 2
                w = w[:, :, edge : edge + have.shape[2], edge : edge + have.shape[2]]
            have.copy_(w[: have.shape[0], : have.shape[1]].reshape(have.shape))
            count += 1
        for name, parameter in twin.named_parameters():
            if name.endswith("bias") and parameter.dim() == 1:
                parameter.zero_()  # all biases and betas of the shared network begin at zero
    return count


def test_training_the_shared_weights_helps_every_network():
    space, data = read(spaces.MOBILE), parts()
    net = supernet.Supernet(space)
    supernet.train(net, data, epochs=12, batch=64)
    shared = supernet.Shared(net, data)
    rng = np.random.default_rng(5)
    for _ in range(4):
        choice = space.random(rng)
        assert shared(choice, space.network(choice)) > 0.5


def test_the_gradient_of_the_latency_is_that_of_the_expected_one():
    """Averaged over draws, on a space that is small enough to add up all its networks."""
    space = read(
        {"kind": "mobile", "input": {"channels": 1, "classes": 10, "resolution": 8}, "stages": [{"out": [8, 32], "kernel": [3, 5], "expansion": [1, 4]}]}
    )  # fmt: skip
    table = filled(space)
    latency = lambda choice: table.predict(space.network(choice))  # noqa: E731
    chances = gradient.Chances(space)
    with torch.no_grad():
        for i, logits in enumerate(chances.logits):
            logits.copy_(torch.randn(len(logits), generator=torch.Generator().manual_seed(i)))
    names, exact = [d.name for d in space.decisions], torch.zeros(())
    grid = np.array(np.meshgrid(*[range(len(d.values)) for d in space.decisions])).reshape(len(names), -1).T
    for at in grid:
        likely = torch.stack([x.softmax(0)[i] for x, i in zip(chances.logits, at)]).prod()
        exact = exact + likely * latency({d.name: d.values[i] for d, i in zip(space.decisions, at)})
    wanted = torch.autograd.grad(exact, list(chances.parameters()))
    run, count = torch.Generator().manual_seed(0), 400
    for _ in range(count):
        choice, _ = chances.draw(1.0, run)
        (chances.latency(choice, latency) / count).backward()
    for a, p in zip(wanted, chances.parameters()):
        assert torch.allclose(a, p.grad, rtol=0.1, atol=0.02 * float(max(w.abs().max() for w in wanted)))


def test_factors_are_one_and_reach_every_used_decision():
    space = read(spaces.CELLS)
    net, chances = supernet.Supernet(space), gradient.Chances(space)
    choice, factors = chances.draw(1.0, torch.Generator().manual_seed(0))
    gates = gradient._gates(space, choice, factors)
    x = torch.randn(8, 1, 8, 8)
    assert torch.allclose(net(x, space.network(choice), gates), net(x, space.network(choice)), atol=1e-5)
    net(x, space.network(choice), gates).square().sum().backward()
    reached = {d.name for d, p in zip(space.decisions, chances.logits) if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached <= space.used(choice) and len(reached) > len(space.used(choice)) / 2


def mean_latency(space, table, chances):
    """Of networks that are drawn by `chances`."""
    later = optuna.trial.create_trial(values=[0])
    later.number = 1
    learned = samplers.Learned(space, chances, seed=0)
    return np.mean([table.predict(space.network(learned.sample_relative(None, later, None))) for _ in range(50)])


def test_a_search_by_gradients_learns_chances_and_keeps_to_the_limit():
    space, data = read(spaces.MOBILE), parts()
    table = filled(space)
    limit = 2 * table.predict(space.network(space.smallest()))
    options = gradient.Gradient(epochs=3, warmup=1, batch=64, pressure=3.0, chance_rate=0.2)
    chances = gradient.gradient_search(space, supernet.Supernet(space), data, table, limit, options)
    assert all(abs(sum(p) - 1) < 1e-5 for p in chances.values())
    rng = np.random.default_rng(0)
    before = np.mean([table.predict(space.network(space.random(rng))) for _ in range(200)])
    assert mean_latency(space, table, chances) < 0.9 * before


def test_a_search_by_gradients_does_not_settle_below_its_limit():
    space, data = read(spaces.MOBILE), parts()
    table = filled(space)
    smallest = table.predict(space.network(space.smallest()))
    options = gradient.Gradient(epochs=6, warmup=1, batch=64, pressure=3.0, chance_rate=0.2)
    chances = gradient.gradient_search(space, supernet.Supernet(space), data, table, 2 * smallest, options)
    assert mean_latency(space, table, chances) > 1.5 * smallest


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_networks_are_trained_and_judged_in_their_precision(precision, tmp_path):
    table = (spaces.INT8 if precision == "int8" else spaces.MOBILE) | DIGITS
    table = table | {"recipe": {"train": {"epochs": 4, "batch": 64}}}
    space = read(table)
    judge = evaluate.Trained(evaluate.data_of(space), evaluate.recipe_of(space), precision)
    choice = {d.name: d.values[-1] for d in space.decisions} | {"resolution": 8}
    model = judge.model(space.network(choice), tmp_path / "x")
    assert ("QuantizeLinear" in {n.op_type for n in model.graph.node}) == (precision == "int8")
    assert judge(choice, space.network(choice)) > 0.5


@pytest.mark.parametrize(
    "change, said",
    [
        ({"data": None}, "space.data: missing"),
        ({"data": {"path": "digits", "size": 9}}, "space.data.size: the space's input says it"),
        ({"data": {"paht": "digits"}}, "space.data.paht: unknown key; did you mean path"),
        ({"recipe": {"trian": {}}}, "space.recipe.trian: unknown key"),
        ({"recipe": {"model": "x"}}, "space.recipe.model: a search has no use for it"),
    ],
)
def test_mistakes_in_data_and_recipe_are_named(change, said):
    table = {k: v for k, v in (spaces.MOBILE | DIGITS | change).items() if v is not None}
    with pytest.raises(ValueError, match=said):
        space = read(table)
        evaluate.data_of(space)
        evaluate.recipe_of(space)


def test_a_space_of_other_classes_than_the_data_is_refused():
    with pytest.raises(ValueError, match="space.input.classes: 7, and digits has 10"):
        evaluate.parts_of(evaluate.data_of(read(spaces.MOBILE | DIGITS)), 8, 1, 7)
