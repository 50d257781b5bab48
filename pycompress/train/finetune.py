"""Trains any ONNX model: what a pass has left of a network, or a network that a recipe begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch

from ..compress.factorize import factorize
from ..compress.model import graph as g
from ..compress.model.layers import float_model, read_layer, weighted_nodes, write
from ..compress.model.matrix import bias_of, matrix
from . import losses
from .data import Augment
from .distill import Distill, Distillation
from .feed import DataFeed, Parts, accuracy
from .loop import Batch, Log, Outcome, run
from .qat import Freeze
from .schedule import Training
from .sparsify import Sparsify, Sparsity, hold
from .teacher import Teacher, logits
from .twin import Twin

Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Setup:
    """What a network is trained with, beside `Training`.

    Attributes
    ----------
    augment : Augment, optional
    distill : (Distillation, model), optional
        The options, and the teacher as ONNX.
    sparsify : Sparsity, optional
    zeros : {node name: bool[n, k]}, optional
        Weights that stay zero are False, as `sparsify.zeros_of` finds them.
    freeze : float
        The share of the steps, at the end, in which the scales of a quantized network are fixed.
    labelled : bool[n], optional
        The training images whose labels are known.
    repeat : int
        How many times an epoch goes through the images.
    cache : path, optional
        The folder in which a teacher's logits are kept.
    """

    augment: Augment | None = None
    distill: tuple[Distillation, onnx.ModelProto] | None = None
    sparsify: Sparsity | None = None
    zeros: Mapping[str, np.ndarray] | None = None
    freeze: float = 0.0
    labelled: np.ndarray | None = None
    repeat: int = 1
    cache: Path | None = None


def finetune(
    model: g.Model,
    data: Parts,
    training: Training,
    setup: Setup | None = None,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    log: Log | None = None,
    progress: Show | None = None,
) -> tuple[onnx.ModelProto, Outcome]:
    """Train `model`, whichever pass has written it.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        Float or QDQ; it is not changed.
    data : Parts
    training : Training
    setup : Setup, optional
    checkpoint, resume, log, progress
        As in `loop.run`.

    Returns
    -------
    (onnx.ModelProto, Outcome)
        The trained network, and what was measured on the validation images.

    Raises
    ------
    NotImplementedError
        If a node cannot be trained.
    TrainingError
        As in `loop.run`.
    """
    setup = setup or Setup()
    twin = Twin(model)
    hold(twin, setup.zeros or {})
    twin.to(memory_format=torch.channels_last)  # a fifth less time for a step of a separable network
    train, labelled = data.train, setup.labelled
    if labelled is not None and setup.distill is None:
        train, labelled = train[labelled], None  # without a teacher, images without labels say nothing
    feed = DataFeed(train, training.batch, data.normalize, augment=setup.augment, seed=training.seed,
                    repeat=setup.repeat, labelled=labelled)  # fmt: skip
    total, parts = training.epochs * feed.steps, []
    objective = lambda model, batch: losses.cross_entropy(model(batch.x), batch.y, training.smoothing)  # noqa: E731
    if setup.distill is not None:
        objective = _taught(twin, feed, training, setup)
        parts.append(objective)
    if setup.sparsify is not None:
        parts.append(Sparsify(twin, setup.sparsify, total, feed.steps))
    if setup.freeze:
        parts.append(Freeze(twin, setup.freeze, total))
    outcome = run(
        twin,
        feed,
        objective=objective,
        evaluate=lambda twin: {"accuracy": accuracy(twin, data.valid, data.normalize)},
        training=training,
        parts=parts,
        checkpoint=checkpoint,
        resume=resume,
        log=log,
        progress=progress,
    )
    return twin.onnx(), outcome


def _taught(twin: Twin, feed: DataFeed, training: Training, setup: Setup) -> Distill:
    """The objective that follows a teacher."""
    options, model = setup.distill
    if options.inside:
        example: Batch = next(feed.batches(0))
        return Distill(
            options, Twin(model), smoothing=training.smoothing, example=(twin, example.x), seed=training.seed
        )
    teacher = Teacher(model)
    if options.online:
        return Distill(options, teacher, smoothing=training.smoothing)
    held = logits(teacher, feed.in_order, len(feed.data), key=feed.key(), folder=setup.cache)
    return Distill(options, held, smoothing=training.smoothing)


@dataclass(frozen=True)
class LowRank:
    """The options of low-rank layers, as in ``pycompress.factorize``.

    Attributes
    ----------
    energy, rank, ratio : optional
        One of them.
    method : {"svd", "channel", "spatial", "tucker"}
    budget : {"macs", "parameters", "time"}
        What `ratio` is a share of; "time" is measured here.
    samples : int
        Training images to calibrate on.
    schedule : list of float
        Ratios above `ratio` that are gone through first: after each the network is trained for `epochs` epochs, and its
        factors are multiplied again, so that the next ranks are chosen for what it has become.
    epochs : int
    """

    energy: float | None = None
    rank: int | None = None
    ratio: float | None = None
    method: str = "svd"
    budget: str = "macs"
    samples: int = 128
    schedule: tuple[float, ...] = ()
    epochs: int = 2

    def __post_init__(self):
        given = [name for name in ("energy", "rank", "ratio") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"energy, rank, ratio: give one of them, got {' and '.join(given) or 'none'}")
        if self.schedule and self.ratio is None:
            raise ValueError("schedule: it leads to a ratio, and there is none")
        if self.schedule and not all(a > b for a, b in zip(self.schedule, (*self.schedule[1:], self.ratio))):
            raise ValueError(f"schedule: the ratios must fall, down to {self.ratio}")
        if self.schedule and self.method not in ("svd", "channel"):
            raise ValueError(f"schedule: it is for the methods svd and channel, not {self.method}")
        if self.epochs < 1:
            raise ValueError(f"epochs: {self.epochs} is not at least 1")
        if self.samples < 1:
            raise ValueError(f"samples: {self.samples} is not at least 1")
        for ratio in (None, *self.schedule):
            g.check_options(low_rank, "given", self, ratio)


def low_rank(
    model: onnx.ModelProto, samples: np.ndarray, options: LowRank, ratio: float | None = None
) -> onnx.ModelProto:
    """`model` with low-rank layers; `ratio` in place of the one in `options`."""
    if ratio is not None:
        options = replace(options, ratio=ratio, schedule=())
    how = {k: v for k in ("energy", "rank", "ratio") if (v := getattr(options, k)) is not None}
    return factorize(model, calibration=samples, method=options.method, budget=options.budget, **how)


def multiplied(dense: onnx.ModelProto, factored: onnx.ModelProto) -> onnx.ModelProto:
    """`dense` with the weights of `factored`, which was made from it, the factors of each layer multiplied.

    Raises
    ------
    ValueError
        If a layer of `dense` has become neither itself nor two factors whose second is a 1x1 convolution or a matrix.
    """
    dense = float_model(g.copied(dense))
    theirs = {n.name: n for n in weighted_nodes(factored)}
    values, ours = g.constants(factored), g.constants(dense)
    for name in ours.keys() & values.keys():
        if ours[name].dims == values[name].dims:
            ours[name].CopyFrom(values[name])
    for node in weighted_nodes(dense):
        if node.name in theirs:
            continue
        pair = [n for n in weighted_nodes(factored) if n.name.startswith(f"{node.name}/")]
        if len(pair) != 2:
            raise ValueError(f"node {node.name!r} has become {len(pair)} layers, which cannot be multiplied")
        (first, _, _), (second, cells, _) = (matrix(factored, n) for n in pair)
        if cells != 1:
            raise ValueError(f"node {node.name!r}: its second factor has a kernel of {cells} cells")
        biases = [bias_of(factored, n, len(w)) for n, w in zip(pair, (first, second))]
        bias = sum(x for x in (biases[1], None if biases[0] is None else second @ biases[0]) if x is not None)
        write(dense, read_layer(dense, node), second @ first, None if isinstance(bias, int) else bias)
    return dense
