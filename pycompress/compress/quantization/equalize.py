"""Scales the channels of tensors that only linear layers make and read, so that one grid fits all of them better.

A channel divided by s where it is made and multiplied by s where it is read leaves a float network as it is (Nagel et
al., 2019, arXiv:1906.04721). One grid for a tensor is as coarse as its widest channel needs; the layers that read it
multiply that error by their weights, which grow with s. So s is the range of the channel to the power 1/2, halfway.
Behind a LayerNormalization it is divided by the square root of the largest weight that reads the channel, so that
activations and weights share what is difficult: SmoothQuant (arXiv:2211.10438).

Only residual streams, bottlenecks without an activation function, and normalized rows are scaled. Behind a ReLU6 the
bound would be scaled, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..model import graph as g
from ..model.layers import WEIGHTED, has_constant_weights
from .precondition import Step

EXPONENT = 0.5  # of the ranges
FURTHEST = 16.0  # factor by which a channel is scaled at most, up or down
POOLS = ("MaxPool", "AveragePool", "GlobalAveragePool")
FEW = 16  # values per channel: fewer do not show its range
KEEPING = (*POOLS, "Identity", "Dropout", "Relu")  # f(x / s) is f(x) / s


@dataclass(frozen=True, eq=False)
class Stream:
    """Tensors that have to be scaled alike.

    Attributes
    ----------
    tensors : their names
    makers : names of the layers whose output channels are divided
    readers : names of the layers whose input channels are multiplied
    axis : of the channels
    smooth : whether the weights that read a channel count, too
    """

    tensors: list[str]
    makers: list[str]
    readers: list[str]
    axis: int
    smooth: bool


def find_streams(model: onnx.ModelProto) -> list[Stream]:
    """The streams of `model` that can be scaled."""
    values, types, readers, made = g.constants(model), g.element_types(model), g.consumers(model), g.producers(model)
    group = {t: t for t in [*made, *(i.name for i in g.graph_inputs(model))]}

    def root(t: str) -> str:
        while group[t] != t:
            t = group[t]
        return t

    def joins(node: onnx.NodeProto) -> bool:
        if node.op_type == "Add":
            return not any(n in values for n in node.input)
        return node.op_type in KEEPING and len([o for o in node.output if o]) == 1

    for node in model.graph.node:
        if joins(node):
            for t in node.input[: 2 if node.op_type == "Add" else 1]:
                group[root(t)] = root(node.output[0])
    members: dict[str, list[str]] = {}
    for t in group:
        members.setdefault(root(t), []).append(t)
    out, found = g.outputs(model), []
    for tensors in members.values():
        within = [made[t] for t in tensors if t in made]
        makers = [n for n in within if not joins(n)]
        after = [n for t in tensors for n in readers.get(t, ()) if not joins(n)]
        fine = len(within) == len(tensors) and bool(makers) and bool(after) and not out & set(tensors)
        fine = fine and all(types.get(t) == TensorProto.FLOAT for t in tensors)
        fine = fine and all(_scalable(n, values) for n in makers)
        fine = fine and all(n.input[0] in tensors and _reads(n, values) for n in after)
        fine = fine and all(
            len(readers[n.input[1]]) == 1 for n in [*makers, *after]
        )  # else they would be common no more
        axes = {n.op_type == "Conv" for n in [*makers, *after]} if fine else set()
        if len(axes) == 1 and not (axes == {False} and any(n.op_type in POOLS for n in within)):
            names = [[*dict.fromkeys(n.name for n in nodes)] for nodes in (makers, after)]
            smooth = all(n.op_type == "LayerNormalization" for n in makers)
            found.append(Stream(tensors, *names, 1 if axes == {True} else -1, smooth))
    return found


def _scalable(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether the output channels of `node` can be scaled by its constants."""
    if node.op_type == "LayerNormalization":
        rest, sole = [n for n in node.input[1:] if n], sum(map(bool, node.output)) == 1
        plain = all(n in values and values[n].data_type == TensorProto.FLOAT and len(values[n].dims) == 1 for n in rest)
        return sole and plain and bool(rest) and g.attribute(node, "axis", -1) == -1
    return node.op_type in WEIGHTED and node.domain in ("", "ai.onnx") and has_constant_weights(node, values)


