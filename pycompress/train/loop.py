"""The one training loop: optimizer, schedule, moving average, evaluation, early stopping, checkpoints.

Everything that a step depends on is a function of the seed, the epoch and the step, or is in the checkpoint. So a run
that was killed and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from . import checkpoint as files
from .schedule import Optimizers, Training, average, copied, rate_at

Log = Callable[[dict], None]


class Batch(NamedTuple):
    """Images with their places in the data: index int64[n], x float32[n, channels, height, width], y int64[n]."""

    index: Tensor
    x: Tensor
    y: Tensor


class Feed(Protocol):
    """Where batches come from. The batches of an epoch are the same each time they are asked for."""

    steps: int  # of an epoch

    def batches(self, epoch: int) -> Iterator[Batch]: ...


Objective = Callable[[nn.Module, Batch], Tensor]
Evaluate = Callable[[nn.Module], dict[str, float]]


class Part:
    """What takes part in training beside the network: pruning, freezing, an adapter. This base class does nothing."""

    def before(self, step: int) -> None:
        """Called before step `step`, counted from 0 over all epochs."""

    def after(self, step: int, optimizer: Optimizers) -> None:
        """Called after it."""

    def settled(self, step: int) -> bool:
        """Whether the network has its final form after `step` steps: only then can an epoch be the best."""
        return True

    def scheduled(self, step: int) -> int:
        """The step whose learning rate applies at `step`."""
        return step

    def modules(self) -> list[nn.Module]:
        """Modules that are trained with the network, and not exported."""
        return []

    def state_dict(self) -> dict:
        """What a checkpoint must hold beside the modules: tensors, numbers, texts."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take back what `state_dict` gave."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: what was measured after each epoch, which epoch was kept, and why training ended."""

    history: list[dict] = field(repr=False)
    epoch: int
    accuracy: float
    stopped: str = "all epochs done"


def run(
    model: nn.Module,
    feed: Feed,
    *,
    objective: Objective,
    evaluate: Evaluate,
    training: Training,
    parts: Sequence[Part] = (),
    checkpoint: Path | None = None,
    resume: bool = False,
    log: Log | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Train `model`; afterwards it holds the weights of the epoch that is kept.

    Parameters
    ----------
    model : torch.nn.Module
    feed : Feed
    objective : callable
        The loss of a batch, given the model.
    evaluate : callable
        Measures the model after each epoch; "accuracy" must be among what it returns, and larger is better.
    training : Training
    parts : sequence of Part
        Called around each step, in this order.
    checkpoint : path, optional
        The file that holds the run's state; it is replaced as a whole.
    resume : bool
        Go on from the checkpoint, if there is one.
    log : callable, optional
        Called with a dict for each event.
    progress : callable, optional
        Called with the steps done and the steps of the whole run.

    Returns
    -------
    Outcome

    Raises
    ------
    TrainingError
        If the loss or a weight is no longer finite: the checkpoint then holds the last good state. If the checkpoint
        belongs to another network or other options.
    ValueError
        If there are no epochs.
    FileExistsError
        If there is a checkpoint and `resume` is not set.
    """
    if training.epochs < 1:
        raise ValueError("epochs: there are none")
    if checkpoint is not None and not resume and Path(checkpoint).exists():
        raise FileExistsError(f"{checkpoint} holds a run already: resume it, or name another folder")
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours to use up
        torch.manual_seed(training.seed)
        state = _Run(model, feed, objective, evaluate, training, parts, checkpoint, log, progress)
        if resume and checkpoint is not None and Path(checkpoint).exists():
            state.load()
        return state.train()


