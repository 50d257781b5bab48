"""Measures how far each layer can be pruned on its own before the model's outputs suffer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from .calibration.engine import runner
from .calibration.output_error import float_outputs
from .calibration.samples import feeds
from .model import graph as g
from .model.layers import find_layers, float_model
from .prune import prune
from .pruning.masks import parse

SAMPLES = 8


def sensitivity(
    model: g.Model,
    calibration: Iterable,
    sparsities: Sequence[float] = (0.5, 0.7, 0.9),
    *,
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    samples: int = SAMPLES,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """The error of the model's outputs when one layer at a time is pruned, by magnitude.

    Parameters
    ----------
    model, pattern, exclude, base_dir
        As in ``pycompress.prune``; layers that it would leave alone are not in the result.
    calibration : iterable of {input name: array}
        As for ``pycompress.quantize``; the first `samples` are used.
    sparsities : sequence of float
        Each in (0, 1).
    progress : callable, optional
        Called with the number of layers done and their total.

    Returns
    -------
    list of dict
        For each layer ``node``, ``weights`` (how many) and ``errors``, by sparsity: the root of the mean squared error of the
        float outputs over the root of their variance.

    Raises
    ------
    ValueError
        As in ``pycompress.prune``, or if the model has no float output.
    """
    if parse(pattern).keep:
        raise ValueError(f"pattern {pattern} has one sparsity only; take unstructured or blocks")
    if bad := [s for s in sparsities if isinstance(s, bool) or not 0 < s < 1]:
        raise ValueError(f"sparsities must be in (0, 1), got {bad[0]!r}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be an integer of at least 1, got {samples!r}")
    model = float_model(model, base_dir)
    outputs = float_outputs(model)
    if not outputs:
        raise ValueError("sensitivity: the model has no float output")
    inputs = [{k: x.copy() for k, x in feed.items()} for feed in islice(feeds(model, calibration), samples)]
    if not inputs:
        raise ValueError("calibration: no samples")

    def answers(of) -> list[np.ndarray]:
        run = runner(of)
        return [np.concatenate([y.ravel() for y in ys]).astype(float) for ys in zip(*(run(outputs, x) for x in inputs))]

    wanted, rows = answers(model), []
    layers = find_layers(model, exclude, 0.5)[0]
    for layer in layers:
        errors = {}
        for sparsity in sparsities:
            got = answers(prune(model, {layer.name: float(sparsity)}, pattern=pattern))
            parts = [np.square(a - b).mean() / max(b.var(), 1e-30) for a, b in zip(got, wanted) if b.size]
            errors[float(sparsity)] = float(np.sqrt(sum(parts)))
        rows.append({"node": layer.name, "weights": layer.w.size, "errors": errors})
        if progress:
            progress(len(rows), len(layers))
    return rows
