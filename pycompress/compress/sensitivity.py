"""Measures how far each layer can be pruned on its own before the model's outputs suffer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypedDict

import numpy as np

from .calibration.engine import runner
from .calibration.output_error import float_outputs
from .calibration.samples import Calibration, feeds
from .model import graph as g
from .model.layers import find_layers, float_model
from .prune import prune
from .pruning.masks import parse

SAMPLES = 8


class Sensitivity(TypedDict):
    """What pruning a layer does to the outputs."""

    node: str
    weights: int
    errors: dict[float, float]


def sensitivity(
    model: g.Model,
    calibration: Calibration,
    sparsities: Sequence[float] = (0.5, 0.7, 0.9),
    *,
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    samples: int = SAMPLES,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """The error of the model's outputs when one layer at a time is pruned, by magnitude.

    Parameters
    ----------
    model, pattern, exclude, base_dir
        As in ``pycompress.prune``; layers that it would leave alone are not in the result.
    calibration : iterable of {input name: array}
        As for ``pycompress.quantize``; the first `samples` are used.
    sparsities : sequence of float
        Each in (0, 1).
    samples : int
        At least 1.
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

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    >>> rows = pycompress.sensitivity(model, samples, sparsities=(0.9,))
    >>> worst = max(rows, key=lambda row: row["errors"][0.9])
    >>> sorted(worst)
    ['errors', 'node', 'weights']
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

    wanted = answers(model)
    rows: list[Sensitivity] = []
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
