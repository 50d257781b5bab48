"""Recipes of compression as values: which passes, with which options, how far the model may get worse."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dtypes import FLOAT_PRODUCTS
from ..images import OPTIONS as IMAGES
from .cast import cast
from .factorize import factorize
from .model.graph import check_options
from .prune import prune
from .quantize import quantize
from .recertify import recertify

PASSES = {"prune": prune, "factorize": factorize, "quantize": quantize, "recertify": recertify, "cast": cast}
STEPS = tuple(PASSES)  # always in this order
DATA = ("calibration", "samples", *IMAGES)  # of every step: where its samples come from
LIMITS = ("max_drop", "relative", "exceeded")
EXCEEDED = ("promote", "stop")
NOT_OPTIONS = ("model", "calibration", "base_dir", "progress")  # of a pass: no recipe says them
FOUR_BITS = ("group_size", "rounding", "zero_points", "share", "first_last")


@dataclass(frozen=True)
class Recipe:
    """What `compress` does.

    Attributes
    ----------
    steps : {name of a pass: its options}, in the order of `STEPS`
    max_drop, relative, exceeded : as the recipe says them; None where it does not
    float_products : of a plan compiled from the result; None where the recipe does not say it
    """

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    max_drop: float | None = None
    relative: bool | None = None
    exceeded: str | None = None
    float_products: str | None = None


def read(source: str | os.PathLike | Mapping) -> Recipe:
    """The recipe in a YAML, JSON or TOML file, or in a dict; the options' values are not checked yet.

    Parameters
    ----------
    source : path or dict
        Calibration data in a file is relative to its folder, where it exists there.

    Raises
    ------
    ValueError
        If a key is unknown or a table is missing; the message begins with the path of the key.
    ModuleNotFoundError
        If it is a YAML file and PyYAML is not installed.
    """
    if isinstance(source, Mapping):
        return checked(source)
    path = Path(source)
    found = checked(_parsed(path))
    for options in found.steps.values():
        data = options.get("calibration")
        if isinstance(data, str):
            options["calibration"] = _beside(path, data)
        elif isinstance(data, list):
            options["calibration"] = [_beside(path, word) if isinstance(word, str) else word for word in data]
    return found


def checked(value: Any, path: str = "recipe") -> Recipe:
    """The recipe that the tables in `value` describe; `path` leads to it.

    The table `data` holds the entries of `DATA` for all steps that have none of their own.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{path}: must be a table of steps, got {value!r}")
    for key in value:
        if key not in (known := (*STEPS, "data", *LIMITS, "float_products")):
            raise unknown_key(key, known, path)
    tables = {name: value[name] for name in (*STEPS, "data") if value.get(name) is not None}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ValueError(f"{path}.{name}: must be a table of options, got {table!r}")
        known = DATA if name == "data" else (*options_of(name), *DATA, "max_drop")
        for key in table:
            if key not in known:
                raise unknown_key(key, known, f"{path}.{name}")
        if "max_drop" in table:
            check_drop(table["max_drop"], f"{path}.{name}.max_drop")
    shared = tables.pop("data", {})
    steps = {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}
    for options in steps.values():
        if not set(options) & set(DATA):
            options.update(shared)
    limits = {key: value.get(key) for key in LIMITS}
    if limits["max_drop"] is not None:
        check_drop(limits["max_drop"], f"{path}.max_drop")
    if not isinstance(limits["relative"], (bool, type(None))):
        raise ValueError(f"{path}.relative: must be true or false, got {limits['relative']!r}")
    if limits["exceeded"] not in (None, *EXCEEDED):
        raise ValueError(f"{path}.exceeded: must be one of {', '.join(EXCEEDED)}, got {limits['exceeded']!r}")
    products = value.get("float_products")
    if products not in (None, *FLOAT_PRODUCTS):
        raise ValueError(f"{path}.float_products: must be one of {', '.join(FLOAT_PRODUCTS)}, got {products!r}")
    return Recipe(steps, **limits, float_products=products)


def unknown_key(key: object, known: Iterable[str], path: str) -> ValueError:
    """The error for a key that is not `known`: its path, and what was probably meant."""
    near = difflib.get_close_matches(str(key), list(known), 1, 0.5)
    said = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return ValueError(f"{path}.{key}: unknown key; {said}")


