"""Pruning with calibration samples: chooses the weights to remove, and re-fits the others.

A layer computes W x. With the covariance H of its inputs, removing one weight w_k while the rest of its row
compensates costs w_k^2 / [H^-1]_kk (optimal brain surgeon: Hassibi and Stork, 1993; for large layers: SparseGPT,
arXiv:2301.00774). The cheapest weights are removed; then the others are fitted exactly: V with these zeros
minimizes (V - W) H (V - W)'. Without re-fitting the cost is w_k^2 H_kk, as in Wanda (arXiv:2306.11695), but with H
about the mean, which the bias absorbs.

Layers are processed in order. Each is fitted to its outputs in the original network, while its inputs are those of
the network pruned so far; so it also compensates for the errors before it. For EfficientNet-Lite0 that matters more
than the choice of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from ..calibration.computable import Computable
from ..calibration.observe import Statistics, observe
from ..calibration.output_error import Probe, float_outputs
from ..calibration.samples import Samples
from ..calibration.sequential import MIN_COST, Problem, following, problem
from ..model import graph as g
from ..model.layers import Layer, write
from ..progress import Progress, counted
from .masks import Pattern, choose_masks

PROBED = 8  # samples that are run to measure the effect of each layer on the error
TRIED = 0.5  # the maximum sparsity of that measurement: beyond it, the outputs of some models are useless
SOFT = 0.6  # exponent of that effect: later layers compensate for some of it


def prune_on_data(
    model: onnx.ModelProto,
    able: Computable,
    layers: list[Layer],
    pattern: Pattern,
    sparsity: float | Sequence[float],
    calibration: Samples,
    refit: bool,
    progress: Progress | None = None,
) -> tuple[list[np.ndarray], dict[str, str], Statistics]:
    """Prunes `layers` of `model`, in place; one `sparsity` applies to all together, several to one layer each.

    Returns
    -------
    (weights, plain, seen) : the new weights of each layer; the layers that were not re-fitted, and why; the statistics of
        calibration.
    """
    nodes = [layer.node for layer in layers]
    tensors = list(dict.fromkeys(n.input[0] for n in nodes))
    seen = observe(model, calibration, tensors, nodes, progress, keep=None if refit else PROBED)
    samples = seen.first
    problems = [problem(layer, seen.moments[layer.name]) for layer in layers]
    costs = [p.importance(refit) for p in problems]
    segments = [layer.segments for layer in layers]
    if isinstance(sparsity, float) and not pattern.keep:
        some = samples[:: max(1, len(samples) // PROBED)][:PROBED]
        parts = gains(able.part, layers, problems, costs, pattern, min(sparsity, TRIED), some, refit, progress)
        masks = choose_masks([c * x**SOFT for c, x in zip(costs, parts)], segments, pattern, sparsity)
        ratios = [1 - float(mask.mean()) for mask in masks]
    else:
        ratios = [sparsity] * len(layers) if isinstance(sparsity, float) else sparsity
        masks = choose_masks(costs, segments, pattern, ratios)
    if not refit:
        weights = [np.where(mask, layer.w, 0.0) for layer, mask in zip(layers, masks)]
        for layer, p, w in zip(layers, problems, weights):
            write(model, layer, w, p.bias(layer, w) if len(layer.nodes) == 1 else None)
        return weights, {}, seen
    whole, weights, plain = g.copied(model), [], {}
    for layer, ratio in counted(zip(layers, ratios), progress):
        p = following(layer, whole, model, samples)
        (mask,) = choose_masks([p.importance(True)], [layer.segments], pattern, [ratio])
        mask &= layer.w != 0
        if len(layer.nodes) > 1:
            plain[layer.name] = "several nodes share its weights"
            weights.append(np.where(mask, layer.w, 0.0))
            write(model, layer, weights[-1])
            continue
        if p.h.ndim == 1:
            plain[layer.name] = f"{len(p.h)} weights of an output are too many"
        weights.append(p.fitted(mask, np.where(mask, layer.w, 0.0)))
        write(model, layer, weights[-1], p.bias(layer, weights[-1]))
    return weights, plain, seen


def gains(
    model: onnx.ModelProto,
    layers: list[Layer],
    problems: list[Problem],
    costs: list[np.ndarray],
    pattern: Pattern,
    sparsity: float,
    samples: list[dict[str, np.ndarray]],
    refit: bool,
    progress: Progress | None = None,
) -> list[float]:
    """How much a cost of each layer's weights adds to the error of the model's outputs, measured one layer at a time.

    Without float outputs, relative to the total cost of the layer's weights.
    """
    if not float_outputs(model):
        return [max(float(c.sum()), MIN_COST) ** (-1 / SOFT) for c in costs]
    probe, found = Probe(model, layers, samples), []
    for layer, p, c in counted(zip(layers, problems, costs), progress):
        w, bias, mask = trial(layer, p, c, pattern, sparsity, refit)
        gone = float(c[~mask].sum())
        found.append(probe.error(layer, w, bias) / gone if gone else np.inf)
    largest = max((x for x in found if np.isfinite(x)), default=0.0) or 1.0
    return [max(x, 1e-9 * largest) if np.isfinite(x) else largest for x in found]


def trial(layer: Layer, p: Problem, costs: np.ndarray, pattern: Pattern, sparsity: float, refit: bool):
    """Weights, bias and mask of `layer` when it alone is pruned."""
    (mask,) = choose_masks([costs], [layer.segments], pattern, [sparsity])
    w = np.where(mask, layer.w, 0.0)
    w = p.fitted(mask, w) if refit else w
    bias = p.bias(layer, w)
    return w, layer.bias if bias is None else bias, mask
