"""Pruning by what calibration samples say: which weights matter, and what the others become without them.

A layer computes W x. With the covariance H of its inputs, taking one weight w_k away and letting the
rest of its row make up for it costs w_k^2 / [H^-1]_kk (optimal brain surgeon: Hassibi and Stork, 1993; for
large layers: SparseGPT, arXiv:2301.00774). What costs least goes; then the rest is fitted exactly: the V
with these zeros for which (V - W) H (V - W)' is least. Without re-fitting it costs w_k^2 H_kk, as in Wanda
(arXiv:2306.11695), but about the mean: the bias takes that up.

Layers are taken in order, and each is fitted to the outputs that it has in the whole network while
its inputs are those of the network pruned so far: so it makes up for the errors before it, too. In
EfficientNet-Lite0 that counts for more than how the weights are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..session import InferenceSession
from . import graph as g
from .calibrate import observe, up_to
from .layers import Layer, write
from .masks import Pattern, choose
from .patches import Patches
from .windows import Probe, float_outputs

RIDGE = 1e-3  # of the inputs' mean variance, added to each: what calibration has not seen may still happen
STEPS = 60  # of conjugate gradients, at most
CLOSE = 1e-5  # of its first gradient, which ends them
PROBED = 8  # samples that run through the network for each layer whose part in the error is measured
LEAST = 1e-60  # cost of a weight that is not zero: those cost nothing that are
TRIED = 0.5  # the sparsity for that, or what is asked for if it is less: beyond, nothing is left of some answers
SOFT = 0.6  # exponent of a layer's part in the error: later layers make up for some of what it does alone


@dataclass(frozen=True, eq=False)
class Problem:
    """What a layer is fitted to: the weights `w` [n,k] are best, and errors d of a row cost d' h d.

    Attributes
    ----------
    h : float32[k,k], or [k] where a full one would be too large
    offset : float[n], the mean of the outputs that are wanted, without bias; None where there can be no bias
    mean : float[k], of the inputs
    """

    w: np.ndarray
    h: np.ndarray
    offset: np.ndarray | None
    mean: np.ndarray

    def importance(self, refit: bool) -> np.ndarray:
        """What each weight costs, [n,k]: above zero where it is not zero."""
        if self.h.ndim == 1:
            costs = self.h
        else:
            costs = 1 / np.linalg.inv(self.h.astype(float)).diagonal() if refit else self.h.diagonal()
        return np.where(self.w != 0, np.maximum(np.square(self.w) * costs, LEAST), 0.0)

    def fitted(self, mask: np.ndarray) -> np.ndarray:
        """The best weights that are zero outside `mask`."""
        return least_squares(self.w, mask, self.h) if self.h.ndim > 1 else np.where(mask, self.w, 0.0)

    def bias(self, layer: Layer, w: np.ndarray) -> np.ndarray | None:
        """The bias with which `w` has the mean outputs that are wanted."""
        if self.offset is None:
            return None
        return self.offset - w @ self.mean + (0 if layer.bias is None else layer.bias)


def problem(layer: Layer, met: Patches, dense: Patches | None = None, products: np.ndarray | None = None) -> Problem:
    """Of `layer` whose inputs are `met`: to have the outputs that it had, or those that it had for inputs `dense`.

    `products` : [k,k], sums of those inputs times these.
    """
    zero = not layer.correct
    mean, before = (np.zeros(met.k) if zero else p.mean[0] for p in (met, dense or met))
    offset = None if zero else layer.w @ before
    c = met.all.covariance(zero)[0].astype(float)
    if not met.full:
        return Problem(layer.w, np.maximum(c, 1e-12).astype(np.float32), offset, mean)
    share, level = met.shrinkage(zero)
    ridge = (share + RIDGE) * max(float(level[0]), 1e-12) * np.eye(met.k)
    h, w = (1 - share) * c + ridge, layer.w
    if products is not None:
        cross = (1 - share) * (products / max(met.all.count, 1) - np.outer(before, mean)) + ridge
        w = np.where(w != 0, np.linalg.solve(h, cross.T @ w.T).T, 0.0)
    return Problem(w, h.astype(np.float32), offset, mean)


def least_squares(w: np.ndarray, mask: np.ndarray, h: np.ndarray) -> np.ndarray:
    """For each row the v, zero outside `mask`, with the least (v - w)' h (v - w), by conjugate gradients, all rows at once."""
    scale = 1 / h.diagonal()
    v = np.where(mask, w, 0).astype(np.float32)
    r = np.where(mask, (w - v).astype(np.float32) @ h, 0)
    p = z = r * scale
    size = first = (r * z).sum(1)
    for _ in range(STEPS):
        q = np.where(mask, p @ h, 0)
        step = size / np.maximum((p * q).sum(1), np.float32(1e-30))
        v += step[:, None] * p
        r -= step[:, None] * q
        z = r * scale
        size, before = (r * z).sum(1), size
        if (size <= CLOSE**2 * first).all():
            break
        p = z + (size / np.maximum(before, np.float32(1e-30)))[:, None] * p
    return v.astype(float)


