"""compress: follows a recipe pass by pass, as long as the model stays good enough."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..cpu import cpu_info
from ..errors import ModelError
from ..formats import atomic
from ..session import InferenceSession
from . import recipe as recipes
from .calibration.computable import computable
from .calibration.observe import EVERY, HELD, Statistics
from .calibration.samples import Calibration, feeds
from .model import graph as g
from .promote import first, noise, rungs
from .verdict import Judge, VerdictWarning

METADATA = "pycompress.compress"
log = logging.getLogger("pycompress")

Evaluate = Callable[[InferenceSession], float]
Apply = Callable[[str, onnx.ModelProto, dict], onnx.ModelProto]


@dataclass(frozen=True)
class Taken:
    """What became of a step of a recipe.

    Attributes
    ----------
    step : the pass
    options : with which the result was made
    outcome : "kept" as the recipe says; "promoted": with gentler options; "left out"; "stopped": it and all later ones left out
    said : how the options became gentler
    layers : the layers that were promoted, if not all were
    seconds : of all attempts
    attempts : how many results were judged
    bytes : of the model afterwards
    snr : in dB, of the worst output against the model before the first step; None if that was not measured
    score : what `evaluate` gave; without it, the share of the outputs' squares that is no error
    drop : by how much the score is lower than that of the model before the first step
    """

    step: str
    options: dict[str, Any]
    outcome: str = "kept"
    said: str = ""
    layers: tuple[str, ...] = ()
    seconds: float = 0.0
    attempts: int = 1
    bytes: int = 0
    snr: float | None = None
    score: float | None = None
    drop: float | None = None

    def __str__(self) -> str:
        parts = [f"{self.step}: {self.outcome}{f', {self.said}' if self.said else ''}", f"{self.seconds:.1f} s"]
        parts += [f"{self.attempts} attempts"] if self.attempts > 1 else []
        parts += [f"{self.bytes:,} bytes"]
        parts += [f"SNR {self.snr:.1f} dB"] if self.snr is not None else []
        parts += [f"drop {self.drop:.4g}"] if self.drop is not None else []
        return ", ".join(parts)


def compress(
    model: g.Model,
    recipe: str | os.PathLike | Mapping[str, Any],
    calibration: Calibration | None = None,
    evaluate: Evaluate | None = None,
    max_drop: float | None = 0.01,
    relative: bool = False,
    cache: str | os.PathLike | None = None,
    *,
    report: Callable[[Taken], object] | None = None,
    base_dir: str | os.PathLike | None = None,
) -> onnx.ModelProto:
    """Compress `model` by a recipe: prune, factorize, quantize, recertify and cast, as long as it stays good enough.

    After each step the model is judged against the one before the first step. A step that lowers the score by more than
    `max_drop` is repeated with gentler options until it does not: `quantize` gives 8 bits instead of 4, then float, to
    the layers that do the most damage; `prune` lowers the sparsity; `factorize` keeps more energy, share or rank;
    `recertify` lowers the accumulation depth; `cast` takes float16 instead of bfloat16. If nothing helps, the step is
    left out. With ``exceeded: stop`` in the recipe nothing is repeated: the first step that costs too much ends it.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        It is not changed.
    recipe : path or dict
        A YAML file (needs PyYAML), a JSON or TOML file, or a dict: a table of options for each step, as in
        ``{"prune": {"sparsity": 0.5}, "quantize": {"weights": 4}}``. The options are those of the functions of the same
        names, and ``max_drop`` for one step. Also ``max_drop``, ``relative``, ``exceeded: promote`` or ``stop``, and
        ``float_products``, which is for the plan compiled afterwards: no .onnx holds it. The order of the steps is
        fixed: prune, factorize, quantize, recertify, cast.
    calibration : iterable, optional
        Samples as in ``pycompress.quantize``; they are all kept in memory. One in eight, at most eight in all, is held
        back by every step, and judges all steps. They take the place of data that the recipe names (``calibration``,
        ``samples``, ``mean`` ...), which only the command line reads.
    evaluate : callable, optional
        Given an `InferenceSession`, returns a number; higher is better. Default: the share of the outputs' squares that
        is no error, on the samples held back; a drop of 0.01 is a signal-to-noise ratio of 20 dB.
    max_drop : float, optional
        By how much the score may fall in all; the recipe's ``max_drop`` comes first. None: steps are not judged.
    relative : bool
        Whether `max_drop` is a share of the first score.
    cache : path, optional
        A folder for the results of steps. A later call with the same model, options and samples takes them from there.
    report : callable, optional
        Called with a `Taken` after each step: what was done, seconds, bytes, error. The logger "pycompress" gets it, too.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.

    Returns
    -------
    onnx.ModelProto
        Its metadata "pycompress.compress" lists the steps as they were taken.

    Raises
    ------
    ValueError
        If the recipe is invalid (the message begins with the path of the key), there is nothing to judge by, or `evaluate`
        gives no number for `model`; `ModelError`, a ValueError, if a step cannot be taken.
    ModuleNotFoundError
        If the recipe is a YAML file and PyYAML is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((8, 3, 32, 32), np.float32)
    >>> taken = []
    >>> recipe = {"prune": {"sparsity": 0.9}, "quantize": {}}
    >>> small = pycompress.compress(model, recipe, samples, max_drop=0.05, report=taken.append)
    >>> [step.step for step in taken]
    ['prune', 'quantize']
    >>> all(step.drop <= 0.05 for step in taken)
    True
    >>> pycompress.compress(model, {"quantise": {}}, samples)
    Traceback (most recent call last):
    ValueError: recipe.quantise: unknown key; did you mean quantize?
    """
    asked = recipes.read(recipe)
    if not asked.steps:
        raise ValueError(f"recipe: no step; there are {', '.join(recipes.STEPS)}")
    for name, options in asked.steps.items():
        if calibration is None and (named := set(options) & set(recipes.DATA)):
            raise ValueError(f"recipe.{name}.{min(named)}: only the command line reads files: give calibration")
        if name == "quantize" and calibration is None:
            raise ValueError("recipe.quantize: it needs calibration samples")
        recipes.check_step(name, options, calibration)
    model = g.as_model(model, base_dir)
    samples = None if calibration is None else _copies(model, calibration)
    max_drop = max_drop if asked.max_drop is None else asked.max_drop
    relative = relative if asked.relative is None else asked.relative
    recipes.check_limits(asked, max_drop)
    judge = None
    if max_drop is not None:
        recipes.check_drop(max_drop)
        judge = Acceptance(model, samples, evaluate, max_drop, relative)
    elif evaluate is not None:
        raise ValueError("evaluate judges steps, and max_drop=None says that nothing does")

    def apply(name: str, before: onnx.ModelProto, options: dict) -> onnx.ModelProto:
        return recipes.PASSES[name](before, calibration=samples, **options)

    if cache is not None:
        apply = Cache(Path(cache), samples).around(apply)
    return follow(model, asked, apply, judge, report)


def follow(
    model: onnx.ModelProto,
    recipe: recipes.Recipe,
    apply: Apply,
    judge: Acceptance | None = None,
    report: Callable[[Taken], object] | None = None,
) -> onnx.ModelProto:
    """The model after the steps of `recipe`, each taken by `apply`(name, model, the pass's own options)."""
    done: list[Taken] = []
    for name, options in recipe.steps.items():
        start = time.perf_counter()
        own = recipes.own_options(name, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerdictWarning)  # each result is judged here
            made, taken = _step(name, own, model, apply, judge, options.get("max_drop"), recipe.exceeded)
        taken = replace(taken, seconds=time.perf_counter() - start, bytes=made.ByteSize())
        model = made
        done.append(taken)
        log.info("%s", taken)
        if report:
            report(taken)
        if taken.outcome == "stopped":
            break
    told = [{k: v for k, v in asdict(t).items() if k != "seconds"} for t in done]
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told, default=str)})
    return model


