"""fit: takes a recipe's stages one after the other, so that a run can be killed at any moment and resumed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from ..compress.model import graph as g
from ..compress.model.layers import float_model
from ..compress.prune import prune
from ..formats import atomic
from ..formats.onnx_model import self_contained
from . import qat
from . import recipe as recipes
from .checks import check
from .distill import ITSELF
from .feed import Parts, accuracy, some_labels
from .finetune import Setup, finetune, low_rank, multiplied
from .folder import Folder, Made, identity_of, key_of
from .loop import Log
from .recipe import Recipe
from .schedule import Training
from .sparsify import zeros_of
from .structure import fresh, separable

Show = Callable[[str, int, int], None]
CLIP = 1.0  # the norm of the gradient where no batch norm keeps it in bounds


@dataclass(frozen=True)
class Result:
    """What a recipe came to.

    Attributes
    ----------
    model : onnx.ModelProto
    accuracy : float or None
        Of the model in our engine, on the test images; None if there are none.
    valid : float
        The same on the validation images.
    stages : {stage: dict}
        What each stage says of itself: "accuracy" on the validation images as training measured it, "history".
    """

    model: onnx.ModelProto
    accuracy: float | None
    valid: float
    stages: dict[str, dict]


def fit(
    model: g.Model | None,
    data: Parts | None,
    recipe: Recipe | Mapping | str | os.PathLike,
    *,
    out: str | os.PathLike,
    resume: bool = False,
    log: Log | None = None,
    progress: Show | None = None,
) -> Result:
    """Make a good small network of `model`, as `recipe` says.

    Parameters
    ----------
    model : path, bytes, onnx.ModelProto or None
        None: the one that the recipe names. It is not changed.
    data : Parts or None
        None: as the recipe says.
    recipe : Recipe, dict or path of a YAML file
    out : path
        A folder, which is made. It gets ``model.onnx``, ``result.json``, ``log.jsonl`` and a file per stage.
    resume : bool
        Go on with what is in `out`, if anything is. The result has the same bits as that of a run that was never killed.
    log : callable, optional
        Called with a dict for each event; the same events are the lines of ``log.jsonl``.
    progress : callable, optional
        Called with the stage's name, the steps done and all steps of the stage.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        If the recipe is wrong, or data and network do not fit.
    FileExistsError
        If `out` holds a run and `resume` is not set.
    TrainingError
        If the loss is not finite, `out` holds the run of another network, recipe or data set, or another run works in it.

    Examples
    --------
    >>> import pycompress
    >>> from pycompress.train import fit
    >>> recipe = {
    ...     "model": "zoo:mobilenetv2,width=0.25,resolution=32,classes=10",
    ...     "data": {"path": "digits", "size": 32},
    ...     "train": {"epochs": 1, "batch": 128},
    ... }
    >>> result = fit(None, None, recipe, out="digits")
    >>> pycompress.InferenceSession(result.model).get_outputs()[0].name
    'logits'
    """
    recipe = recipe if isinstance(recipe, Recipe) else recipes.read(recipe)
    if model is None and not recipe.model:
        raise ValueError("recipe.model: missing")
    if data is None and recipe.data is None:
        raise ValueError("recipe.data: missing")
    model = recipes.network(recipe.model) if model is None else g.copied(g.as_model(model))
    data = recipe.data.load(_channels(model)) if data is None else data
    check(model, data, recipe)
    work = _Work(model, data, recipe, Path(out), resume, log, progress)
    try:
        return work.result()
    finally:
        work.folder.close()


def _channels(model: onnx.ModelProto) -> int | None:
    """The channels of the model's only input, if it says so."""
    ports = g.graph_inputs(model)
    dims = ports[0].type.tensor_type.shape.dim if ports else ()
    return dims[1].dim_value or None if len(dims) == 4 else None


