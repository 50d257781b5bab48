"""Copies channels that one grid rounds too coarsely, with grids that lie between each other.

Behind a first convolution some channels hold the brightness of an image: a value over nearly the whole range, of which a
depthwise convolution then takes differences. Its weights multiply the error of rounding, and no scale helps, since
the range is used. So such a channel is computed n times, the copies raised by 0, 1/n, ... (n - 1)/n of a step, and the 1x1
convolution after the depthwise one takes the mean of their results. The errors of the copies then cancel but for
those of steps that are n times finer.

Where an activation function bounds a channel its copies are off by up to a step, as they would be by rounding. So only
channels are copied that calibration hardly ever saw outside the bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import numpy_helper

from ..model import graph as g
from ..model.layers import has_constant_weights
from .precondition import Step

MULTIPLE = 64  # channels: depthwise kernels take so many at once, and 32 of them cost them nearly as much
OUTSIDE = 0.05  # of a channel's values: that the bounds may change
WORTH = 0.5  # of the expected squared error of the layer: what copies have to remove at least
LEVELS = 255


@dataclass(frozen=True, eq=False)
class Place:
    """A convolution, its activation function with bounds, a depthwise convolution, and a 1x1 convolution: names of nodes."""

    first: str
    bound: str
    depthwise: str
    last: str
    high: float


def find_places(model: onnx.ModelProto, exclude: Iterable[str] = ()) -> list[Place]:
    """The places where channels can be copied: each tensor between the first and the last node has one reader."""
    values, readers, out, exclude = g.constants(model), g.consumers(model), g.outputs(model), set(exclude)

    def after(node: onnx.NodeProto) -> onnx.NodeProto | None:
        own = readers.get(node.output[0], [])
        return own[0] if len(own) == 1 and node.output[0] not in out and own[0].input[0] == node.output[0] else None

    def layer(node: onnx.NodeProto | None) -> bool:
        fine = (
            node is not None and node.op_type == "Conv" and node.domain in ("", "ai.onnx") and node.name not in exclude
        )
        fine = fine and len(node.input) > 2 and bool(node.input[2]) and has_constant_weights(node, values)
        return fine and len(readers[node.input[1]]) == 1

    found = []
    for node in model.graph.node:
        bound = after(node) if layer(node) and g.attribute(node, "group", 1) == 1 else None
        high = _bound(bound, values) if bound is not None else None
        depthwise = after(bound) if high else None
        if not layer(depthwise) or values[depthwise.input[1]].dims[:2] != [g.attribute(depthwise, "group", 1), 1]:
            continue
        last = after(depthwise)
        last = after(last) if last is not None and last.op_type in ("Relu", "Clip") else last
        if layer(last) and g.attribute(last, "group", 1) == 1 and all(d == 1 for d in values[last.input[1]].dims[2:]):
            found.append(Place(node.name, bound.name, depthwise.name, last.name, high))
    return found


def _bound(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> float | None:
    """The upper bound of a Clip whose lower one is 0, or None."""
    if node.op_type != "Clip" or len(node.input) != 3 or not all(n in values for n in node.input[1:]):
        return None
    low, high = (float(numpy_helper.to_array(values[n]).reshape(())) for n in node.input[1:])
    return high if low == 0 < high < np.inf else None


class Copies:
    """The channels of `model` that are worth copying, except in nodes of `exclude`, as a `precondition.Change`.

    The metadata tell how many were added, by the name of the first layer.
    """

    metadata = "pycompress.interleave"

    def __init__(self, model: onnx.ModelProto, exclude: Iterable[str] = ()):
        nodes = {n.name: n for n in model.graph.node}
        self._model, self._places = model, {nodes[p.first].output[0]: p for p in find_places(model, exclude)}
        self.tensors = list(self._places)
        self._outside, self._samples = dict.fromkeys(self.tensors, 0.0), 0
        self._added: dict[str, int] = {}

    def add(self, found: Mapping[str, np.ndarray]) -> None:
        self._samples += 1
        for t, place in self._places.items():
            bounded = (found[t] < 0) | (found[t] > place.high * (1 - 1 / LEVELS))
            self._outside[t] = self._outside[t] + bounded.mean((0, *range(2, bounded.ndim)))

    def steps(self) -> dict[str, Step]:
        nodes, values, steps = {n.name: n for n in self._model.graph.node}, g.constants(self._model), {}
        for t, place in self._places.items():
            w = numpy_helper.to_array(values[nodes[place.depthwise].input[1]])
            error = np.square(w.reshape(len(w), -1).astype(float)).sum(1)
            copies = allotted(error, self._outside[t] / self._samples <= OUTSIDE)
            if copies is not None:
                self._added[place.first] = int(copies.sum() - len(copies))
                steps[place.first] = partial(_copy, place=place, copies=copies, step=place.high / LEVELS)
        return steps

    def told(self, done: list[str], refused: dict[str, str]) -> object:
        return {name: self._added[name] for name in done}


def allotted(error: np.ndarray, able: np.ndarray) -> np.ndarray | None:
    """How often to compute each channel, given its squared `error` [n] when computed once; None if that is not worth it.

    Together they are a multiple of `MULTIPLE` above n, twice n at most, and `able` channels only are copied.
    """
    n = len(error)
    added = -(-(n + 1) // MULTIPLE) * MULTIPLE - n
    copies = np.ones(n, int)
    if added > n or not (error * able).any():
        return None
    for _ in range(added):
        gain = np.where(able, error * (1 / copies**2 - 1 / (copies + 1) ** 2), -1)
        copies[np.argmax(gain)] += 1
    return copies if (error / copies**2).sum() < (1 - WORTH) * error.sum() else None


def _copy(model: onnx.ModelProto, place: Place, copies: np.ndarray, step: float) -> None:
    """Computes each channel of `place` as often as `copies` [n] say, raised by shares of a `step`."""
    nodes, values, names = {n.name: n for n in model.graph.node}, g.constants(model), g.Names(model)
    of = np.repeat(np.arange(len(copies)), copies)
    raised = step * np.concatenate([np.arange(n) / n for n in copies])

    def give(node: onnx.NodeProto, index: int, x: np.ndarray) -> None:
        name = names.fresh(f"{node.name}.{('weight', 'bias')[index - 1]}.interleaved")
        node.input[index] = g.add_constant(model, name, np.ascontiguousarray(x, np.float32))

    first, depthwise, last = (nodes[n] for n in (place.first, place.depthwise, place.last))
    w, b, d, e, v = (
        numpy_helper.to_array(values[n.input[i]])
        for n, i in ((first, 1), (first, 2), (depthwise, 1), (depthwise, 2), (last, 1))
    )
    sums = d.reshape(len(d), -1).astype(float).sum(1)
    give(first, 1, w[of])
    give(first, 2, b[of] + raised)
    give(depthwise, 1, d[of])
    give(depthwise, 2, e[of] - raised * sums[of])
    give(last, 1, v[:, of] / copies[of].reshape(-1, *[1] * (v.ndim - 2)))
    for a in depthwise.attribute:
        if a.name == "group":
            a.i = len(of)
    for name in (first.output[0], nodes[place.bound].output[0], depthwise.output[0]):
        _forget(model, name)


def _forget(model: onnx.ModelProto, name: str) -> None:
    """Drops the recorded shape of a tensor, which has changed."""
    kept = [v for v in model.graph.value_info if v.name != name]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
