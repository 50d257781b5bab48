"""Recipes: a YAML file or a dict that says what is trained, on what, and how; every mistake is named by its path."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import onnx

from ..compress.model.graph import check_options
from ..compress.prune import prune
from ..compress.recipe import unknown_key
from ..formats.onnx_model import self_contained
from ..zoo import text as zoo
from . import data as sets
from .data import Augment, Normalize
from .distill import ITSELF, Distillation
from .feed import Parts
from .finetune import LowRank
from .qat import Quantization
from .schedule import Training
from .sparsify import Sparsity

ZOO = "zoo:"
MAX_SIZE, MAX_CHANNELS = 4096, 1024  # of images: more is a mistake


@dataclass(frozen=True)
class DataOptions:
    """Where the images are.

    Attributes
    ----------
    path : str
        A folder with IDX files, or with a subfolder per class, or "digits".
    size : int, optional
        Height and width that images are brought to.
    validation : int or float
        How many training images are held back, as a number or as a share.
    labels : int, optional
        Use the labels of so many training images only. The others are left out, unless a teacher has something to say
        about them.
    repeat : int
        How many times an epoch goes through the images.
    mean, std : list of float, optional
        Of pixels from 0 to 1; default: those of the training images.
    channels : int, optional
        Of the network's input, in which grey images are repeated; default: what the network takes.
    seed : int
        Of the split.
    """

    path: str
    size: int | None = None
    validation: int | float = 0.1
    labels: int | None = None
    repeat: int = 1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None
    seed: int = 0

    def __post_init__(self):
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean, std: give both or neither")
        if self.mean is not None and (not self.mean or len(self.mean) != len(self.std)):
            raise ValueError(
                f"mean, std: {len(self.mean)} and {len(self.std)} numbers: give as many, one or more, of both"
            )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std: {min(self.std)} is not above 0")
        if self.validation <= 0:
            raise ValueError(f"validation: {self.validation} is not above 0")
        if self.validation > 1 and self.validation != int(self.validation):
            raise ValueError(f"validation: {self.validation} is neither a share below 1 nor a number of images")
        for name in ("size", "labels", "repeat", "channels"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not at least 1")
        for name, most in (("size", MAX_SIZE), ("channels", MAX_CHANNELS)):
            if getattr(self, name) is not None and getattr(self, name) > most:
                raise ValueError(f"{name}: {getattr(self, name)} is more than {most}")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} is not at least 0")

    def load(self, channels: int | None = None) -> Parts:
        """Read the images; `channels` is what the network takes, if that is known."""
        whole = sets.load(self.path, "train", size=self.size)
        count = round(self.validation * len(whole)) if self.validation < 1 else int(self.validation)
        if not 0 < count < len(whole):
            raise ValueError(
                f"data.validation: {self.validation} leaves {count} of {len(whole)} images for validation, and "
                f"{len(whole) - count} for training"
            )
        train, valid = sets.split(whole, count, self.seed)
        try:
            test = sets.load(self.path, "test", size=self.size)
        except FileNotFoundError:
            test = None
        wanted = self.channels or channels or whole.images.shape[3]
        normalize = Normalize.of(train, wanted) if self.mean is None else Normalize(self.mean, self.std, wanted)
        return Parts(train, valid, test, normalize)


@dataclass(frozen=True)
class Channels:
    """Channels that are removed before training, as ``pycompress.prune(pattern="channel")`` does it.

    Attributes
    ----------
    sparsity : float
        The share of channels.
    scope : {"global", "layer"}
    samples : int
        Training images to calibrate on.
    """

    sparsity: float
    scope: str = "global"
    samples: int = 128

    def __post_init__(self):
        if self.samples < 1:
            raise ValueError(f"samples: {self.samples} is not at least 1")
        check_options(prune, self.sparsity, pattern="channel", scope=self.scope, calibration="given")


@dataclass(frozen=True)
class Separable:
    """Ordinary convolutions that become separable before training.

    Attributes
    ----------
    layers : list of node names, optional
        Default: all but the first ones.
    multiplier : int
        Depthwise channels per input channel.
    """

    layers: tuple[str, ...] | None = None
    multiplier: int = 1

    def __post_init__(self):
        if self.multiplier < 1:
            raise ValueError(f"multiplier: {self.multiplier} is not at least 1")


@dataclass(frozen=True)
class Recipe:
    """What `fit` does. Stages run in this order: channels, separable, factorize, train (with sparsify and distill), quantize.

    Attributes
    ----------
    model : str
        An .onnx file, or zoo:NAME,option=value.
    data : DataOptions, optional
        Needed by the command; `fit` takes data.
    fresh : bool
        Begin with new random weights, by `train.seed`; False: with those of the file.
    train : Training
    augment : Augment
    channels, separable, factorize, distill, sparsify, quantize : optional
        A stage that is not named does not take place.
    """

    model: str = ""
    data: DataOptions | None = None
    fresh: bool = False
    train: Training = Training()
    augment: Augment = Augment()
    channels: Channels | None = None
    separable: Separable | None = None
    factorize: LowRank | None = None
    distill: Distillation | None = None
    sparsify: Sparsity | None = None
    quantize: Quantization | None = None

    def __post_init__(self):
        if self.data is not None and self.data.repeat > 1 and self.train.epochs < 1:
            raise ValueError("data.repeat: there are no epochs")
        if self.distill is not None and self.distill.teacher == ITSELF and not self.train.epochs:
            raise ValueError("distill.teacher: self learns in `train`, which has no epochs")
        if self.distill is not None and not self.train.epochs and not (self.quantize and self.quantize.epochs):
            raise ValueError("distill: neither `train` nor `quantize` has epochs")
        if self.sparsify is not None:
            self._check_zeros(self.sparsify)
        if self.sparsify is not None and self.factorize is not None and self.factorize.schedule:
            raise ValueError("factorize.schedule: a network that is pruned cannot be factorized step by step")

    def _check_zeros(self, options: Sparsity) -> None:
        if not self.train.epochs:
            raise ValueError("sparsify: zeros are chosen in `train`, which has no epochs")
        end = options.end * self.train.epochs
        if options.rewind is not None and options.rewind >= end:
            raise ValueError(
                f"sparsify.rewind: epoch {options.rewind:g} is not before all zeros are chosen, in epoch {end:g}"
            )


def read(source: str | Path | Mapping) -> Recipe:
    """The recipe in a YAML file, or in a dict.

    Parameters
    ----------
    source : path or dict
        Paths in a file are relative to its folder, where they exist there.

    Returns
    -------
    Recipe

    Raises
    ------
    ValueError
        If a key is unknown, a value has the wrong type or is out of range; the message begins with the path of the key.

    Examples
    --------
    >>> read({"model": "zoo:mobilenetv2", "distill": {"teacher": "self", "temprature": 2}})
    Traceback (most recent call last):
    ValueError: recipe.distill.temprature: unknown key; did you mean temperature?
    """
    if isinstance(source, Mapping):
        return build(Recipe, source, "recipe")
    path = Path(source)
    recipe = build(Recipe, _parsed(path), "recipe")
    beside = lambda text: str(path.parent / text) if text and (path.parent / text).exists() else text  # noqa: E731
    changes: dict[str, Any] = {"model": beside(recipe.model)}
    if recipe.data is not None:
        changes["data"] = dataclasses.replace(recipe.data, path=beside(recipe.data.path))
    if recipe.distill is not None and recipe.distill.teacher != ITSELF:
        changes["distill"] = dataclasses.replace(recipe.distill, teacher=beside(recipe.distill.teacher))
    return dataclasses.replace(recipe, **changes)


def _parsed(path: Path) -> Any:
    """What a YAML file says."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise ModuleNotFoundError("recipes need PyYAML: pip install 'pycompress-engine[train]'") from None
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no YAML: {' '.join(str(error).split())}") from None


