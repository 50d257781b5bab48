"""What a recipe must fulfil before anything runs: mistakes should not show when hours of training are over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx
import torch

from ..compress.model import graph as g
from . import recipe as recipes
from .distill import ITSELF, Distill
from .feed import Parts, accuracy
from .recipe import Recipe
from .sparsify import Sparsity, chosen
from .structure import separable
from .twin import Twin


def check(model: onnx.ModelProto, data: Parts, recipe: Recipe) -> None:
    """Refuse a network, a teacher, or names and numbers in `recipe` that do not fit.

    Raises
    ------
    ValueError
        If inputs or outputs are not those of the data, or a layer or tensor that the recipe names is not there.
    NotImplementedError
        If hints or attention need a teacher that cannot be run as a twin.
    """
    high, wide = data.train.images.shape[1:3]
    if recipe.augment.shift >= min(high, wide):
        raise ValueError(
            f"recipe.augment.shift: {recipe.augment.shift} leaves nothing of images of {high} x {wide} pixels"
        )
    _check_fit("the network", model, data)
    taught, teacher = recipe.distill, model
    if taught is not None and taught.teacher != ITSELF:
        teacher = recipes.network(taught.teacher)
        _check_fit("the teacher", teacher, data)
    if not recipe.train.epochs:
        return
    twin: Twin | None = None
    invented: tuple[str, ...] = ()  # how names begin that a stage makes
    if recipe.sparsify is not None or taught is not None and taught.inside:
        if recipe.separable is not None:  # its nodes have names of their own
            model = separable(model, recipe.separable.layers, multiplier=recipe.separable.multiplier)
        twin = Twin(model)
        if recipe.factorize is not None:
            invented = tuple(f"{layer.node}/" for layer in twin.layers)
    if recipe.sparsify is not None and (known := _without(recipe.sparsify, invented)) is not None:
        chosen(twin, known)
    if taught is not None and taught.inside:
        known = replace(taught, hints=_known(taught.hints, invented), attention=_known(taught.attention, invented))
        Distill(known, Twin(teacher), example=(twin, torch.from_numpy(data.samples(2))))


def _check_fit(who: str, model: onnx.ModelProto, data: Parts) -> None:
    """Refuse a network whose input or number of outputs is not that of the data."""
    ports = g.graph_inputs(model)
    if len(ports) != 1:
        raise ValueError(f"{who} must have one input, and has {', '.join(p.name for p in ports) or 'none'}")
    try:
        accuracy(model, data.valid[:2], data.normalize)
    except ValueError as error:
        raise ValueError(f"{who} does not fit the data: {error}") from None


def _known(names, invented: tuple[str, ...]):
    """Those of `names`, a table or a tuple, that no later stage makes."""
    kept = [name for name in names if not name.startswith(invented)]
    return {name: names[name] for name in kept} if isinstance(names, Mapping) else tuple(kept)


def _without(options: Sparsity, invented: tuple[str, ...]) -> Sparsity | None:
    """`options` without names that no layer has yet; None where no other ones say what is pruned."""
    lists = {
        key: x for key in ("sparsity", "layers", "exclude") if isinstance(x := getattr(options, key), (Mapping, tuple))
    }
    kept = {key: _known(names, invented) for key, names in lists.items()}
    if any(names and not kept[key] for key, names in lists.items() if key != "exclude"):
        return None
    return replace(options, **kept)
