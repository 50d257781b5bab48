"""The steps of ``compress``: checked before the first begins, then taken one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import ModelError
from . import calibration, images, models
from .recipe import PLANNED, SAMPLES, Steps

Samples = Callable[[int], np.ndarray]
FREE = "data-free"  # in place of calibration data: as `quantize` knows it


def check(
    steps: Steps,
    source: models.Source,
    shapes: dict,
    planned: bool,
    warn,
    given: Samples | None = None,
    path: str = "",
) -> None:
    """Refuse, before any work, a chain of steps that cannot be completed, and options without effect.

    Parameters
    ----------
    shapes : of the inputs, as --shape gives them
    planned : whether the result is compiled into a plan
    warn : called with warnings
    given : gives so many samples to the steps that have no calibration data of their own
    path : leads to the steps in a recipe; empty where flags gave them

    Raises
    ------
    ValueError
        It names the step and the option.
    """
    from ..compress.recipe import check_step

    for name, options in steps.items():
        check_step(name, options, options.get("calibration", "given" if given else None), path)
        _own(name, options, shapes)
    _check_chain(steps, source, shapes)
    for name, options in steps.items():
        if given is None or "calibration" in options:
            _check_data(name, options, source, shapes, planned)
        else:
            _check_count(name, options)
        images.fit({key: options.get(key) for key in images.OPTIONS}, warn)
    if shapes and not planned and not any("calibration" in o or name == "factorize" for name, o in steps.items()):
        raise ValueError("--shape is for calibration data, --factorize and plans, and there is none of them")
    if shapes:
        source.ports(shapes, partly=True)
    if "factorize" in steps and steps.get("prune", {"pattern": "channel"}).get("pattern") != "channel":
        warn(
            "factorize replaces the weights that prune has set to zero by dense factors in the layers that it factorizes"
        )


def take(name: str, proto, options: dict, source: models.Source, shapes: dict, tick, given: Samples | None = None):
    """Apply the step `name` to `proto`; `tick` shows its progress, `given` gives samples where `options` name none."""
    import pycompress

    return getattr(pycompress, name)(
        proto,
        calibration=feeds(options, source, shapes, given),
        progress=lambda done, total: tick(done, total, "layer" if total else "sample"),
        **_own(name, options, shapes),
    )


def _own(name: str, options: dict, shapes: dict) -> dict:
    """The options of the pass itself."""
    from ..compress.recipe import own_options

    own = own_options(name, options)
    if name == "factorize" and shapes:
        if "input_shapes" in own:
            raise ValueError("--shape and the recipe's input_shapes of factorize: give one of them")
        own["input_shapes"] = shapes[""] if set(shapes) == {""} else shapes
    return own


def feeds(options: dict, source: models.Source, shapes: dict, given: Samples | None = None):
    """The calibration samples of a step, or None."""
    if "calibration" not in options:
        return given(options.get("samples", SAMPLES)) if given else None
    if is_free(options["calibration"]):
        return FREE
    how = images.fit({key: options.get(key) for key in images.OPTIONS})
    count = options.get("samples", SAMPLES)
    return calibration.samples(options["calibration"], source.ports(shapes, partly=True), count, how)


def is_free(data) -> bool:
    """Whether calibration `data` are none: ranges come from the model's own statistics."""
    return data == FREE and not Path(FREE).exists()


def _check_count(name: str, options: dict) -> None:
    count = options.get("samples", SAMPLES)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name}: samples must be an integer of at least 1, got {count!r}")


def _check_data(name: str, options: dict, source: models.Source, shapes: dict, planned: bool) -> None:
    """Refuse data that is missing or does not fit the model, and image options without effect."""
    _check_count(name, options)
    data = options.get("calibration")
    how = [key for key in images.OPTIONS if key in options and not (planned and key in PLANNED)]
    if data is None:
        if name == "quantize":
            raise ValueError("quantize: it needs calibration data")
        if idle := ["samples"] * ("samples" in options) + how:
            raise ValueError(f"{name}: {idle[0]} is for calibration data, and there is none")
        return
    if is_free(data):
        if name != "quantize":
            raise ValueError(f"{name}: calibration {FREE} is for quantize alone")
        if idle := ["samples"] * ("samples" in options) + how:
            raise ValueError(f"{name}: {idle[0]} has no effect on calibration {FREE}")
        return
    if not calibration.named(data):
        raise ValueError(f"{name}: calibration must name a file or folder, or several, got {data!r}")
    if idle := set(how) - set(calibration.image_options(data)):
        raise ValueError(
            f"{name}: {min(idle)} has no effect on the calibration data {', '.join(calibration.named(data))}"
        )
    from ..compress.calibration import samples

    for text in calibration.named(data):
        samples.Samples(source.proto, feeds({**options, "calibration": text, "samples": 1}, source, shapes))


def _check_chain(steps: Steps, source: models.Source, shapes: dict) -> None:
    """Refuse steps that leave nothing to do for a later one, or that the model does not allow."""
    from ..compress.cast import castable
    from ..compress.factorize import check_sizes
    from ..compress.model.prepare import quantized_node
    from ..compress.quantization.targets import OPERATORS

    coded = quantized_node(source.proto)
    if "factorize" in steps and coded is None:
        try:
            check_sizes(source.proto, _own("factorize", steps["factorize"], shapes).get("input_shapes"))
        except ModelError as error:
            raise ModelError(f"factorize: {error}".replace("give input_shapes", "give --shape")) from None
    if "recertify" in steps and "quantize" in steps:
        raise ValueError("recertify is for models that are quantized already; quantize needs no help")
    if "recertify" in steps and coded is None:
        raise ModelError(
            f"{source.text}: nothing to certify: recertify is for quantized models, and this has no quantized layer"
        )
    if coded is not None and (late := [name for name in ("prune", "factorize", "quantize") if name in steps]):
        raise ModelError(
            f"{source.text} is quantized already ({coded.op_type}): it cannot {late[0]} any more; start from the float model"
        )
    _check_names(steps, source)
    if "cast" in steps and len(steps) > 1:
        before = steps.get("quantize")
        gone = set(before.get("operators", OPERATORS)) if before is not None else set()
        if not castable(source.proto, gone, set((before or {}).get("exclude", ()))):
            done = "quantize leaves" if before is not None else "there are"
            raise ModelError(f"cast: {done} no float32 weights to cast: leave one of the steps out")


def _check_names(steps: Steps, source: models.Source) -> None:
    """Refuse names that no node has; after factorize, new nodes may have any name."""
    from ..compress.model import graph as g
    from ..compress.model.prepare import readable

    proto = source.proto
    known = {node.name for model in (proto, readable(g.copied(proto))) for node in model.graph.node}
    for name, options in steps.items():
        for key in ("exclude", "sparsity", "rank", "weights"):
            value = options.get(key)
            if isinstance(value, (list, dict)) and (unknown := [node for node in value if node not in known]):
                raise ValueError(f"{name}: {key}: the model has no node {unknown[0]!r}")
        if name == "factorize":
            return