def network(text: str) -> onnx.ModelProto:
    """The model that a recipe names: a file, or a network of the zoo.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no model, or the zoo has no such network.
    """
    return zoo.build(text.removeprefix(ZOO)) if text.startswith(ZOO) else self_contained(Path(text))


def build(cls, value: Any, path: str):
    """An instance of the dataclass `cls` from a dict, which `path` leads to.

    Raises
    ------
    ValueError
        It begins with the path of what is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: must be a table of options, got {value!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for key in value:
        if key not in fields:
            raise unknown_key(key, fields, path)
    empty = (dataclasses.MISSING, dataclasses.MISSING)
    for name, f in fields.items():
        if name not in value and (f.default, f.default_factory) == empty:
            raise ValueError(f"{path}.{name}: missing")
    given = {key: _value(hints[key], item, f"{path}.{key}") for key, item in value.items()}
    try:
        return cls(**given)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def _value(hint, value, path: str):
    """`value` as the type `hint` wants it."""
    choices = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)
    for choice in choices:
        fits, made = _fitted(choice, value, path)
        if fits:
            return made
    wanted = " or ".join(_said(choice) for choice in choices)
    raise ValueError(f"{path}: must be {wanted}, got {value!r}")


def _fitted(hint, value, path: str) -> tuple[bool, Any]:
    """Whether `value` has the type `hint`, and the value of that type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return value is None, None
    if dataclasses.is_dataclass(hint):
        return (True, build(hint, value, path)) if isinstance(value, Mapping) else (False, None)
    if hint is bool:
        return isinstance(value, bool), value
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    if hint is float:
        return _number(value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return True, tuple(_value(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return True, {_value(args[0], k, path): _value(args[1], v, f"{path}.{k}") for k, v in value.items()}
    return hint is str and isinstance(value, str), value


def _number(value) -> tuple[bool, float | None]:
    """YAML 1.1 takes 1e-3 for a text, since it has no point: here it is a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False, None
    try:
        number = float(value)
    except ValueError:
        return False, None
    return math.isfinite(number), number


def _said(hint) -> str:
    if dataclasses.is_dataclass(hint):
        return "a table of options"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(hint) or ("a list" if typing.get_origin(hint) is tuple else "a table")
