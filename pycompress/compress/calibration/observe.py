"""Runs the float model on calibration samples and keeps statistics of its activations, not the activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...session import InferenceSession
from ..model import graph as g
from .histogram import Histogram
from .moments import Moments

KEPT = 4  # samples
COUNTED = 1 << 14  # values per tensor and sample that go into a histogram; the extremes are of all


@dataclass
class Statistics:
    """A histogram of each observed tensor, what the weights of each node meet, by its name, and the first samples."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    first: list[dict[str, np.ndarray]] = field(default_factory=list)


def observe(
    model: onnx.ModelProto,
    calibration: Iterable,
    tensors: list[str],
    weighted: list[onnx.NodeProto],
    progress: Callable[[int], None] | None = None,
    keep: int | None = KEPT,
) -> Statistics:
    """Statistics of `tensors` over the samples, and of what the nodes `weighted` meet, in one pass.

    The first `keep` samples are held, all where it is None.
    """
    inputs = {i.name for i in model.graph.input}
    inner = [t for t in tensors if t not in inputs]
    run = InferenceSession(up_to(model, inner)).run if inner else None
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    seen = Statistics({t: Histogram() for t in tensors}, {n.name: Moments(n, shapes[n.input[1]]) for n in weighted})
    rng, count = np.random.default_rng(0), 0
    for feed in feeds(model, calibration):
        results = dict(zip(inner, run(inner, feed))) if inner else {}
        for name in tensors:
            x = feed[name] if name in feed else results[name]
            low, high = (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)
            if not np.isfinite([low, high]).all():
                raise ValueError(f"calibration: tensor {name!r} is not finite in sample {count}")
            flat = x.reshape(-1)
            stride = max(1, flat.size // COUNTED) | 1  # odd: meets every channel of an even layout
            seen.histograms[name].add(flat[count % stride :: stride], low, high)
            for node in weighted:
                if node.input[0] == name:
                    seen.moments[node.name].add(x, rng)
        if keep is None or count < keep:
            seen.first.append({name: x.copy() for name, x in feed.items()})  # callers may use a buffer again
        count += 1
        if progress:
            progress(count)
    if not count:
        raise ValueError("calibration: no samples")
    return seen


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


def feeds(model: onnx.ModelProto, calibration: Iterable) -> Iterator[dict[str, np.ndarray]]:
    """The samples as {input name: array}, checked against the model's inputs."""
    infos = {i.name: i for i in g.graph_inputs(model)}
    only = next(iter(infos.values())) if len(infos) == 1 else None
    if isinstance(calibration, (Mapping, str, bytes)) or not isinstance(calibration, Iterable):
        raise ValueError(f"calibration must be an iterable of samples, got {type(calibration).__name__}")
    if isinstance(calibration, np.ndarray):
        if only is None:
            raise ValueError(f"calibration: one array for a model with inputs {', '.join(infos)}")
        shape = _shape(only)
        if shape is not None and calibration.ndim != len(shape):
            raise ValueError(f"calibration: {only.name!r} has {len(shape)} dimensions, the array {calibration.ndim}")
        step = shape[0] if shape and shape[0] else 1
        if len(calibration) % step:
            raise ValueError(f"calibration: {len(calibration)} samples do not fill batches of {step}")
        calibration = map(np.ascontiguousarray, calibration.reshape(-1, step, *calibration.shape[1:]))
    for count, sample in enumerate(calibration):
        if not isinstance(sample, Mapping):
            if only is None:
                raise ValueError(f"calibration: sample {count} must name the inputs {', '.join(infos)}")
            x, shape = np.asarray(sample), _shape(only)
            sample = {only.name: x[None] if shape is not None and x.ndim == len(shape) - 1 else x}
        if set(sample) != set(infos):
            raise ValueError(f"calibration: sample {count} has {sorted(sample)}, the model's inputs are {list(infos)}")
        yield {name: _checked(infos[name], np.asarray(x), count) for name, x in sample.items()}


def _shape(info: onnx.ValueInfoProto) -> list[int] | None:
    """The dimensions of an input, 0 where they are open; None if not even their number is known."""
    kind = info.type.tensor_type
    return [d.dim_value for d in kind.shape.dim] if kind.HasField("shape") else None


def _checked(info: onnx.ValueInfoProto, x: np.ndarray, count: int) -> np.ndarray:
    dtype, shape = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type), _shape(info)
    if x.dtype != dtype:
        raise ValueError(f"calibration: {info.name!r} must be {dtype}, sample {count} is {x.dtype}")
    if shape is not None and (x.ndim != len(shape) or any(d and d != n for d, n in zip(shape, x.shape))):
        raise ValueError(f"calibration: {info.name!r} must have shape {shape}, sample {count} has {list(x.shape)}")
    return x