class _Work:
    """The stages of one recipe and their files."""

    def __init__(self, model, data: Parts, recipe: Recipe, out: Path, resume: bool, log, progress):
        self.model, self.data, self.recipe, self.out = model, data, recipe, out
        self.resume, self.tell = resume, log or (lambda event: None)
        self.progress = progress or (lambda stage, done, total: None)
        self.told: dict[str, dict] = {}
        options = recipe.data
        self.labelled = some_labels(data.train, options.labels, options.seed) if options and options.labels else None
        self.folder = Folder(out, self._identity(), resume=resume)

    def _identity(self) -> dict:
        """What a run must have in common with the one that it goes on with."""
        recipe = dataclasses.asdict(self.recipe)
        for key in ("model", "data"):  # where they are is not what they are
            recipe.pop(key)
        recipe["train"].pop("save_seconds")
        options = self.recipe.data
        recipe["data"] = {"labels": options.labels, "repeat": options.repeat} if options else None
        same = {"recipe": recipe, "network": key_of(self.model), **identity_of(self.data)}
        teacher = self.recipe.distill.teacher if self.recipe.distill else ITSELF
        return same if teacher == ITSELF else {**same, "teacher": key_of(recipes.network(teacher))}

    def log(self, event: dict) -> None:
        self.folder.log(event)
        self.tell(event)

    def stage(self, name: str, make: Callable[[Path], Made]) -> onnx.ModelProto:
        """What `make` gives, or the file of it that an earlier run has left."""

        def noted(checkpoint: Path) -> Made:
            model, said = make(checkpoint)
            _note(model, self.data)
            return model, said

        if not self.folder.done(name):
            self.log({"event": "stage", "stage": name})
        model, self.told[name] = self.folder.stage(name, noted)
        return model

    # stages

    def result(self) -> Result:
        how, model = self.recipe, self.model
        if how.fresh:
            model = fresh(model, how.train.seed)
        model = self._shaped(model)
        if how.train.epochs:
            model = self._trained(model)
        if how.quantize is not None:
            model = self._quantized(model)
        valid = accuracy(model, self.data.valid, self.data.normalize)
        test = None if self.data.test is None else accuracy(model, self.data.test, self.data.normalize)
        _note(model, self.data)  # where no stage has done it
        data = model.SerializeToString(deterministic=True)
        atomic.write(self.out / "model.onnx", data)
        summary = {"accuracy": test, "valid": valid, "bytes": len(data), "stages": self.told}
        atomic.write(self.out / "result.json", json.dumps(summary, indent=1).encode())
        self.log({"event": "done", "accuracy": test, "valid": valid, "bytes": len(data)})
        return Result(model, test, valid, self.told)

    def _shaped(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """After the stages that change the network's shape."""
        how = self.recipe
        if how.channels is not None:
            x, options = self.data.samples(how.channels.samples), how.channels
            model = self.stage("channels", lambda _: (
                prune(model, options.sparsity, pattern="channel", scope=options.scope, calibration=x), {}))  # fmt: skip
        if how.separable is not None:
            before = model
            split = lambda _: (separable(before, how.separable.layers, multiplier=how.separable.multiplier), {})  # noqa: E731
            model = self.stage("separable", split)
        return model if how.factorize is None else self._factorized(model)

    def _factorized(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """With low-rank layers; where there is a schedule, trained after each of its ratios."""
        options = self.recipe.factorize
        x, dense = self.data.samples(options.samples), float_model(g.copied(model))
        for i, ratio in enumerate(options.schedule):
            training = replace(self.recipe.train, epochs=options.epochs, warmup=0.0, keep="last", patience=0)

            def step(checkpoint, dense=dense, ratio=ratio, training=training, i=i):
                return self._train(f"factorize-{i + 1}", low_rank(dense, x, options, ratio), training, checkpoint, True)

            dense = multiplied(dense, self.stage(f"factorize-{i + 1}", step))
        return self.stage("factorize", lambda _: (low_rank(dense, x, options), {}))

    def _trained(self, model: onnx.ModelProto) -> onnx.ModelProto:
        how, teacher = self.recipe, None
        if how.distill is not None and how.distill.teacher == ITSELF:
            teacher = self.stage("alone", lambda checkpoint: self._train("alone", model, how.train, checkpoint))
            model = fresh(model, how.train.seed + 1) if how.fresh else model

        def make(checkpoint):
            return self._train("train", model, how.train, checkpoint, True, teacher, sparsify=how.sparsify)

        return self.stage("train", make)

    def _quantized(self, model: onnx.ModelProto) -> onnx.ModelProto:
        options, before = self.recipe.quantize, model
        x = self.data.samples(options.samples)
        begun = self.stage("quantize", lambda _: (qat.start(before, x, options), {}))
        if not options.epochs:
            return begun
        zeros = zeros_of(float_model(g.copied(before)))
        training = replace(self.recipe.train, epochs=options.epochs, rate=options.rate, warmup=0.0, ema=0.0)

        def make(checkpoint):
            return self._train("qat", begun, training, checkpoint, True, zeros=zeros, freeze=options.freeze)

        return self.stage("qat", make)

    def _train(self, name, model, training: Training, checkpoint: Path, taught=False, teacher=None, **more) -> Made:
        """`model` after training; `taught` where the recipe's teacher takes part."""
        how = self.recipe
        options = how.distill if taught else None
        if options is not None and teacher is None:
            itself = self.out / "alone.onnx"
            if options.teacher == ITSELF and not itself.exists():
                options = None  # a stage before the one that trains the teacher
            else:
                teacher = self_contained(itself) if options.teacher == ITSELF else recipes.network(options.teacher)
        if not training.clip and not any(n.op_type == "BatchNormalization" for n in model.graph.node):
            training = replace(training, clip=CLIP)
        setup = Setup(
            augment=how.augment,
            distill=None if options is None else (options, teacher),
            labelled=self.labelled,
            repeat=how.data.repeat if how.data else 1,
            cache=self.out / "teacher",
            **more,
        )
        model, outcome = finetune(
            model,
            self.data,
            training,
            setup,
            checkpoint=checkpoint,
            resume=self.resume,
            log=lambda event: self.log({**event, "stage": name}),
            progress=lambda done, total: self.progress(name, done, total),
        )
        return model, {
            "accuracy": outcome.accuracy,
            "epoch": outcome.epoch,
            "stopped": outcome.stopped,
            "history": outcome.history,
        }


NORMALIZE, CLASSES = "pycompress.normalize", "pycompress.classes"  # metadata


def _note(model: onnx.ModelProto, data: Parts) -> None:
    """Write into the model's metadata what its input is, and what its outputs are called."""
    mean, std = ([255 * v for v in x] for x in (data.normalize.mean, data.normalize.std))
    notes = {
        **g.metadata(model),
        NORMALIZE: json.dumps({"mean": mean, "std": std}),
        CLASSES: json.dumps(data.train.classes),
    }
    onnx.helper.set_model_props(model, notes)