def _step(name, own, model, apply: Apply, judge, limit, exceeded) -> tuple[onnx.ModelProto, Taken]:
    """The result of a step that is good enough, and what became of it; the model as it is if there is none."""
    after = apply(name, model, own)
    if judge is None:
        return after, Taken(name, own)
    found = judge.measure(after)
    if judge.holds(found, limit):
        return after, Taken(name, own, **found)
    attempts, good = 1, {}
    if exceeded != "stop" and judge.judge is not None:

        def holds(rung) -> bool:
            nonlocal attempts
            attempts += 1
            try:
                made = apply(name, model, rung.options)
            except ModelError:  # nothing is left for the pass to do
                return False
            got = judge.measure(made)
            if judge.holds(got, limit):
                good[rung.said] = made, got
                return True
            return False

        rung = first(rungs(name, own, model, after, judge.judge), holds)
        if rung is not None:
            made, got = good[rung.said]
            return made, Taken(name, rung.options, "promoted", rung.said, rung.layers, attempts=attempts, **got)
    told = f"it alone would be a drop of {found['drop']:.4g}" if not good else ""
    outcome = "stopped" if exceeded == "stop" else "left out"
    return model, Taken(name, own, outcome, told, attempts=attempts, **judge.measure(model))


class Acceptance:
    """Judges models against the one before the first step."""

    def __init__(self, model: onnx.ModelProto, samples: list | None, evaluate: Evaluate | None, max_drop, relative):
        if samples is None and evaluate is None:
            raise ValueError("max_drop: there is nothing to judge by: give calibration or evaluate, or max_drop=None")
        self.evaluate, self.judge = evaluate, None
        if samples is not None:
            held = [x for i, x in enumerate(samples) if i % EVERY == EVERY - 1][:HELD] or samples[:HELD]
            self.judge = Judge(model, Statistics(held=held), computable(model, samples[0]).ends)
        self.base = 1.0 if evaluate is None else self._score(model)
        if not math.isfinite(self.base):
            raise ValueError(f"evaluate gave {self.base} for the model before the first step")
        self.relative, self.max_drop = relative, max_drop

    def _score(self, model: onnx.ModelProto) -> float:
        got = self.evaluate(InferenceSession(model))
        try:
            return float(got)
        except (TypeError, ValueError):
            raise ValueError(f"evaluate must return a number, got {got!r}") from None

    def measure(self, model: onnx.ModelProto) -> dict[str, float | None]:
        """{snr, score, drop} of `model`."""
        snr = self.judge.compare(model).get("snr") if self.judge else None
        if self.evaluate is not None:
            score = self._score(model)
        elif snr is None:
            raise ModelError("max_drop: the model has no float output to judge by: give evaluate, or max_drop=None")
        else:
            score = 1 - noise(snr)
        return {"snr": snr, "score": score, "drop": self.base - score}

    def holds(self, found: Mapping[str, float | None], limit: float | None = None) -> bool:
        """Whether the drop that `measure` found is allowed; `limit` is that of one step."""
        allowed = (self.max_drop if limit is None else limit) * (abs(self.base) if self.relative else 1)
        return found["drop"] <= allowed + 1e-12  # False for NaN