def check_drop(value: Any, path: str = "max_drop") -> None:
    """Refuse what is no number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"{path}: must be a number of at least 0, got {value!r}")


def check_limits(recipe: Recipe, max_drop: float | None) -> None:
    """Refuse limits of steps where `max_drop` says that steps are not judged."""
    if max_drop is not None:
        return
    idle = [key for key in ("relative", "exceeded") if getattr(recipe, key) is not None]
    idle += [f"{name}.max_drop" for name, options in recipe.steps.items() if "max_drop" in options]
    if idle:
        raise ValueError(f"recipe.{idle[0]}: has no effect without max_drop at the top")


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The options of the pass `name` that a recipe may hold."""
    return {key: p for key, p in inspect.signature(PASSES[name]).parameters.items() if key not in NOT_OPTIONS}


def own_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that are the pass's own."""
    own = {key: value for key, value in options.items() if key not in (*DATA, "max_drop")}
    if name == "prune":
        own.setdefault("sparsity", None)  # a pattern such as 2:4 determines it
    return own


def check_step(name: str, options: Mapping[str, Any], calibration: object, path: str = "recipe") -> None:
    """Refuse values that the pass `name` refuses whatever the model is; the message begins with the path of the option.

    Parameters
    ----------
    calibration : what the pass will be given; None if nothing
    path : leads to the table of steps; empty where flags gave the options
    """
    known, own = options_of(name), own_options(name, options)
    where = f"{path}.{name}" if path else name
    try:
        for key, value in own.items():
            kinds = str(known[key].annotation)
            if "bool" in kinds and not isinstance(value, bool) and not ("str" in kinds and isinstance(value, str)):
                raise ValueError(f"{key} must be true or false, got {value!r}")
        _check_idle(name, own)
        check_options(PASSES[name], calibration=calibration, **own)
    except ValueError as error:
        raise ValueError(_at(where, str(error), known) if path else f"{where}: {error}") from None


def _at(where: str, said: str, known: Iterable[str]) -> str:
    """`said`, with the path of the option that it begins with."""
    match = re.match(r"(\w+)(?: of '([^']*)')?:? (.*)", said, re.S)
    if match is None or match[1] not in known:
        return f"{where}: {said}"
    return f"{where}.{match[1]}{f'.{match[2]}' if match[2] else ''}: {match[3]}"


def _check_idle(name: str, own: Mapping[str, Any]) -> None:
    """Refuse options that have no effect with the others."""
    if name == "prune" and "scope" in own and (":" in str(own.get("pattern")) or isinstance(own["sparsity"], dict)):
        raise ValueError("scope has no effect: a pattern N:M, or a sparsity for each layer, leaves no choice")
    if name != "quantize":
        return
    bits = own.get("weights", 8)
    if bits == 8 and (idle := [key for key in FOUR_BITS if key in own]):
        raise ValueError(f"{idle[0]} is for weights of 4 bits")
    if bits != "mixed" and "share" in own:
        raise ValueError('share is for weights = "mixed"')
    if "percentile" in own and own.get("method") != "percentile":
        raise ValueError('percentile is for method = "percentile"')


def _beside(path: Path, name: str) -> str:
    """The file called `name` in the folder of the recipe `path`, if there is one; otherwise `name`."""
    return str(path.parent / name) if (path.parent / name).exists() else name


def _parsed(path: Path) -> Any:
    """The content of a YAML, TOML or JSON file, by the ending of its name."""
    try:
        text = path.read_text("utf-8")
        if path.suffix in (".yaml", ".yml"):
            return _yaml(text)
        if path.suffix != ".toml":
            return json.loads(text)
        import tomllib

        return tomllib.loads(text)
    except ModuleNotFoundError as error:
        if error.name == "yaml":
            raise ModuleNotFoundError(
                f"{path}: YAML needs PyYAML: pip install 'pycompress-engine[yaml]'; JSON needs nothing", name="yaml"
            ) from None
        raise ValueError(f"{path}: TOML needs Python 3.11 or newer; write the recipe as JSON") from None
    except RecursionError:
        raise ValueError(f"{path}: it is nested too deeply") from None
    except ValueError as error:  # of the text's encoding, of JSON, of TOML
        raise ValueError(f"{path}: {error}") from None


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {' '.join(str(error).split())}") from None
