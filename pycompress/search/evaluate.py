"""Evaluates networks of a space: each is trained from scratch as its recipe says, and judged by our engine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import onnx
import torch

from ..compress.quantize import quantize
from ..errors import TrainingError
from ..formats import atomic
from ..train import dedicate, fit
from ..train import recipe as recipes
from ..train.feed import Parts, accuracy
from ..train.folder import read_model
from ..train.qat import Quantization
from ..train.recipe import DataOptions, Recipe
from .blocks import Network
from .space import Choice, Space, read
from .study import CannotEvaluate
from .supernet import Supernet

DEFAULT = {"train": {"epochs": 3}}  # the recipe of a space that has none


def recipe_of(space: Space, key: str = "recipe") -> Recipe:
    """The recipe of a space's file for candidates ("recipe") or for the networks of the front ("final").

    Raises
    ------
    ValueError
        If it is wrong; the message begins with the path of the key.
    """
    table = space.options.get(key, space.options.get("recipe", DEFAULT))
    for name in ("model", "data", "factorize", "channels", "separable"):
        if isinstance(table, Mapping) and name in table:
            raise ValueError(f"space.{key}.{name}: a search has no use for it")
    return recipes.build(Recipe, table, f"space.{key}")


def data_of(space: Space, folder: Path | None = None) -> DataOptions:
    """Where a space's images are; a relative path is one from `folder`, if it exists there.

    Raises
    ------
    ValueError
        If ``data`` is missing or wrong.
    """
    table = space.options.get("data")
    if table is None:
        raise ValueError("space.data: missing: it says on which images networks are trained")
    if not isinstance(table, (str, Mapping)):
        raise ValueError(f"space.data: must be a path or a table of keys, got {table!r}")
    table = {"path": table} if isinstance(table, str) else dict(table)
    for name in ("size", "channels"):
        if name in table:
            raise ValueError(f"space.data.{name}: the space's input says it")
    if folder is not None and "path" in table and (folder / str(table["path"])).exists():
        table["path"] = str(folder / str(table["path"]))
    return recipes.build(DataOptions, table, "space.data")


@lru_cache(maxsize=8)
def parts_of(options: DataOptions, size: int, channels: int, classes: int) -> Parts:
    """The images at a resolution.

    Raises
    ------
    ValueError
        If there are not as many classes as the space says.
    """
    parts = replace(options, size=size).load(channels)
    if len(parts.train.classes) != classes:
        raise ValueError(f"space.input.classes: {classes}, and {options.path} has {len(parts.train.classes)}")
    return parts


@dataclass(frozen=True)
class Trained:
    """Trains a network, and gives its accuracy on the validation images in our engine.

    Attributes
    ----------
    data : DataOptions
    recipe : Recipe
        With ``quantize``, for int8 networks: how they are quantized, and trained after that.
    precision : {"float", "int8"}
    threads : int, optional
        Of torch.
    seed : int
        Of the weights that training begins with.
    """

    data: DataOptions
    recipe: Recipe
    precision: str = "float"
    threads: int | None = 1
    seed: int = 0

    def __call__(self, choice: Choice, network: Network) -> float:
        with tempfile.TemporaryDirectory(prefix="pycompress-search-") as folder:
            try:
                model = self.model(network, Path(folder) / "fit")
            except TrainingError as error:
                raise CannotEvaluate(str(error)) from None
            parts = self.parts(network)
            return accuracy(model, parts.valid, parts.normalize)

    def parts(self, network: Network) -> Parts:
        return parts_of(self.data, network.resolution, network.channels, network.classes)

    def key(self, network: Network) -> str:
        """Stands for what `model` gives: other blocks, data, recipe or seed, another key."""
        how = {name: value for name, value in asdict(self).items() if name != "threads"}
        said = json.dumps([asdict(network), how], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def model(self, network: Network, out: Path, *, resume: bool = False, progress: Any = None) -> onnx.ModelProto:
        """The trained network, in the precision that is searched for; `out` keeps what resuming needs."""
        dedicate(self.threads)
        parts, quantized = self.parts(network), self.recipe.quantize or Quantization(epochs=0)
        floats = replace(self.recipe, quantize=None, fresh=True)
        begun = network.onnx(batch=None, seed=self.seed)
        model = fit(begun, parts, floats, out=out / "float", resume=resume, progress=progress).model
        if self.precision == "float":
            return model
        return self._int8(model, network, parts, quantized, out / "int8", resume, progress)

    def _int8(self, model, network: Network, parts: Parts, how: Quantization, out: Path, resume, progress):
        """`model` with the bits that the space chose for each layer, trained on if the recipe says so."""
        file = out.with_suffix(".onnx")
        if not (resume and file.exists()):  # a run that is resumed must begin with the same codes
            samples, bits = parts.samples(how.samples), network.bits() or 8
            # the accuracy is the verdict
            model = quantize(model, samples, weights=bits, group_size=how.group_size, target=how.target, judge=False)
            atomic.write(file, model.SerializeToString())
        model = read_model(file, "delete it, and the network is quantized again")
        if not how.epochs:
            return model
        training = replace(self.recipe.train, epochs=how.epochs, rate=how.rate, warmup=0.0, ema=0.0)
        recipe = Recipe(train=training, augment=self.recipe.augment, distill=self.recipe.distill)
        return fit(model, parts, recipe, out=out, resume=resume, progress=progress).model


@dataclass(frozen=True)
class WithSharedWeights:
    """Judges a network by the shared weights of a supernet in a file, without training it.

    Attributes
    ----------
    space : dict
        As `space.read` takes it.
    data : DataOptions
    path : str
        What `save_weights` wrote.
    threads : int, optional
        Of torch.
    """

    space: Mapping[str, Any]
    data: DataOptions
    path: str
    threads: int | None = 1

    def __call__(self, choice: Choice, network: Network) -> float:
        from .supernet import accuracy as judged

        dedicate(self.threads)
        parts = parts_of(self.data, network.resolution, network.channels, network.classes)
        return judged(_weights(json.dumps(self.space), self.path), network, parts.valid, parts.normalize)


def save_weights(net: Supernet, path: str | os.PathLike) -> None:
    """Write the shared weights, as a whole or not at all."""
    data = io.BytesIO()
    torch.save(net.state_dict(), data)
    atomic.write(path, data.getvalue())


@lru_cache(maxsize=1)
def _weights(space: str, path: str) -> Supernet:
    net = Supernet(read(json.loads(space)))
    try:
        net.load_state_dict(torch.load(path, weights_only=True))
    except Exception as error:  # whatever a damaged file, or one of another space, raises
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not the shared weights of this space, or damaged: {said}") from None
    return net
