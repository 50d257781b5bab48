"""Losses against their definitions, written out."""

import math

import pytest

torch = pytest.importorskip("torch")

from pycompress.train import losses  # noqa: E402


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 4), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, -1, -1])


def test_images_without_labels_do_not_count_in_cross_entropy(logits):
    said, _, labels = logits
    probability = said.softmax(1)
    want = -sum(math.log(probability[i, i]) for i in range(4)) / 4
    assert losses.cross_entropy(said, labels).item() == pytest.approx(want, rel=1e-5)
    assert losses.cross_entropy(said[4:], labels[4:]).item() == 0


def test_smoothing_spreads_a_share_of_the_target(logits):
    said, _, labels = logits
    sure = said.log_softmax(1)[:4]
    want = -(0.9 * sure.diagonal() + 0.1 * sure.mean(1)).mean()
    assert losses.cross_entropy(said, labels, 0.1).item() == pytest.approx(want.item(), rel=1e-5)


def test_soft_targets_are_the_divergence_times_the_squared_temperature(logits):
    said, teacher, _ = logits
    p, q = (teacher / 3).softmax(1), (said / 3).softmax(1)
    want = 9 * (p * (p / q).log()).sum(1).mean()
    assert losses.soft_targets(said, teacher, 3).item() == pytest.approx(want.item(), rel=1e-5)


def test_decoupled_with_the_teachers_own_weights_is_soft_targets(logits):
    """KL = binary + (1 - p of the target) * KL among the others, so one image at a time they agree."""
    said, teacher, _ = logits
    for i in range(len(said)):
        row, told = said[i : i + 1], teacher[i : i + 1]
        for label in (2, -1):
            target = label if label >= 0 else int(told.argmax())
            rest = 1 - (told / 2).softmax(1)[0, target].item()
            got = losses.decoupled(row, told, torch.tensor([label]), 2, 1, rest)
            assert got.item() == pytest.approx(losses.soft_targets(row, told, 2).item(), rel=1e-4)


def test_gradients_of_decoupled_are_finite_where_the_teacher_is_certain():
    said = torch.zeros(1, 3, requires_grad=True)
    losses.decoupled(said, torch.tensor([[80.0, 0.0, 0.0]]), torch.tensor([0]), 1).backward()
    assert said.grad.isfinite().all()


def test_attention_ignores_channels_and_scale_but_not_place():
    x = torch.rand(2, 3, 4, 4)
    assert losses.attention_transfer(x, 7 * torch.cat([x, x], 1)).item() < 1e-6
    assert losses.attention_transfer(x, x.flip(3)).item() > 1e-3
    assert losses.attention_transfer(x, torch.rand(2, 8, 8, 8)).isfinite()


def test_attention_is_for_images():
    with pytest.raises(ValueError, match=r"teacher's tensor has shape \[2, 3\]"):
        losses.attention_transfer(torch.rand(2, 3, 4, 4), torch.rand(2, 3))


def test_adapters_learn_what_a_linear_map_can():
    torch.manual_seed(0)
    x = torch.randn(16, 3, 5, 5)
    far = torch.einsum("oc,nchw->nohw", torch.randn(6, 3), x)
    hints = losses.Hints({"a": "b"}, {"a": x}, {"b": far})
    steps = torch.optim.Adam(hints.parameters(), 0.05)
    first = hints({"a": x}, {"b": far}).item()
    for _ in range(200):
        steps.zero_grad()
        loss = hints({"a": x}, {"b": far})
        loss.backward()
        steps.step()
    assert loss.item() < 1e-3 * first


def test_hints_between_an_image_and_a_vector_are_refused():
    with pytest.raises(ValueError, match="hint 'a'.*the teacher's 'b'"):
        losses.Hints({"a": "b"}, {"a": torch.rand(2, 3, 4, 4)}, {"b": torch.rand(2, 3)})
