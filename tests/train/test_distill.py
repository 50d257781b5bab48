"""Students learn what teachers know, from labels, from soft targets without labels, and from within."""

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from pycompress.train import Twin, data, fit  # noqa: E402
from pycompress.train.data import Normalize  # noqa: E402
from pycompress.train.distill import Distill, Distillation  # noqa: E402
from pycompress.train.feed import DataFeed, Parts, accuracy, some_labels  # noqa: E402
from pycompress.train.finetune import Setup, finetune  # noqa: E402
from pycompress.train.loop import Batch  # noqa: E402
from pycompress.train.schedule import Training  # noqa: E402
from pycompress.train.structure import fresh  # noqa: E402
from pycompress.train.teacher import Teacher, logits  # noqa: E402

NORMALIZE = Normalize((0.5,), (0.25,), 1)
QUICK = Training(epochs=6, batch=32)


@pytest.fixture(scope="module")
def parts():
    train, valid = data.split(data.load("digits"), 300)
    return Parts(train, valid, data.load("digits", "test"), NORMALIZE)


@pytest.fixture
def teacher(trained_tiny):
    return onnx.load(trained_tiny)


def test_the_engine_and_torch_say_the_same(teacher, parts):
    x = parts.normalize(parts.valid.images[:40])
    torch.testing.assert_close(Teacher(teacher)(x), Teacher(Twin(teacher))(x), atol=1e-4, rtol=1e-4)


def test_logits_are_computed_once(teacher, parts, tmp_path):
    feed = DataFeed(parts.valid, 32, NORMALIZE)
    asked = []

    class Counting(Teacher):
        def __call__(self, x):
            asked.append(len(x))
            return super().__call__(x)

    first = logits(Counting(teacher), feed.in_order, len(parts.valid), key=feed.key(), folder=tmp_path)
    assert sum(asked) == len(parts.valid) and first.shape == (300, 10)
    again = logits(Counting(teacher), feed.in_order, len(parts.valid), key=feed.key(), folder=tmp_path)
    assert sum(asked) == len(parts.valid) and torch.equal(first, again)
    other = DataFeed(parts.valid, 32, Normalize((0.4,), (0.25,), 1))
    logits(Counting(teacher), other.in_order, len(parts.valid), key=other.key(), folder=tmp_path)
    assert sum(asked) == 2 * len(parts.valid)
    (damaged, _) = sorted(tmp_path.iterdir(), key=lambda p: p.stat().st_mtime)
    damaged.write_bytes(b"damaged")
    assert torch.equal(logits(Teacher(teacher), feed.in_order, 300, key=feed.key(), folder=tmp_path), first)


def test_a_teacher_that_is_not_finite_is_refused(parts):
    class Broken(torch.nn.Module):
        def forward(self, x):
            return torch.full((len(x), 10), float("nan"))

    feed = DataFeed(parts.valid, 32, NORMALIZE)
    with pytest.raises(ValueError, match="images 0 to 255 are not finite"):
        logits(Teacher(Broken()), feed.in_order, 300, key=feed.key())


def test_soft_targets_teach_images_without_labels(tiny, teacher, parts, tmp_path):
    """A hundred labels alone, against the same labels and a teacher's word on all images."""
    labelled = some_labels(parts.train, 100)
    assert labelled.sum() == 100 and np.bincount(parts.train.labels[labelled]).min() >= 9
    alone, _ = finetune(fresh(tiny), parts, Training(epochs=70, batch=32), Setup(labelled=labelled))
    options = Distillation("", weight=0.9, temperature=2)
    taught, _ = finetune(
        fresh(tiny), parts, QUICK, Setup(labelled=labelled, distill=(options, teacher), cache=tmp_path)
    )
    right = [accuracy(model, parts.test, NORMALIZE) for model in (alone, taught)]
    assert right[1] > right[0] + 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"method": "dkd"},
        {"online": True},
        {"hints": {"first.project.bn.out": "head.act.out"}},
        {"attention": {"first.project.bn.out": "head.act.out"}},
    ],
)
def test_every_kind_of_distillation_learns(tiny, teacher, parts, options):
    _, outcome = finetune(fresh(tiny), parts, QUICK, Setup(distill=(Distillation("", **options), teacher)))
    assert outcome.accuracy > 0.6 and outcome.history[-1]["loss"] < outcome.history[0]["loss"]


def test_hints_resume_with_their_adapters(tiny, teacher, parts, tmp_path):
    setup = Setup(distill=(Distillation("", hints={"first.project.bn.out": "head.act.out"}), teacher))
    how = Training(epochs=2, batch=64)

    def stop(done, total):
        if done == 20:
            raise InterruptedError

    whole, _ = finetune(fresh(tiny), parts, how, setup)
    with pytest.raises(InterruptedError):
        finetune(fresh(tiny), parts, how, setup, checkpoint=tmp_path / "c", progress=stop)
    assert finetune(fresh(tiny), parts, how, setup, checkpoint=tmp_path / "c", resume=True)[0] == whole


def test_the_teacher_must_have_the_tensors_and_the_classes(tiny, teacher, parts):
    with pytest.raises(ValueError, match="the teacher has no tensor 'nowhere'"):
        finetune(
            tiny, parts, QUICK, Setup(distill=(Distillation("", hints={"first.project.bn.out": "nowhere"}), teacher))
        )
    with pytest.raises(ValueError, match="it must be a model that a twin can run"):
        Distill(Distillation("", hints={"a": "b"}), Teacher(torch.nn.Flatten()))
    objective = Distill(Distillation(""), torch.zeros(4, 7))
    batch = Batch(torch.arange(4), torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="the teacher has 7 classes and the student 10"):
        objective(Twin(tiny), batch)


@pytest.mark.parametrize("options", [{"method": "hard"}, {"temperature": 0}, {"weight": 1.5}, {"alpha": -1}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Distillation("self", **options)


def test_self_distillation_trains_twice(tiny, parts, tmp_path):
    recipe = {"fresh": True, "train": {"epochs": 2, "batch": 64}, "distill": {"teacher": "self"}}
    result = fit(tiny, parts, recipe, out=tmp_path / "run")
    assert list(result.stages) == ["alone", "train"]
    first, second = (onnx.load(tmp_path / "run" / f"{name}.onnx") for name in result.stages)
    assert first != second