class Cache:
    """Results of steps in a folder, by the content of all that they are made of."""

    def __init__(self, folder: Path, samples: list | None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.samples = hashlib.sha256()
        for feed in samples or ():
            for name, x in feed.items():
                self.samples.update(f"{name} {x.dtype} {x.shape} ".encode() + np.ascontiguousarray(x).tobytes())

    def around(self, apply: Apply) -> Apply:
        """`apply`, which looks into the folder first."""
        from .. import __version__

        def cached(name: str, before: onnx.ModelProto, options: dict) -> onnx.ModelProto:
            key = self.samples.copy()
            here = [cpu_info()["model"], cpu_info()["used"]] if options.get("unless_slower") else None  # measured times
            key.update(f"{__version__} {name} {here} {json.dumps(options, sort_keys=True, default=_plain)} ".encode())
            key.update(before.SerializeToString(deterministic=True))
            path = self.folder / f"{name}-{key.hexdigest()[:32]}.onnx"
            if path.is_file():
                try:
                    return g.as_model(path)
                except ModelError:
                    pass  # damaged: it is made again
            after = apply(name, before, options)
            atomic.write(path, after.SerializeToString())
            return after

        return cached


def _plain(x: Any) -> list:
    """Sets and arrays as lists, for a key; whatever else JSON does not know raises TypeError."""
    return (
        sorted(x)
        if isinstance(x, (set, frozenset))
        else np.asarray(x).tolist()
        if isinstance(x, np.ndarray)
        else list(x)
    )


def _copies(model: onnx.ModelProto, calibration: Calibration) -> list[dict[str, np.ndarray]]:
    """The samples, in arrays of their own: callers may reuse their buffers."""
    found = [{name: x.copy() for name, x in feed.items()} for feed in feeds(model, calibration)]
    if not found:
        raise ValueError("calibration: no samples")
    return found
