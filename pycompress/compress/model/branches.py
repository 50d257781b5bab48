"""Summed convolutions of one tensor become one convolution, before a model is quantized.

As `optimize/fuse_branches.py` does in float, where the sources stand. Quantized apart, each branch would be rounded to a
range of its own, though much of what they say cancels in the sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from . import graph as g


class Window(NamedTuple):
    """A convolution with constant weights [n, c / group, ...] and its geometry, a number for each axis."""

    node: onnx.NodeProto
    w: np.ndarray
    bias: np.ndarray | None
    group: int
    strides: tuple[int, ...]
    steps: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


def merge_branches(model: onnx.ModelProto, exclude: set[str] = frozenset()) -> None:
    """Merges what it can, in place; nodes named in `exclude` stay as they are."""
    values, readers, made, outputs = g.constants(model), g.consumers(model), g.producers(model), g.outputs(model)
    names, gone = g.Names(model), set()
    for add in list(model.graph.node):
        if add.op_type != "Add" or add.name in exclude or add.input[0] == add.input[1]:
            continue
        sources = [made.get(name) for name in add.input]
        if any(s is None or s.name in exclude for s in sources):
            continue
        if any(len(readers.get(name, ())) != 1 or name in outputs for name in add.input):
            continue
        windows = [_window(s, values) for s in sources]
        if None in windows or sources[0].input[0] != sources[1].input[0]:
            continue
        large, small = sorted(windows, key=lambda v: (v.w[0, 0].size, -v.group), reverse=True)
        w = _sum(large, small)
        if w is None:
            continue
        biases = [v.bias.astype(float) for v in windows if v.bias is not None] or [np.zeros(len(w))]
        kept = large.node
        new = [names.fresh(f"{kept.name}.{stem}") for stem in ("merged", "offset")]
        for name, value in zip(new, (w, sum(biases))):
            g.add_constant(model, name, value.astype(np.float32))
            values[name] = model.graph.initializer[-1]
        kept.input[:] = [kept.input[0], *new]
        kept.output[0] = add.output[0]
        made[add.output[0]] = kept
        gone |= {id(add), id(small.node)}
    g.set_nodes(model, [n for n in model.graph.node if id(n) not in gone])
    g.drop_unused(model)


def _window(node: onnx.NodeProto, values) -> Window | None:
    """A Conv as a Window; None for any other node, or if its weights or pads are not known."""
    given = [values.get(name) for name in node.input[1:] if name]
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx") or not given:
        return None
    if any(t is None or t.data_type != onnx.TensorProto.FLOAT for t in given):
        return None
    w, *bias = map(numpy_helper.to_array, given)
    rank, padded = w.ndim - 2, g.attribute(node, "auto_pad", b"NOTSET")
    if padded not in (b"NOTSET", b"VALID"):
        return None
    pads = list(g.attribute(node, "pads", ())) if padded == b"NOTSET" else []
    pads = pads or [0] * 2 * rank
    sizes = [tuple(g.attribute(node, name, ()) or [1] * rank) for name in ("strides", "dilations")]
    group = g.attribute(node, "group", 1)
    return Window(node, w, bias[0] if bias else None, group, *sizes, tuple(pads[:rank]), tuple(pads[rank:]))


def _sum(large: Window, small: Window) -> np.ndarray | None:
    """The weights of both, float64; None if the small window is not inside the large one, or that would be more work."""
    if large.strides != small.strides or large.w.ndim != small.w.ndim or len(large.w) != len(small.w):
        return None
    inside = []
    sizes = zip(large.w.shape[2:], small.w.shape[2:], large.steps, small.steps)
    for (n, m, step, own), first, last in zip(sizes, zip(large.before, small.before), zip(large.after, small.after)):
        at, rest = divmod(first[0] - first[1], step)
        if rest or not 0 <= at <= n - m or m > 1 and own != step or last[0] - last[1] != (n - m - at) * step:
            return None
        inside.append(slice(at, at + m))
    total = large.w.astype(float)
    if large.group == small.group and large.w.shape[1] == small.w.shape[1]:
        total[(slice(None), slice(None), *inside)] += small.w
    elif large.group == 1 and small.group == len(small.w) == large.w.shape[1]:  # depthwise: on the diagonal
        each = np.arange(len(total))
        total[(each, each, *inside)] += small.w[:, 0]
    else:
        return None
    return total if np.isfinite(total.astype(np.float32)).all() else None
