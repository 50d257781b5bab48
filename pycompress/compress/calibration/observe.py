"""Runs the float model on calibration samples and keeps statistics of its activations, not the activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..model import graph as g
from ..progress import Progress
from .engine import runner
from .histogram import Histogram
from .moments import Moments
from .samples import Samples

KEPT = 4  # samples
COUNTED = 1 << 14  # values per tensor and sample that go into a histogram; the extremes are of all
EVERY = 8  # samples, of which the last is held back
HELD = 8  # samples, at most


@dataclass
class Statistics:
    """What calibration samples say.

    Attributes
    ----------
    histograms : of each observed tensor
    moments : of what the weights of each node meet, by its name
    first : the first samples
    held : samples that are in none of that, to judge the result by; some of the first where there are too few
    apart : whether the former is so
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    first: list[dict[str, np.ndarray]] = field(default_factory=list)
    held: list[dict[str, np.ndarray]] = field(default_factory=list)
    apart: bool = True


def observe(
    model: onnx.ModelProto,
    samples: Samples | Iterable,
    tensors: list[str],
    weighted: list[onnx.NodeProto],
    progress: Progress | None = None,
    keep: int | None = KEPT,
) -> Statistics:
    """Statistics of `tensors` over the samples, and of what the nodes `weighted` meet, in one pass.

    The first `keep` samples are kept, all where it is None. One in `EVERY`, up to `HELD`, is held back.
    """
    samples = samples if isinstance(samples, Samples) else Samples(model, samples)
    inputs = {i.name for i in model.graph.input}
    inner = [t for t in tensors if t not in inputs]
    run = runner(up_to(model, inner)) if inner else None
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    seen = Statistics({t: Histogram() for t in tensors}, {n.name: Moments(n, shapes[n.input[1]]) for n in weighted})
    rng, count = np.random.default_rng(0), 0
    for index, feed in enumerate(samples):
        if index % EVERY == EVERY - 1 and len(seen.held) < HELD:
            seen.held.append(_copied(feed))
        else:
            _count(seen, weighted, {**feed, **dict(zip(inner, run(inner, feed) if inner else ()))}, count, index, rng)
            if keep is None or count < keep:
                seen.first.append(_copied(feed))
            count += 1
        if progress:
            progress(index + 1, None)
    if not seen.held:
        seen.held, seen.apart = seen.first[:HELD], False
    return seen


def _copied(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.copy() for name, x in feed.items()}  # callers may use a buffer again


def _count(seen: Statistics, weighted, values: dict[str, np.ndarray], count: int, index: int, rng) -> None:
    """Adds the `values` of tensors in one sample."""
    for name, histogram in seen.histograms.items():
        x = values[name]
        low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
        if not np.isfinite([low, high]).all():
            raise ValueError(f"calibration: tensor {name!r} is not finite in sample {index}")
        flat = x.reshape(-1)
        stride = max(1, flat.size // COUNTED) | 1  # odd: meets every channel of an even layout
        histogram.add(flat[count % stride :: stride], low, high)
        for node in weighted:
            if node.input[0] == name:
                seen.moments[node.name].add(x, rng)


def up_to(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """The part of `model` that computes `tensors`, its outputs."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.extend(helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in tensors)
    g.set_nodes(part, _needed(part, tensors))
    g.drop_unused(part)
    return part


def _needed(model: onnx.ModelProto, names: list[str]) -> list[onnx.NodeProto]:
    """The nodes that `names` depend on, in order."""
    wanted, kept = set(names), []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(g.inputs_of(node))
    return kept[::-1]
