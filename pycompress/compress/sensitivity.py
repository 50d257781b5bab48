"""sensitivity: how much sparsity each layer bears, measured one by one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from ..errors import ModelError
from . import graph as g
from .blas import one_blas_thread
from .calibrate import observe
from .layers import find_layers, float_only
from .masks import parse
from .quantize import prepare
from .reconstruct import problem, trial
from .windows import Probe, float_outputs

TESTED = 16  # samples that the error is measured on


@one_blas_thread
def sensitivity(
    model: g.Model,
    calibration: Iterable,
    sparsities: Sequence[float] = (0.25, 0.5, 0.75, 0.9),
    *,
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    reconstruct: bool = True,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[dict]:
    """The error of the model's outputs with a single layer pruned, for each layer and sparsity.

    Parameters
    ----------
    model, pattern, exclude, base_dir, progress
        As in `prune`.
    calibration : iterable
        Samples as in `quantize`, consumed once; the error is measured on the first 16 of them.
    sparsities : sequence of float
        In [0, 1). With a pattern N:M, which has one of its own, they are ignored.
    reconstruct : bool
        Re-fit the weights that stay; if not, importance is that of Wanda. Biases take up the mean of the error
        either way.

    Returns
    -------
    list of {"node", "weights", "sparsity", "error"}
        A row for each layer, in order, and sparsity: the number of weights, the share of zeros reached, and the
        root of the outputs' mean squared error relative to their variance, summed over outputs.

    Raises
    ------
    ValueError
        As in `prune`; `ModelError`, a ValueError, where the model has no float output.
    """
    shape = parse(pattern)
    wanted = [shape.sparsity] if shape.keep else list(sparsities)
    for value in wanted:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
            raise ValueError(f"sparsities must be in [0, 1), got {value!r}")
    model = prepare(float_only(g.as_model(model, base_dir)))
    if not float_outputs(model):
        raise ModelError("the model has no float output whose error could be measured")
    layers, _ = find_layers(model, exclude, 0.0)
    nodes = [layer.node for layer in layers]
    seen = observe(model, calibration, list(dict.fromkeys(n.input[0] for n in nodes)), nodes, progress, TESTED)
    probe, rows = Probe(model, layers, seen.first), []
    for layer in layers:
        p = problem(layer, seen.patches[layer.name])
        costs = p.importance(reconstruct)
        for value in wanted:
            w, bias, _ = trial(layer, p, costs, shape, float(value), reconstruct)
            error = float(np.sqrt(probe.error(layer, w, bias)))
            share = float((w == 0).mean())
            rows.append({"node": layer.name, "weights": w.size, "sparsity": share, "error": error})
    return rows