def _reads(node: onnx.NodeProto, values: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether `node` has weights for each of its input's channels."""
    return node.op_type in WEIGHTED and _scalable(node, values) and g.attribute(node, "group", 1) == 1


class Streams:
    """The streams of `model`, except those with a node in `exclude`, as a `precondition.Change`.

    They are scaled by the mean, over samples, of each channel's largest magnitude. Where fewer than `FEW` values of each
    channel were seen, ranges are drawn toward their mean: a channel that is small in seven rows may be large in the
    next, and would have been scaled until it is clipped. The metadata list the streams that were scaled, and those
    that were refused, with the signal-to-noise ratio that they would have left.
    """

    metadata = "pycompress.equalize"

    def __init__(self, model: onnx.ModelProto, exclude: Iterable[str] = ()):
        exclude = set(exclude)
        self.streams = [s for s in find_streams(model) if not exclude & {*s.makers, *s.readers}]
        self._axes = {t: s.axis for s in self.streams for t in s.tensors}
        self.tensors = list(self._axes)
        self._sums = dict.fromkeys(self.tensors, 0.0)
        self._seen = dict.fromkeys(self.tensors, 0)  # values per channel

    def add(self, found: Mapping[str, np.ndarray]) -> None:
        for t, axis in self._axes.items():
            rows = np.moveaxis(found[t], axis, 0)
            rest = tuple(range(1, rows.ndim))
            self._sums[t] = self._sums[t] + np.maximum(rows.max(rest, initial=0), -rows.min(rest, initial=0))
            self._seen[t] += rows[0].size

    def steps(self) -> dict[str, Step]:
        same = [s for s in self.streams if len({self._sums[t].shape for t in s.tensors}) == 1]  # else one is broadcast
        reach = [np.max([self._reach(t) for t in s.tensors], axis=0) for s in same]
        return {s.tensors[0]: partial(_scale, stream=s, reach=r) for s, r in zip(same, reach)}

    def _reach(self, t: str) -> np.ndarray:
        """The ranges of the channels of `t`, up to a common factor."""
        drawn = (FEW / max(self._seen[t], 1)) ** 2 - 1  # the square did better than 1 or 3 as exponent
        return self._sums[t] + drawn * self._sums[t].mean() if drawn > 0 else self._sums[t]

    def told(self, done: list[str], refused: dict[str, str]) -> object:
        return {"scaled": done} | ({"refused": refused} if refused else {})


def _scale(model: onnx.ModelProto, stream: Stream, reach: np.ndarray) -> None:
    """Scales the channels of `stream`, whose ranges are `reach` [channels], by their square roots over a common factor."""
    nodes, values = {n.name: n for n in model.graph.node}, g.constants(model)
    if stream.smooth:
        reach = reach / np.maximum(_largest([nodes[n] for n in stream.readers], values), 1e-5)
    alive = (reach > 0) & np.isfinite(reach)
    if not alive.any():
        return
    s = np.ones(len(reach))
    s[alive] = reach[alive] ** EXPONENT
    s[alive] /= np.exp(np.log(s[alive]).mean())
    s, names = np.clip(s, 1 / FURTHEST, FURTHEST), g.Names(model)
    for node in (nodes[n] for n in stream.makers):
        rank = len(values[node.input[1]].dims)
        last = node.op_type == "MatMul" or node.op_type == "Gemm" and not g.attribute(node, "transB", 0)
        _multiply(model, names, node, 1, 1 / s if last else (1 / s).reshape(-1, *[1] * (rank - 1)))
        if len(node.input) > 2 and node.input[2]:
            _multiply(model, names, node, 2, 1 / s)
    values = g.constants(model)  # a maker may be a reader, too
    for node in (nodes[n] for n in stream.readers):
        rank = len(values[node.input[1]].dims)
        _multiply(model, names, node, 1, np.moveaxis(s.reshape(-1, *[1] * (rank - 1)), 0, _inputs(node)))


def _inputs(node: onnx.NodeProto) -> int:
    """The axis of the input channels of a layer's weights."""
    return 1 if node.op_type == "Conv" or g.attribute(node, "transB", 0) else 0


def _largest(nodes: Sequence[onnx.NodeProto], values: Mapping[str, onnx.TensorProto]) -> np.ndarray:
    """The largest magnitude of the weights that read each channel, in any of the `nodes`."""
    w = [np.moveaxis(numpy_helper.to_array(values[n.input[1]]), _inputs(n), 0) for n in nodes]
    return np.max([np.abs(x).reshape(len(x), -1).max(1) for x in w], axis=0)


def _multiply(model: onnx.ModelProto, names: g.Names, node: onnx.NodeProto, index: int, by: np.ndarray) -> None:
    """Gives `node` its constant input times `by`, as a constant of its own."""
    x = numpy_helper.to_array(g.constants(model)[node.input[index]])
    name = names.fresh(f"{node.name}.{('weight', 'bias')[index - 1]}.equalized")
    node.input[index] = g.add_constant(model, name, (x * by).astype(np.float32))
