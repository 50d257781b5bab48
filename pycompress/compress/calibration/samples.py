"""Checks calibration samples, in any of the ways callers may give them, and yields them one by one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Protocol

import numpy as np
import onnx
from onnx import helper

from ..model import graph as g

SPENT = "a generator or an iterator gives its samples once: make a new one for each pass, or give a list"


class Reader(Protocol):
    """As onnxruntime's CalibrationDataReader."""

    def get_next(self) -> Mapping[str, np.ndarray] | None: ...


Calibration = Iterable[object] | Reader  # what callers may give; see `feeds`


class Samples:
    """Calibration samples of a model: an iterator of {input name: array}.

    Attributes
    ----------
    sample : the first of them
    """

    def __init__(self, model: onnx.ModelProto, calibration: Calibration):
        """Raises ValueError if `calibration` is no iterable of samples, or has none."""
        self._rest = feeds(model, calibration)
        self.sample = next(self._rest, None)
        if self.sample is None:
            once = hasattr(calibration, "__next__") or hasattr(calibration, "get_next")
            raise ValueError(f"calibration: no samples{f'; {SPENT}' if once else ''}")

    def peek(self, count: int) -> list[dict[str, np.ndarray]]:
        """Copies of the first `count` samples, which are still to come."""
        some = [{name: x.copy() for name, x in feed.items()} for feed in islice(iter(self), count)]
        self._rest = chain(some[1:], self._rest)
        return some

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return chain([self.sample], self._rest)


def of_one_shape(
    model: onnx.ModelProto, calibration: Calibration, count: int | None = None
) -> list[dict[str, np.ndarray]]:
    """Copies of the first `count` samples, as `feeds` gives them; a ValueError names the first one of another shape."""
    found = [{name: x.copy() for name, x in feed.items()} for feed in islice(feeds(model, calibration), count)]
    if not found:
        raise ValueError("calibration: no samples")
    for i, feed in enumerate(found):
        for name, x in feed.items():
            if x.shape != (wanted := found[0][name].shape):
                raise ValueError(
                    f"calibration: sample {i} has {name!r} of shape {x.shape}, sample 0 of {wanted}: give one shape"
                )
    return found


def feeds(model: onnx.ModelProto, calibration: Calibration) -> Iterator[dict[str, np.ndarray]]:
    """The samples as {input name: array}, checked against the model's inputs.

    Parameters
    ----------
    calibration : iterable of samples
        A sample is a dict of arrays by input name; for a model with one input it may be an array, with or without batch
        axis. A single array, or a dict of arrays, contains the samples along its first axis. An object with ``get_next``,
        such as onnxruntime's CalibrationDataReader, is read until it returns None. Of pairs (inputs, label), as torch's
        DataLoader yields them, the label is dropped. A batch larger than the model's is split.

    Raises
    ------
    ValueError
        If `calibration` is none of these, or a sample does not fit; names the input and the sample.
    """
    infos = {i.name: i for i in g.graph_inputs(model)}
    count = 0
    for sample in _each(infos, calibration):
        for feed in _split(infos, _named(infos, sample, count), count):
            yield feed
            count += 1


def _each(infos: Mapping[str, onnx.ValueInfoProto], calibration) -> Iterable:
    """The samples, from any supported container."""
    if hasattr(calibration, "get_next") and not isinstance(calibration, Mapping):
        return iter(calibration.get_next, None)
    if inspect.isgenerator(calibration) and inspect.getgeneratorstate(calibration) == inspect.GEN_CLOSED:
        raise ValueError(f"calibration: the generator is spent; {SPENT}")
    if isinstance(calibration, Mapping) and set(calibration) == set(infos) and all(map(np.ndim, calibration.values())):
        return _stacked(infos, {name: np.asarray(x) for name, x in calibration.items()})
    if isinstance(calibration, str):
        said = "; 'data-free' is for quantize alone" if calibration == "data-free" else ""
        raise ValueError(f"calibration must be an iterable of samples, got str {calibration!r}{said}")
    if isinstance(calibration, (Mapping, bytes)) or not isinstance(calibration, Iterable):
        raise ValueError(f"calibration must be an iterable of samples, got {type(calibration).__name__}")
    if isinstance(calibration, np.ndarray):
        if len(infos) != 1:
            raise ValueError(f"calibration: one array for a model with inputs {', '.join(infos)}")
        return _stacked(infos, dict.fromkeys(infos, calibration))
    return calibration


