"""Distillation: a student learns from a teacher's outputs, and from tensors within it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .loop import Batch, Part
from .losses import Hints, attention_transfer, cross_entropy, decoupled, soft_targets
from .teacher import Teacher
from .twin import Twin

METHODS = ("soft", "dkd")
ITSELF = "self"


@dataclass(frozen=True)
class Distillation:
    """The options of distillation.

    Attributes
    ----------
    teacher : str
        An .onnx file, zoo:NAME, or "self": the network is trained alone first, and teaches a new one of its kind
        (Furlanello et al., arXiv:1805.04770).
    method : {"soft", "dkd"}
        Soft targets, or decoupled distillation.
    temperature : float
    weight : float
        In [0, 1]: of the teacher; the labels have the rest.
    alpha, beta : float
        Of "dkd".
    online : bool
        Ask the teacher about each augmented image while training, rather than once about each image as it is.
    hints : {student's tensor: teacher's tensor}
        Tensors that the student imitates through adapters.
    hint_weight : float
    attention : {student's tensor: teacher's tensor}
        Tensors whose attention maps the student imitates.
    attention_weight : float
    """

    teacher: str
    method: str = "soft"
    temperature: float = 4.0
    weight: float = 0.9
    alpha: float = 1.0
    beta: float = 8.0
    online: bool = False
    hints: dict[str, str] = field(default_factory=dict)
    hint_weight: float = 1.0
    attention: dict[str, str] = field(default_factory=dict)
    attention_weight: float = 100.0

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method: {self.method!r} is not one of {', '.join(METHODS)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature} is not above 0")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight: {self.weight} is not in [0, 1]")
        for name in ("alpha", "beta", "hint_weight", "attention_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not at least 0")

    @property
    def inside(self) -> bool:
        """Whether tensors within the teacher are needed, which only torch gives."""
        return bool(self.hints or self.attention)


class Distill(Part):
    """The objective of distillation, and the adapters that it needs.

    Parameters
    ----------
    options : Distillation
    teacher : Tensor, Teacher or Twin
        Logits float32[images, classes] by index; a network that is asked about each batch; or, where hints or attention
        need tensors within it, a twin.
    smoothing : float
        Of the labels.
    example : (student's twin, images float32[n, channels, height, width]), optional
        From which hints take the sizes of tensors.

    Raises
    ------
    ValueError
        If hints or attention are asked for and the teacher is no twin, or a tensor is missing.
    """

    def __init__(
        self,
        options: Distillation,
        teacher: Tensor | Teacher | Twin,
        *,
        smoothing: float = 0.0,
        example: tuple[Twin, Tensor] | None = None,
        seed: int = 0,
    ):
        self.options, self.teacher, self.smoothing = options, teacher, smoothing
        self.hints: Hints | None = None
        if options.inside and not (isinstance(teacher, Twin) and example is not None):
            raise ValueError(
                "hints and attention need tensors within the teacher: it must be a model that a twin can run"
            )
        if isinstance(teacher, Twin):
            teacher.eval().requires_grad_(False)
        if options.inside:
            student, x = example
            ours, theirs = (
                _tensors("student", student, x, self._ours()),
                _tensors("teacher", teacher, x, self._theirs()),
            )
            self.hints = Hints(options.hints, ours, theirs, seed) if options.hints else None

    def _ours(self) -> list[str]:
        return [*{*self.options.hints, *self.options.attention}]

    def _theirs(self) -> list[str]:
        return [*{*self.options.hints.values(), *self.options.attention.values()}]

    def modules(self) -> list[nn.Module]:
        return [] if self.hints is None else [self.hints]

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch."""
        how = self.options
        if how.inside:
            logits, ours = model(batch.x, keep=self._ours())
            with torch.no_grad():
                said, theirs = self.teacher(batch.x, keep=self._theirs())
        else:
            logits, ours, theirs = model(batch.x), {}, {}
            said = self._said(batch)
        if said.shape != logits.shape:
            raise ValueError(f"the teacher has {said.shape[1]} classes and the student {logits.shape[1]}")
        if how.method == "soft":
            taught = soft_targets(logits, said, how.temperature)
        else:
            taught = decoupled(logits, said, batch.y, how.temperature, how.alpha, how.beta)
        loss = how.weight * taught + (1 - how.weight) * cross_entropy(logits, batch.y, self.smoothing)
        return loss + self._within(ours, theirs) if how.inside else loss

    def _said(self, batch: Batch) -> Tensor:
        if isinstance(self.teacher, Tensor):
            return self.teacher[batch.index]
        with torch.no_grad():
            return self.teacher(batch.x)

    def _within(self, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> Tensor:
        """The losses on tensors within the networks."""
        how, total = self.options, torch.zeros(())
        if self.hints is not None:
            total = total + how.hint_weight * self.hints(ours, theirs)
        for near, far in how.attention.items():
            total = total + how.attention_weight * attention_transfer(ours[near], theirs[far])
        return total


def _tensors(who: str, twin: Twin, x: Tensor, names: list[str]) -> Mapping[str, Tensor]:
    was = twin.training
    twin.eval()
    try:
        with torch.no_grad():
            return twin(x[:2], keep=names)[1]
    except KeyError as error:
        raise ValueError(f"the {who} has no tensor {error.args[0].rpartition(' ')[2]}") from None
    finally:
        twin.train(was)
