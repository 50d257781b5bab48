"""Zeros come as the schedule says, in the pattern asked for, and stay."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import pycompress as pc  # noqa: E402
from pycompress import zoo  # noqa: E402
from pycompress.compress.pruning.masks import found  # noqa: E402
from pycompress.train import Twin  # noqa: E402
from pycompress.train.loop import Batch, run  # noqa: E402
from pycompress.train.losses import cross_entropy  # noqa: E402
from pycompress.train.schedule import Training  # noqa: E402
from pycompress.train.sparsify import (  # noqa: E402
    Sparsify,
    Sparsity,
    as_matrix,
    chosen,
    cubic,
    from_matrix,
    hold,
    share_of_zeros,
    zeros_of,
)

STEPS = 4


@pytest.fixture
def twin():
    return Twin(zoo.build("mobilenetv1", width=0.25, resolution=32, batch=None, classes=4))


class Noise:
    steps = STEPS

    def batches(self, epoch):
        random = torch.Generator().manual_seed(epoch)
        for _ in range(STEPS):
            y = torch.arange(8) % 4
            yield Batch(torch.arange(8), torch.randn(8, 3, 32, 32, generator=random), y)


def trained(twin, part, epochs=4, progress=None, **more):
    aim = lambda model, batch: cross_entropy(model(batch.x), batch.y)  # noqa: E731
    how = Training(epochs=epochs, rate=0.05, warmup=0)
    return run(twin, Noise(), objective=aim, evaluate=lambda m: {"accuracy": 0.0}, training=how, parts=[part],
               progress=progress, **more)  # fmt: skip


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "16x1"])
def test_the_share_of_zeros_follows_the_schedule_and_zeros_stay(twin, pattern, scope):
    options = Sparsity(0.8, pattern, scope, begin=0.1, end=0.7, every=2)
    part = Sparsify(twin, options, 4 * STEPS, STEPS)
    shares, before = [], {}

    def watch(done, total):
        nonlocal before
        shares.append(share_of_zeros(twin, part.layers))
        now = {k: v.clone() for k, v in twin.masks.items()}
        assert all((now[k] <= before[k]).all() for k in before)
        before = now

    trained(twin, part, progress=watch)
    assert shares[0] == 0 and shares == sorted(shares)
    assert shares[-1] == pytest.approx(0.8, abs=0.04)
    layers = zeros_of(twin.onnx())
    assert set(layers) <= {layer.node for layer in part.layers} and len(layers) >= 12  # the first is narrow
    if pattern != "unstructured":
        assert {found(mask, 1) for mask in layers.values()} == {pattern}
    if scope == "layer":
        assert all(1 - mask.mean() == pytest.approx(0.8, abs=0.1) for mask in layers.values())


def test_n_of_m_comes_down_one_by_one(twin):
    part = Sparsify(twin, Sparsity(pattern="1:4", begin=0.0, end=0.9, every=1), 4 * STEPS, STEPS)
    kept = []

    def watch(done, total):
        mask, _ = as_matrix(part.layers[0], twin.masks[part.layers[0].weight])
        kept.append(int(mask.reshape(len(mask), -1, 4).sum(2).max()))

    trained(twin, part, progress=watch)
    assert kept == sorted(kept, reverse=True) and set(kept) == {3, 2, 1}


def test_each_layer_has_the_share_that_a_dict_gives_it(twin):
    ratios = {"blocks.1.pointwise.conv": 0.5, "blocks.2.pointwise.conv": 0.75}
    part = Sparsify(twin, Sparsity(ratios, end=0.5), 4 * STEPS, STEPS)
    trained(twin, part)
    layers = zeros_of(twin.onnx())
    assert {k: round(1 - v.mean(), 2) for k, v in layers.items()} == ratios


def test_first_convolution_classifier_and_depthwise_are_left_alone_unless_named(twin):
    names = {layer.node for layer in chosen(twin, Sparsity(0.5))}
    assert names == {f"blocks.{i}.pointwise.conv" for i in range(13)}
    assert [x.node for x in chosen(twin, Sparsity(0.5, layers=("stem.conv",)))] == ["stem.conv"]
    assert len(chosen(twin, Sparsity(0.5, exclude=()))) == 15
    assert len(chosen(twin, Sparsity(0.5, layers="pointwise", exclude=()))) == 14


def test_rewinding_goes_back_to_early_weights_with_late_masks(twin):
    part = Sparsify(twin, Sparsity(0.5, begin=0.3, end=0.6, rewind=1), 4 * STEPS, STEPS)
    seen = {}

    def watch(done, total):
        seen[done] = {k: v.clone() for k, v in twin.state_dict().items()}

    trained(twin, part, progress=watch)
    early, late = seen[STEPS], seen[part.end + 1]
    names = [k for k in early if not k.startswith("masks.")]
    assert all(torch.equal(early[k], late[k]) for k in names)
    assert share_of_zeros(twin, part.layers) == pytest.approx(0.5, abs=0.03)
    assert part.scheduled(part.end + 1) == STEPS and part.scheduled(4 * STEPS - 1) >= 4 * STEPS - 3


def test_a_run_interrupted_while_pruning_ends_with_the_same_bits(tmp_path):
    def network():
        twin = Twin(zoo.build("mobilenetv1", width=0.25, resolution=32, batch=None, classes=4))
        return twin, Sparsify(twin, Sparsity(0.7, begin=0.1, end=0.6, every=2, rewind=1), 4 * STEPS, STEPS)

    def stop(done, total):
        if done == 8:
            raise InterruptedError

    whole, part = network()
    trained(whole, part)
    halves, part = network()
    with pytest.raises(InterruptedError):
        trained(halves, part, checkpoint=tmp_path / "run", progress=stop)
    halves, part = network()
    trained(halves, part, checkpoint=tmp_path / "run", resume=True)
    a, b = whole.state_dict(), halves.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_zeros_of_one_model_are_held_in_the_next(twin):
    pruned = pc.prune(twin.onnx(), 0.6, pattern="1x4")
    again = Twin(pruned)
    zeros = zeros_of(pruned)
    assert hold(again, zeros) == list(zeros)
    with torch.no_grad():
        for layer in again.layers:
            layer.parameter.add_(1.0)
    after = zeros_of(again.onnx())
    assert after.keys() == zeros.keys() and all(np.array_equal(after[k], zeros[k]) for k in zeros)


def test_matrices_are_those_of_the_pruning_pass(twin):
    """Kernel cells first, then channels: blocks of channels lie together."""
    model = twin.onnx()
    for layer in twin.layers:
        x, cells = as_matrix(layer, layer.parameter)
        assert torch.equal(from_matrix(layer, x), layer.parameter)
    from pycompress.compress.model.layers import weighted_nodes
    from pycompress.compress.model.matrix import matrix

    for node, layer in zip(weighted_nodes(model), twin.layers):
        w, cells, _ = matrix(model, node)
        x, mine = as_matrix(layer, layer.parameter.detach())
        assert cells == mine and np.array_equal(x.numpy(), w.astype(np.float32))


def test_cubic_rises_from_nothing_to_all():
    assert [cubic(i, 2, 6, 0.9) for i in (0, 2)] == [0, 0] and cubic(6, 2, 6, 0.9) == cubic(9, 2, 6, 0.9) == 0.9


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, "sparsity: the pattern unstructured needs one"),
        ({"sparsity": 0.5, "pattern": "2:4"}, "sparsity: the pattern 2:4 determines it"),
        ({"sparsity": 1.5}, r"sparsity: 1.5 is not in \[0, 1\)"),
        ({"sparsity": 0.5, "pattern": "3x3"}, "pattern must be"),
        ({"sparsity": 0.5, "scope": "net"}, "scope: 'net'"),
        ({"sparsity": 0.5, "layers": "dense"}, "layers: 'dense'"),
        ({"sparsity": 0.5, "begin": 0.5, "end": 0.4}, "begin, end"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Sparsity(**options)


def test_names_that_no_layer_has_are_refused(twin):
    with pytest.raises(ValueError, match="layers: the network has no layer 'stem'; it has stem.conv"):
        chosen(twin, Sparsity({"stem": 0.5}))
