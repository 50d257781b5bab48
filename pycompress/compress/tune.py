"""tune: chooses the form of each layer by measured time, error and size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from .. import __version__
from ..cpu import cpu_info
from ..errors import ModelError
from ..plan import Plan as CompiledPlan
from .calibration.blas import one_blas_thread
from .calibration.samples import Calibration, of_one_shape
from .model import graph as g
from .model.prepare import quantized_node
from .progress import Progress
from .quantization.accumulation import TARGETS
from .tuning import clock
from .tuning.measure import Measurements
from .tuning.rounded import Forms, calibrated
from .tuning.search import Evaluate, Goal, Tuner, said
from .tuning.store import Store, fingerprint
from .verdict import CalibrationWarning, warn

FORMS = ("float", "float16", "bfloat16", "int8", "int4")  # by default
ALL = ("float", "float16", "bfloat16", "lowrank", "int8", "int4", "sparse")
WHOLE = ("avxvnni", "avx512vnni", "avx512vbmi", "amx", "dotprod", "i8mm")  # where int8 needs no int16 sums
EVERY = 4  # one sample of this many is held back
HELD = 16  # maximum number of samples held back


@dataclass(frozen=True, eq=False)
class Tuned:
    """What `tune` made.

    Attributes
    ----------
    model : onnx.ModelProto
    plan : Plan
        The same, compiled for the shapes of the calibration samples.
    recipe : dict
        The steps and options with which ``pycompress compress --recipe`` makes such a model; ``float_products`` is that
        of a plan.
    forms : {node: form}
    predicted, measured : dict
        ``microseconds``, ``snr`` (dB), ``bytes``; measured also ``drop`` (None if no output looks like class scores).
    references : {"float" or "int8": dict}
        The same for the model with all layers in one form.
    front : list of dict
        ``predicted`` figures and ``forms`` of plans of which none is better in everything.
    table : dict
        What each form of each layer costs, as JSON types.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((8, 3, 32, 32), np.float32)
    >>> tuned = pycompress.tune(model, samples, min_snr=30)
    >>> sorted(tuned.measured)
    ['bytes', 'drop', 'microseconds', 'snr']
    """

    model: onnx.ModelProto
    plan: CompiledPlan
    recipe: dict[str, Any]
    forms: dict[str, str]
    predicted: dict[str, Any]
    measured: dict[str, Any]
    references: dict[str, dict[str, Any]]
    front: list[dict[str, Any]]
    table: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All but the model and the plan, as JSON types."""
        names = ("recipe", "forms", "predicted", "measured", "references", "front", "table")
        return {name: getattr(self, name) for name in names}


