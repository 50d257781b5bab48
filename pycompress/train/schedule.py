"""The options of a run, its learning rates, its optimizer, and the moving average of its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .checkpoint import MASKS
from .fake import Step

OPTIMIZERS = ("sgd", "adamw")
STEPS_RATE = 0.2  # of SGD's rate: Adam's for quantization steps, which changes a step by this share at most


@dataclass(frozen=True)
class Training:
    """The options of a run.

    Attributes
    ----------
    epochs : int
        0: a recipe leaves the float network as it is.
    batch : int
        Images per step.
    optimizer : {"sgd", "adamw"}
        With Nesterov momentum, or with decoupled weight decay.
    rate, final : float
        The learning rate after warm-up, and at the end, as a share of `rate`; in between it falls as a cosine does.
    warmup : float
        Epochs in which the rate rises linearly.
    momentum, decay : float
        Of SGD; weight decay, which is for tensors of two and more dimensions only.
    ema : float
        The decay of a moving average of the weights, which is then evaluated and returned; 0: none.
    clip : float
        The largest norm of the gradient; 0: any, but 1 in recipes' stages that train a network without batch norm.
    smoothing : float
        Of the labels.
    patience : int
        Stop after this many epochs without a better accuracy on the validation images; 0: never.
    keep : {"last", "best"}
        The epoch whose weights are returned; with `patience` always the best.
    seed : int
    save_seconds : float
        Time between two checkpoints within an epoch. There is one after each epoch in any case.
    """

    epochs: int = 20
    batch: int = 128
    optimizer: str = "sgd"
    rate: float = 0.1
    final: float = 0.0
    warmup: float = 1.0
    momentum: float = 0.9
    decay: float = 1e-4
    ema: float = 0.0
    clip: float = 0.0
    smoothing: float = 0.0
    patience: int = 0
    keep: str = "last"
    seed: int = 0
    save_seconds: float = 60.0

    def __post_init__(self):
        said = {
            "epochs": self.epochs >= 0,
            "batch": self.batch >= 1,
            "optimizer": self.optimizer in OPTIMIZERS,
            "rate": 0 < self.rate < math.inf,
            "final": 0 <= self.final <= 1,
            "warmup": 0 <= self.warmup <= max(self.epochs, 1),
            "momentum": 0 <= self.momentum < 1,
            "decay": 0 <= self.decay < math.inf,
            "ema": 0 <= self.ema < 1,
            "clip": self.clip >= 0,
            "smoothing": 0 <= self.smoothing < 1,
            "patience": self.patience >= 0,
            "seed": self.seed >= 0,
            "keep": self.keep in ("last", "best"),
            "save_seconds": self.save_seconds >= 0,
        }
        for name, fine in said.items():
            if not fine:
                raise ValueError(f"{name}: {getattr(self, name)!r} is out of range")


def rate_at(step: int, total: int, warmup: int, peak: float, final: float = 0.0) -> float:
    """The learning rate of `step` of `total`: a linear warm-up, then half a cosine down to `final` times `peak`.

    Examples
    --------
    >>> [round(rate_at(i, 5, 2, 1.0), 2) for i in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.25, 0.0]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min((step - warmup) / max(total - warmup, 1), 1.0)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


class Optimizers:
    """SGD or AdamW for weights, and Adam for the steps of a quantized twin, as one.

    The gradients of steps differ by orders of magnitude: a channel whose weights are all zero has a step of nearly
    nothing and huge gradients. Adam moves each by a share of its own.

    Raises
    ------
    ValueError
        If there is nothing to train.
    """

    def __init__(self, modules: Iterable[nn.Module], training: Training):
        weights, others, steps = [], [], []
        for module in modules:
            groups = module.groups() if hasattr(module, "groups") else _by_dimension(module)
            weights += groups["weights"]
            others += groups["biases"] + groups["norms"]
            steps += groups["steps"]
        both = [(weights, training.decay), (others, 0.0)]
        groups = [{"params": params, "weight_decay": decay, "factor": 1.0} for params, decay in both if params]
        if not groups:
            raise ValueError("the network has nothing to train")
        if training.optimizer == "adamw":
            self.each = [torch.optim.AdamW(groups, training.rate, foreach=True)]
        else:
            fast = training.momentum > 0
            self.each = [torch.optim.SGD(groups, training.rate, training.momentum, nesterov=fast, foreach=True)]
        self.clipped, self.steps = weights + others, steps
        if steps:
            factor = 1.0 if training.optimizer == "adamw" else STEPS_RATE
            self.each += [torch.optim.Adam([{"params": steps, "factor": factor}], training.rate, foreach=True)]

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next step."""
        for one in self.each:
            for group in one.param_groups:
                group["lr"] = rate * group["factor"]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for one in self.each:
            one.zero_grad(set_to_none=True)

    def step(self, clip: float = 0.0) -> None:
        """Change the parameters; the gradients of all but steps are scaled to the norm `clip`, if it is larger.

        Steps stay within their bounds.
        """
        if clip:
            nn.utils.clip_grad_norm_(self.clipped, clip)
        for one in self.each:
            one.step()
        if self.steps:
            Step.bound(self.steps)

    def forget(self) -> None:
        """Drop momentum and the like: the parameters have been replaced."""
        for one in self.each:
            one.state.clear()

    def state_dict(self) -> list[dict]:
        """What a checkpoint holds."""
        return [one.state_dict() for one in self.each]

    def load_state_dict(self, state: list[dict]) -> None:
        """Take back what `state_dict` gave."""
        for one, held in zip(self.each, state):
            one.load_state_dict(held)


def _by_dimension(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of a module that is no twin: vectors are biases."""
    each = list(module.parameters())
    weights, biases = [p for p in each if p.dim() > 1], [p for p in each if p.dim() <= 1]
    return {"weights": weights, "biases": biases, "norms": [], "steps": []}


def copied(model: nn.Module) -> dict[str, Tensor]:
    """A copy of everything that `model` holds."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def average(held: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the averages `held` towards the weights of `model`; masks and counters are copied."""
    now = model.state_dict()
    smooth = [name for name, value in now.items() if value.is_floating_point() and not name.startswith(MASKS)]
    torch._foreach_lerp_([held[name] for name in smooth], [now[name] for name in smooth], 1 - decay)
    for name in held.keys() - now.keys():
        del held[name]
    held.update({name: value.clone() for name, value in now.items() if name not in set(smooth)})
