"""The loop learns, stops, and goes on where it was."""

import pytest

torch = pytest.importorskip("torch")

from pycompress.errors import TrainingError  # noqa: E402
from pycompress.train.loop import Part, run  # noqa: E402
from pycompress.train.losses import cross_entropy  # noqa: E402
from pycompress.train.schedule import Optimizers, Training, rate_at  # noqa: E402

QUICK = {"epochs": 3, "batch": 64, "rate": 0.2, "warmup": 0.5}


def objective(model, batch):
    return cross_entropy(model(batch.x), batch.y)


def trained(model, digits, path=None, resume=False, parts=(), log=None, progress=None, aim=objective, **options):
    options = Training(**{**QUICK, **options})
    return run(model, digits, objective=aim, evaluate=digits.accuracy, training=options, parts=parts,
               checkpoint=path, resume=resume, log=log, progress=progress)  # fmt: skip


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Stop(Exception):
    pass


def stop_after(steps):
    def progress(done, total):
        if done == steps:
            raise Stop

    return progress


def test_it_learns_and_tells_of_each_epoch(digits, perceptron):
    told = []
    outcome = trained(perceptron(), digits, epochs=8, log=told.append)
    assert outcome.accuracy > 0.85
    assert [row["step"] for row in outcome.history] == list(range(8, 65, 8))
    assert [row["event"] for row in told] == ["epoch"] * 8 and told[-1]["loss"] < told[0]["loss"] / 2


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "adamw", "rate": 0.01, "ema": 0.9}, {"keep": "best", "clip": 1.0}]
)
@pytest.mark.parametrize("steps", [5, 8, 19])
def test_an_interrupted_run_ends_with_the_same_bits(digits, perceptron, tmp_path, options, steps):
    whole, halves = perceptron(), perceptron()
    expected = trained(whole, digits, **options)
    with pytest.raises(Stop):
        trained(halves, digits, tmp_path / "run", progress=stop_after(steps), save_seconds=0, **options)
    halves = perceptron(seed=1)  # nothing of it is used
    told = []
    outcome = trained(halves, digits, tmp_path / "run", resume=True, log=told.append, **options)
    assert told[0]["event"] == "resumed" and told[0]["step"] < 24
    assert same(whole, halves) and outcome == expected


def test_a_finished_run_resumes_to_what_it_was(digits, perceptron, tmp_path):
    first, again = perceptron(), perceptron()
    expected = trained(first, digits, tmp_path / "run")
    assert trained(again, digits, tmp_path / "run", resume=True) == expected and same(first, again)


def test_the_callers_random_numbers_are_left_alone(digits, perceptron):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(perceptron(), digits, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_nothing_is_overwritten_unasked(digits, perceptron, tmp_path):
    trained(perceptron(), digits, tmp_path / "run", epochs=1)
    with pytest.raises(FileExistsError, match="holds a run already"):
        trained(perceptron(), digits, tmp_path / "run", epochs=1)


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_good_checkpoint(digits, perceptron, tmp_path):
    count = 0

    def breaks(model, batch):
        nonlocal count
        count += 1
        return objective(model, batch) * (float("nan") if count == 12 else 1)

    with pytest.raises(TrainingError, match=r"loss is nan at step 12 \(epoch 2\).*last good checkpoint"):
        trained(perceptron(), digits, tmp_path / "run", aim=breaks)
    whole, resumed = perceptron(), perceptron()
    trained(whole, digits)
    trained(resumed, digits, tmp_path / "run", resume=True)
    assert same(whole, resumed)


def test_weights_that_are_not_finite_are_never_saved(digits, perceptron, tmp_path):
    class Break(Part):
        def after(self, step, optimizer):
            if step == 15:
                optimizer.each[0].param_groups[0]["params"][0].data[0, 0] = float("inf")

    with pytest.raises(TrainingError, match=r"1\.weight is not finite any more at step 16 \(epoch 2\)"):
        trained(perceptron(), digits, tmp_path / "run", parts=[Break()])
    saved = torch.load(tmp_path / "run", weights_only=True)
    assert all(v.isfinite().all() for v in saved["model"].values())


def test_a_checkpoint_of_another_network_is_refused(digits, perceptron, tmp_path):
    trained(perceptron(), digits, tmp_path / "run", epochs=1)
    with pytest.raises(
        TrainingError, match=r"another network: 1.weight is float32\[24, 64\] there and float32\[32, 64\]"
    ):
        trained(perceptron(32), digits, tmp_path / "run", resume=True, epochs=1)


def test_a_checkpoint_of_other_options_is_refused(digits, perceptron, tmp_path):
    trained(perceptron(), digits, tmp_path / "run", epochs=1)
    with pytest.raises(TrainingError, match=r"made with rate 0.2, now it is 0.1"):
        trained(perceptron(), digits, tmp_path / "run", resume=True, epochs=1, rate=0.1)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(digits, perceptron, tmp_path, damage):
    trained(perceptron(), digits, tmp_path / "run", epochs=1)
    (tmp_path / "run").write_bytes(damage((tmp_path / "run").read_bytes()))
    with pytest.raises(TrainingError, match="not a checkpoint of ours, or damaged"):
        trained(perceptron(), digits, tmp_path / "run", resume=True, epochs=1)


def test_it_stops_early_and_returns_the_best_epoch(digits, perceptron):
    measured = iter([0.5, 0.7, 0.6, 0.65, 0.9])
    kept = []

    def evaluate(model):
        kept.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"accuracy": next(measured)}

    model = perceptron()
    training = Training(**{**QUICK, "epochs": 5, "patience": 2})
    outcome = run(model, digits, objective=objective, evaluate=evaluate, training=training)
    assert (outcome.epoch, outcome.accuracy, len(outcome.history)) == (2, 0.7, 4)
    assert outcome.stopped == "no better accuracy for 2 epochs"
    assert all(torch.equal(v, kept[1][k]) for k, v in model.state_dict().items())


def test_no_epoch_before_the_final_form_is_the_best(digits, perceptron):
    class Late(Part):
        def settled(self, step):
            return step >= 16

    assert trained(perceptron(), digits, keep="best", parts=[Late()]).epoch >= 2


def test_vectors_do_not_decay(perceptron):
    groups = Optimizers([perceptron()], Training()).each[0].param_groups
    assert [g["weight_decay"] for g in groups] == [1e-4, 0.0]
    assert all(p.dim() > 1 for p in groups[0]["params"]) and all(p.dim() == 1 for p in groups[1]["params"])


def test_the_rate_rises_in_the_warm_up_and_ends_where_it_should():
    rates = [rate_at(i, 100, 10, 0.4, 0.1) for i in range(101)]
    assert rates[9] == rates[10] == pytest.approx(0.4) and rates[-1] == pytest.approx(0.04)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    "name, value", [("epochs", -1), ("optimizer", "lion"), ("rate", float("nan")), ("keep", "all")]
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: .* is out of range"):
        Training(**{name: value})