@one_blas_thread
def tune(
    model: g.Model,
    calibration: Calibration,
    *,
    max_drop: float | None = None,
    min_snr: float | None = None,
    latency: float | None = None,
    size: float | None = None,
    evaluate: Evaluate | None = None,
    forms: Sequence[str] = FORMS,
    threads: int = 1,
    cache: str | os.PathLike | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Choose a form for each layer of `model`, by time and error measured on this machine.

    A layer can stay in float, have 16-bit weights, or run on integers with 8-bit or 4-bit weights. The time of each
    layer is measured in plans where all layers have one form, and so is the time of converting tensors where integers
    and floats meet. The error is measured layer by layer and tensor by tensor, at the model's outputs, with samples
    that are held back: a quarter of them. Errors and times are then added up (the errors of a network's tensors are
    independent of each other to a few percent). Plans on the front are found with prices for error and bytes: for given
    prices the best plan is a minimum cut. The chosen plan is built and measured as a whole; if it misses the limit,
    others follow.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    calibration : iterable of samples
        As for ``pycompress.quantize``; kept in memory. Fewer than 4 give a `CalibrationWarning`: none can be held back.
    max_drop : float, optional
        How much `evaluate` may fall against the float model; without `evaluate`, the share of samples for which
        the class with the highest score may change.
    min_snr : float, optional
        Of the outputs on samples that are held back, in dB. With this or `max_drop` the fastest plan is wanted.
    latency : float, optional
        Seconds; the plan of the least error is wanted that takes no longer. Default, if nothing is asked for: the time
        with int8 in all layers.
    size : float, optional
        Bytes of the .onnx file.
    evaluate : callable, optional
        Called with a session, returns a number of which more is better, such as an accuracy.
    forms : sequence of str
        Out of "float", "float16" (weights), "bfloat16" (weights and operands), "lowrank" (float factors that need half
        of the multiplications), "int8", "int4", "sparse" (int8, three quarters of the blocks of 4 inputs are zeros);
        default: all but "lowrank" and "sparse", which seldom pay without training. "float" and "int8" are always among
        them. A plan does not have both "float" and "bfloat16".
    threads : int
        Of the sessions whose time is measured.
    cache : path, optional
        A file for measurements. The same file gives the same result, and an interrupted run goes on from it.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of measurements done and of all.

    Returns
    -------
    Tuned

    Raises
    ------
    ValueError
        If an argument is out of range, the calibration does not fit, or `cache` holds measurements of something else;
        `ModelError`, a ValueError, if the model is quantized already or the engine cannot compute it, or if no plan
        meets the limits.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((8, 3, 32, 32), np.float32)
    >>> tuned = pycompress.tune(model, samples, min_snr=30)
    >>> tuned.measured["snr"] >= 30
    True
    """
    goal = Goal(max_drop, min_snr, latency, size)
    wanted = _forms(forms)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be an integer of at least 1, got {threads!r}")
    if evaluate is not None and max_drop is None:
        raise ValueError("evaluate needs max_drop: how much it may fall")
    model = g.as_model(model, base_dir)
    if (node := quantized_node(model)) is not None:
        raise ModelError(f"node {node.name or node.output[0]!r} ({node.op_type}): the model is quantized already")
    samples = of_one_shape(model, calibration)
    held = samples[EVERY - 1 :: EVERY][:HELD]
    used = [s for i, s in enumerate(samples) if i % EVERY != EVERY - 1 or i // EVERY >= HELD] if held else samples
    if not held:
        warn(
            f"tune: errors are measured on the {len(used)} samples that ranges are taken from; give at least {EVERY}",
            CalibrationWarning,
        )
        held = samples
    target = target_here()
    cpu = cpu_info()
    about = {"model": cpu["model"], "isas": cpu["used"], "threads": threads, "target": target, "samples": len(used), "held_back": len(held), "version": __version__}  # fmt: skip
    arrays = [x for s in samples for _, x in sorted(s.items())]
    mark = fingerprint([model.SerializeToString(deterministic=True), *arrays, about, list(wanted)])
    store = Store(cache, mark)
    network = calibrated(model, used)
    if network.able.why:
        name, why = next(iter(network.able.why.items()))
        raise ModelError(f"node {name!r}: the engine cannot compute it: {why}")
    kinds = Forms(network, TARGETS[target])
    measured = Measurements(network, kinds, wanted, held, threads, store, progress)
    try:
        table = measured.table(about)
        tuner = Tuner(table, measured, goal, evaluate)
        plan, found = tuner.chosen()
        made = kinds.build(plan.forms)
        compiled = clock.plan_of(made, held[0], plan.forms.values())
    finally:
        store.save()
    front = [{"predicted": said(p.predicted), "forms": p.forms} for p in tuner.front]
    predicted, products = said(plan.predicted), clock.products(plan.forms.values())
    return Tuned(
        made,
        compiled,
        kinds.steps(plan.forms, target) | ({"float_products": products} if products != "float32" else {}),
        plan.forms,
        predicted,
        found,
        tuner.references,
        front,
        table.to_dict(),
    )


def target_here() -> str:
    """What weights are rounded for on this CPU: see `target` of ``pycompress.quantize``."""
    return "vnni" if cpu_info()["kernels"]["qgemm"] in WHOLE else "portable"


def _forms(given: Sequence[str]) -> list[str]:
    """The forms, checked, in the order of `ALL`."""
    names = [given] if isinstance(given, str) else list(given)
    if unknown := [name for name in names if name not in ALL]:
        raise ValueError(f"forms: there is no form {unknown[0]!r}; there are {', '.join(ALL)}")
    return [name for name in ALL if name in {*names, "float", "int8"}]