class _Run:
    """A run: its position, and all that a checkpoint holds."""

    def __init__(self, model, feed, objective, evaluate, training, parts, path, log, progress):
        self.model, self.feed, self.objective, self.evaluate = model, feed, objective, evaluate
        self.training, self.parts, self.path = training, list(parts), path
        self.log, self.progress = log or (lambda event: None), progress or (lambda done, total: None)
        self.extra = nn.ModuleList([m for part in parts for m in part.modules()])
        self.optimizer = Optimizers([model, self.extra], training)
        self.total = training.epochs * feed.steps
        self.epoch = self.within = 0  # epochs done, and steps of the present one
        self.loss = self.rate = 0.0  # the loss is summed over the present epoch
        self.history: list[dict] = []
        self.best: dict | None = None  # {"epoch", "accuracy", "weights"}
        self.stopped = ""
        self.average = copied(model) if training.ema else None
        self.saved = time.monotonic()

    @property
    def step(self) -> int:
        return self.epoch * self.feed.steps + self.within

    def train(self) -> Outcome:
        while self.epoch < self.training.epochs and not self.stopped:
            self._epoch()
        if self.best is not None and self._keeps_best():
            self.model.load_state_dict(self.best["weights"])
            return Outcome(self.history, self.best["epoch"], self.best["accuracy"], self.stopped or Outcome.stopped)
        if self.average is not None:
            self.model.load_state_dict(self.average)
        last = self.history[-1]
        return Outcome(self.history, last["epoch"], last["accuracy"], self.stopped or Outcome.stopped)

    def _epoch(self) -> None:
        started = time.monotonic()
        self.model.train()
        for batch in islice(self.feed.batches(self.epoch), self.within, None):
            self._step(batch)
            self.within += 1
            self.progress(self.step, self.total)
            if self.path is not None and time.monotonic() - self.saved >= self.training.save_seconds:
                self.save()
        self._check_weights()
        measured = self._measure()
        self.epoch, self.within = self.epoch + 1, 0
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "loss": self.loss / self.feed.steps,
            "rate": self.rate,
            **measured,
        }
        self.history.append(row)
        self.loss = 0.0
        self._judge(row)
        self.save()
        self.log({"event": "epoch", **row, "seconds": round(time.monotonic() - started, 2)})

    def _step(self, batch: Batch) -> None:
        at = self.step
        for part in self.parts:
            part.before(at)
        self._set_rate(at)
        self.optimizer.zero_grad()
        loss = self.objective(self.model, batch)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} {self._where(at)}; {self._kept()}")
        loss.backward()
        self.optimizer.step(self.training.clip)
        for part in self.parts:
            part.after(at, self.optimizer)
        self.loss += value
        if self.average is not None:
            average(self.average, self.model, min(self.training.ema, (1 + at) / (10 + at)))

    def _set_rate(self, at: int) -> None:
        for part in self.parts:
            at = part.scheduled(at)
        how = self.training
        self.rate = rate_at(at, self.total, round(how.warmup * self.feed.steps), how.rate, how.final)
        self.optimizer.set_rate(self.rate)

    def _measure(self) -> dict[str, float]:
        """What `evaluate` says of the weights that would be returned now."""
        own = None
        if self.average is not None:
            own = copied(self.model)
            self.model.load_state_dict(self.average)
        self.model.eval()
        try:
            with torch.no_grad():
                return self.evaluate(self.model)
        finally:
            if own is not None:
                self.model.load_state_dict(own)

    def _judge(self, row: dict) -> None:
        """Keep the weights if they are the best so far; stop if there were none better for long."""
        if not self._keeps_best() or not all(part.settled(self.step) for part in self.parts):
            return
        if self.best is None or row["accuracy"] > self.best["accuracy"]:
            weights = copied(self.model) if self.average is None else {k: v.clone() for k, v in self.average.items()}
            self.best = {"epoch": row["epoch"], "accuracy": row["accuracy"], "weights": weights}
        elif self.training.patience and row["epoch"] - self.best["epoch"] >= self.training.patience:
            self.stopped = f"no better accuracy for {self.training.patience} epochs"

    def _keeps_best(self) -> bool:
        return self.training.keep == "best" or self.training.patience > 0

    def _check_weights(self) -> None:
        """Refuse to go on, and above all to save, with weights that are not finite."""
        for name, value in [*self.model.named_parameters(), *self.extra.named_parameters()]:
            if not value.isfinite().all():
                raise TrainingError(f"{name} is not finite any more {self._where(self.step - 1)}; {self._kept()}")

    def _where(self, step: int) -> str:
        return f"at step {step + 1} (epoch {step // self.feed.steps + 1})"

    def _kept(self) -> str:
        if self.path is None or not Path(self.path).exists():
            return "nothing was saved before"
        return f"{self.path} holds the last good checkpoint; try a lower rate, or clip"

    # checkpoints

    def _fingerprint(self) -> dict:
        how = {k: v for k, v in asdict(self.training).items() if k != "save_seconds"}
        return {"network": files.shapes(self.model), "training": how, "steps": self.feed.steps}

    def save(self) -> None:
        """Write the whole state."""
        self.saved = time.monotonic()
        if self.path is None:
            return
        self._check_weights()
        files.write(
            self.path,
            {
                "run": self._fingerprint(),
                "model": self.model.state_dict(),
                "extra": self.extra.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "parts": [part.state_dict() for part in self.parts],
                "average": self.average,
                "random": torch.get_rng_state(),
                "position": [self.epoch, self.within],
                "loss": self.loss,
                "history": self.history,
                "best": self.best,
                "stopped": self.stopped,
            },
        )

    def load(self) -> None:
        """Take the state from the file."""
        held = files.read(self.path, self._fingerprint(), len(self.parts))
        self.model.load_state_dict(held["model"])
        self.extra.load_state_dict(held["extra"])
        for part, state in zip(self.parts, held["parts"]):
            part.load_state_dict(state)
        self.optimizer.load_state_dict(held["optimizer"])
        self.average, self.best, self.stopped = held["average"], held["best"], held["stopped"]
        self.history, self.loss = held["history"], held["loss"]
        self.epoch, self.within = held["position"]
        torch.set_rng_state(held["random"])
        self.log({"event": "resumed", "epoch": self.epoch + 1, "step": self.step})