def prune_on_data(
    model: onnx.ModelProto,
    layers: list[Layer],
    pattern: Pattern,
    sparsity: float | Sequence[float],
    calibration: Iterable,
    refit: bool,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[np.ndarray], dict[str, str]]:
    """Prunes `layers` of `model`, in place; one `sparsity` is for all together, several are one for each.

    Returns
    -------
    (weights, plain) : what the weights of each layer are now, and the layers that were not re-fitted, and why.
    """
    nodes = [layer.node for layer in layers]
    tensors = list(dict.fromkeys(n.input[0] for n in nodes))
    seen = observe(model, calibration, tensors, nodes, progress, keep=None if refit else PROBED)
    samples = seen.first
    problems = [problem(layer, seen.patches[layer.name]) for layer in layers]
    costs = [p.importance(refit) for p in problems]
    segments = [layer.segments for layer in layers]
    if isinstance(sparsity, float) and not pattern.keep:
        some = samples[:: max(1, len(samples) // PROBED)][:PROBED]
        parts = gains(model, layers, problems, costs, pattern, min(sparsity, TRIED), some, refit)
        masks = choose([c * x**SOFT for c, x in zip(costs, parts)], segments, pattern, sparsity)
        ratios = [1 - float(mask.mean()) for mask in masks]
    else:
        ratios = [sparsity] * len(layers) if isinstance(sparsity, float) else sparsity
        masks = choose(costs, segments, pattern, ratios)
    if not refit:
        weights = [np.where(mask, layer.w, 0.0) for layer, mask in zip(layers, masks)]
        for layer, p, w in zip(layers, problems, weights):
            write(model, layer, w, p.bias(layer, w) if len(layer.nodes) == 1 else None)
        return weights, {}
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    weights, plain = [], {}
    for layer, ratio in zip(layers, ratios):
        p = following(layer, whole, model, samples)
        (mask,) = choose([p.importance(True)], [layer.segments], pattern, [ratio])
        mask &= layer.w != 0
        if len(layer.nodes) > 1:
            plain[layer.name] = "several nodes share its weights"
            weights.append(np.where(mask, layer.w, 0.0))
            write(model, layer, weights[-1])
            continue
        if p.h.ndim == 1:
            plain[layer.name] = f"{len(p.h)} weights of an output are too many"
        weights.append(p.fitted(mask))
        write(model, layer, weights[-1], p.bias(layer, weights[-1]))
    return weights, plain


def following(layer: Layer, whole: onnx.ModelProto, pruned: onnx.ModelProto, samples: list[dict]) -> Problem:
    """What `layer` is to be fitted to after the layers that are pruned before it."""
    shape = tuple(g.constants(whole)[layer.node.input[1]].dims)
    met, dense = (Patches(layer.node, shape) for _ in range(2))
    products = np.zeros((met.k, met.k), np.float32) if met.full else None
    before, now = (_input_of(layer, model) for model in (whole, pruned))
    for i, sample in enumerate(samples):
        x, y = (p.sampled(f(sample), np.random.default_rng(i)) for p, f in ((dense, before), (met, now)))
        met.count(y)
        dense.count(x)
        if met.full:
            products += x[0].T @ y[0]
    return problem(layer, met, dense, products)


def _input_of(layer: Layer, model: onnx.ModelProto) -> Callable[[dict], np.ndarray]:
    name = layer.node.input[0]
    if name in {i.name for i in model.graph.input}:
        return lambda sample: sample[name]
    run = InferenceSession(up_to(model, [name])).run
    return lambda sample: run(None, sample)[0]


def gains(
    model: onnx.ModelProto,
    layers: list[Layer],
    problems: list[Problem],
    costs: list[np.ndarray],
    pattern: Pattern,
    sparsity: float,
    samples: list[dict[str, np.ndarray]],
    refit: bool,
) -> list[float]:
    """How much a cost of each layer's weights adds to the error of the model's outputs: measured, each layer alone.

    Where no output is a float number, relative to what all of the layer's weights cost.
    """
    if not float_outputs(model):
        return [max(float(c.sum()), LEAST) ** (-1 / SOFT) for c in costs]
    probe, found = Probe(model, layers, samples), []
    for layer, p, c in zip(layers, problems, costs):
        w, bias, mask = trial(layer, p, c, pattern, sparsity, refit)
        gone = float(c[~mask].sum())
        found.append(probe.error(layer, w, bias) / gone if gone else np.inf)
    most = max((x for x in found if np.isfinite(x)), default=0.0) or 1.0
    return [max(x, 1e-9 * most) if np.isfinite(x) else most for x in found]


def trial(layer: Layer, p: Problem, costs: np.ndarray, pattern: Pattern, sparsity: float, refit: bool):
    """Weights, bias and mask of `layer` if it alone is pruned."""
    (mask,) = choose([costs], [layer.segments], pattern, [sparsity])
    w = p.fitted(mask) if refit else np.where(mask, layer.w, 0.0)
    bias = p.bias(layer, w)
    return w, layer.bias if bias is None else bias, mask