def _stacked(infos, arrays: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """Samples, or batches of the model's size, along the first axis of `arrays`."""
    counts = set()
    for name, x in arrays.items():
        shape = shape_of(infos[name])
        if x.ndim == 0 or shape is not None and x.ndim != len(shape):
            raise ValueError(f"calibration: {name!r} has {len(shape or [0])} dimensions, the array {x.ndim}")
        step = shape[0] if shape and shape[0] else 1
        if len(x) % step:
            raise ValueError(f"calibration: {len(x)} samples do not fill batches of {step}")
        counts.add(len(x) // step)
    if len(counts) != 1:
        raise ValueError(f"calibration: the arrays hold different numbers of samples: {sorted(counts)}")
    for i in range(counts.pop()):
        parts = {}
        for name, x in arrays.items():
            shape = shape_of(infos[name])
            step = shape[0] if shape and shape[0] else 1
            parts[name] = np.ascontiguousarray(x[i * step : (i + 1) * step])
        yield parts


def _named(infos, sample, count: int) -> dict[str, np.ndarray]:
    """A sample as arrays by input name, without its label."""
    if isinstance(sample, (tuple, list)) and any(map(_is_input, sample)) and not _is_rows(infos, sample):
        if len(sample) == 2 and isinstance(sample[0], (Mapping, tuple, list)):
            return _named(infos, sample[0], count)
        if len(sample) not in (len(infos), len(infos) + 1):
            raise ValueError(
                f"calibration: sample {count} has {len(sample)} parts; the model's inputs are {list(infos)}"
            )
        sample = dict(zip(infos, sample))
    if not isinstance(sample, Mapping):
        if len(infos) != 1:
            raise ValueError(f"calibration: sample {count} must name the inputs {', '.join(infos)}")
        sample = dict.fromkeys(infos, sample)
    if set(sample) != set(infos):
        raise ValueError(f"calibration: sample {count} has {sorted(sample)}, the model's inputs are {list(infos)}")
    arrays = {}
    for name, x in sample.items():
        kind, shape = _dtype(infos[name]), shape_of(infos[name])
        x = np.asarray(x) if hasattr(x, "dtype") else np.asarray(x, kind)  # Python numbers have no dtype
        arrays[name] = x[None] if len(infos) == 1 and shape is not None and x.ndim == len(shape) - 1 else x
    return arrays


def _is_input(x) -> bool:
    """Whether `x` is an array of NumPy or torch, or a container of arrays."""
    if isinstance(x, (Mapping, tuple, list)):
        return any(map(_is_input, x.values() if isinstance(x, Mapping) else x))
    return hasattr(x, "dtype") and len(getattr(x, "shape", ())) > 0


def _is_rows(infos, sample) -> bool:
    """Whether `sample` is a list of arrays that form the single input along its first axis."""
    shape = shape_of(next(iter(infos.values()))) if len(infos) == 1 else None
    shapes = {tuple(getattr(x, "shape", ())) for x in sample}
    return shape is not None and len(sample) == shape[0] and shapes == {tuple(shape[1:])}


def _split(infos, arrays: dict[str, np.ndarray], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Splits a sample into batches of the model's size, and checks them."""
    if len(infos) == 1:
        ((name, x),) = arrays.items()
        shape = shape_of(infos[name])
        if shape and x.ndim == len(shape) and shape[0] and len(x) > shape[0] and len(x) % shape[0] == 0:
            for start in range(0, len(x), shape[0]):
                yield {name: _checked(infos[name], x[start : start + shape[0]], count)}
            return
    yield {name: _checked(infos[name], x, count) for name, x in arrays.items()}


def _dtype(info: onnx.ValueInfoProto) -> np.dtype:
    return helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)


def shape_of(info: onnx.ValueInfoProto) -> list[int] | None:
    """The dimensions of an input, 0 for open ones, which some exporters declare as -1; None if the rank is unknown."""
    kind = info.type.tensor_type
    return [max(d.dim_value, 0) for d in kind.shape.dim] if kind.HasField("shape") else None


def _checked(info: onnx.ValueInfoProto, x: np.ndarray, count: int) -> np.ndarray:
    dtype, shape = _dtype(info), shape_of(info)
    if x.dtype != dtype:
        raise ValueError(f"calibration: {info.name!r} must be {dtype}, sample {count} is {x.dtype}")
    if shape == [] and x.size == 1:  # as sessions take it
        x = x.reshape(())
    if shape is not None and (x.ndim != len(shape) or any(d > 0 and d != n for d, n in zip(shape, x.shape))):
        declared = f"[{', '.join(str(d or '?') for d in shape)}]"
        raise ValueError(f"calibration: {info.name!r} must have shape {declared}, sample {count} has {list(x.shape)}")
    if x.shape[:1] == (0,):  # other axes may be empty, such as the past of a first token
        raise ValueError(f"calibration: {info.name!r} is empty in sample {count}: its shape is {list(x.shape)}")
    return x
