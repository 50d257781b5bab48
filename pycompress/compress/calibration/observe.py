"""Runs the float model on calibration samples and keeps statistics of its activations, not the activations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..model import graph as g
from ..progress import Progress
from .engine import Run, runner
from .histogram import Histogram
from .moments import Moments
from .samples import Samples
from .spool import Spool

KEPT = 4  # samples
COUNTED = 1 << 14  # values per tensor and sample that go into a histogram; the extremes are taken over all values
EVERY = 8  # one sample of this many is held back
HELD = 8  # maximum number of samples held back


@dataclass
class Statistics:
    """Statistics of calibration samples.

    Attributes
    ----------
    histograms : by observed tensor
    moments : by name of a node, of the inputs of its weights
    common : by name of the first of several nodes with common weights, of the inputs of all
    first : the first samples
    spool : all samples that are part of the statistics, in a file; None unless asked for
    distinct : how many different samples there were
    held : samples to judge the result by; they are not part of the statistics, unless there are too few samples
    held_back : whether `held` is not part of the statistics
    wanted : what the model says of those of `held` that are judged by, where that is known already
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    common: dict[str, Moments] = field(default_factory=dict)
    first: list[dict[str, np.ndarray]] = field(default_factory=list)
    spool: Spool | None = None
    distinct: int = 0
    held: list[dict[str, np.ndarray]] = field(default_factory=list)
    held_back: bool = True
    wanted: list[list[np.ndarray]] | None = None


def observe(
    model: onnx.ModelProto,
    samples: Samples | Iterable,
    tensors: list[str],
    weighted: list[onnx.NodeProto],
    progress: Progress | None = None,
    keep: int | None = KEPT,
    store: bool = False,
    run: Run | None = None,
    alike: Mapping[str, str] | None = None,
) -> Statistics:
    """Statistics of `tensors`, and of the inputs of the nodes `weighted`, in one pass over the samples.

    The first `keep` samples are kept, or all if it is None; `store`: all in a file. One in `EVERY`, up to `HELD`, is held back.
    `run` computes `tensors`, where something does already. `alike`: for nodes that have their weights in common, by name,
    the first of them; they have common moments, and each alone has only variances.
    """
    samples = samples if isinstance(samples, Samples) else Samples(model, samples)
    inputs = {i.name for i in model.graph.input}
    inner = [t for t in tensors if t not in inputs]
    run = runner(up_to(model, inner)) if inner and run is None else run
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    alike = alike or {}
    seen = Statistics({t: Histogram() for t in tensors})
    for n in weighted:
        shape = shapes[n.input[1]]
        seen.moments[n.name] = Moments(n, shape, products=n.name not in alike)
        if alike.get(n.name) == n.name:
            seen.common[n.name] = Moments(n, shape)
    seen.spool = Spool() if store else None
    rng, count, known = np.random.default_rng(0), 0, set()
    for index, feed in enumerate(samples):
        known.add(hash(tuple(np.ascontiguousarray(x).tobytes() for x in feed.values())))
        if index % EVERY == EVERY - 1 and len(seen.held) < HELD:
            seen.held.append(_copied(feed))
        else:
            found = {**feed, **dict(zip(inner, run(inner, feed) if inner else ()))}
            _count(seen, weighted, alike, found, count, index, rng)
            if keep is None or count < keep:
                seen.first.append(_copied(feed))
            if store:
                seen.spool.append(feed)
            count += 1
        if progress:
            progress(index + 1, None)
    seen.distinct = len(known)
    if not seen.held:
        seen.held, seen.held_back = seen.first[:HELD], False
    return seen


def _copied(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.copy() for name, x in feed.items()}  # callers may reuse their buffers


def _count(seen: Statistics, weighted, alike, values: dict[str, np.ndarray], count: int, index: int, rng) -> None:
    """Adds the `values` of tensors for one sample."""
    for name, histogram in seen.histograms.items():
        x = values[name]
        low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
        if not np.isfinite([low, high]).all():
            raise ValueError(f"calibration: tensor {name!r} is not finite in sample {index}")
        flat = x.reshape(-1)
        stride = max(1, flat.size // COUNTED) | 1  # odd, so that it reaches every channel if their number is even
        histogram.add(flat[count % stride :: stride], low, high)
        for node in weighted:
            if node.input[0] == name:
                seen.moments[node.name].add(x, rng)
                if node.name in alike:
                    seen.common[alike[node.name]].add(x, rng, count)


def up_to(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """The part of `model` that computes `tensors`, with these as outputs."""
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
