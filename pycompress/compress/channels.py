"""prune_channels: float ONNX in, the same network with fewer channels out."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import ModelError
from ..session import InferenceSession
from . import graph as g
from .blas import one_blas_thread
from .channel_rules import follow
from .dependencies import Dependencies, Group
from .quantize import prepare

LEAST = 1 / 8  # of its channels, a group keeps at least


def _cuts(free: int, total: int, sparsity: float, multiple: int) -> list[int]:
    """How many of `total` channels may go, ascending: what stays is a multiple of `multiple`, and not too little."""
    least = max(total - free, min(multiple, total), int(np.ceil(LEAST * total)), 1)
    return [0] + [total - kept for kept in range(total - 1, least - 1, -1) if kept % multiple == 0]


def _of_each(groups: list[Group], orders: list[np.ndarray], sparsity: float, multiple: int) -> list[int]:
    """How many channels go from each group: as near to the ratio as `multiple` lets it be."""
    cuts = [_cuts(len(group.free), group.total, sparsity, multiple) for group in groups]
    return [min(cut, key=lambda n: abs(n - sparsity * group.total)) for cut, group in zip(cuts, groups)]


def _of_all(groups: list[Group], losses: list[np.ndarray], sparsity: float, multiple: int) -> list[int]:
    """How many channels go from each group so that `sparsity` of all go and the loss is small.

    `losses` [channels] of each group are what each further channel costs, in the order in which they go.
    """
    cuts = [_cuts(len(group.free), group.total, sparsity, multiple) for group in groups]
    wanted, gone, at = round(sparsity * sum(len(group.free) for group in groups)), 0, [0] * len(groups)

    def step(i):
        begin, end = cuts[i][at[i] : at[i] + 2]
        return losses[i][begin:end].mean(), i, end - begin

    heap = [step(i) for i in range(len(groups)) if len(cuts[i]) > 1]
    heapq.heapify(heap)
    while heap:
        _, i, count = heapq.heappop(heap)
        if gone + count / 2 > wanted:
            continue
        gone, at[i] = gone + count, at[i] + 1
        if at[i] + 1 < len(cuts[i]):
            heapq.heappush(heap, step(i))
    return [cut[a] for cut, a in zip(cuts, at)]


def by_norms(deps: Dependencies, groups: list[Group]) -> tuple[list[list[int]], list[np.ndarray]]:
    """The free channels of each group, what matters least first, and how much they matter.

    A channel matters as much as the L2 norms of the weights that make it (Li et al., 2016), relative to
    the root mean square of the layer's, summed over the layers.
    """
    matter: dict[int, float] = {}
    for edge in deps.makers:
        w = np.moveaxis(numpy_helper.to_array(deps.constants[edge.weight]).astype(float), edge.axis, 0)
        norms = np.sqrt(np.square(w.reshape(len(w), -1)).sum(1))
        norms /= np.sqrt(np.square(norms).mean()) or 1
        for root, norm in zip(deps.roots(edge.ids).tolist(), norms):
            matter[root] = matter.get(root, 0.0) + norm
    orders = [sorted(group.free, key=matter.get) for group in groups]
    return orders, [np.array([matter[root] for root in order]) for order in orders]


def remove(model: onnx.ModelProto, deps: Dependencies, gone: set[int]) -> onnx.ModelProto:
    """`model` without the channels whose roots are `gone`."""
    pruned = g.as_model(model)
    nodes = dict(zip((id(n) for n in deps.model.graph.node), pruned.graph.node))
    tensors, names = g.constants(pruned), g.Names(pruned)

    def stays(ids):
        return ~np.isin(deps.roots(ids), list(gone))

    for name, axes in deps.slices.items():
        value = numpy_helper.to_array(tensors[name])
        for axis, ids in axes.items():
            value = np.compress(stays(ids), value, axis)
        if list(value.shape) != list(tensors[name].dims):
            tensors[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
    for node, where, ids in deps.counts:
        count, node = int(stays(ids).sum()), nodes[id(node)]
        if count == len(ids):
            continue
        if isinstance(where, str):
            next(a for a in node.attribute if a.name == where).i = count
        else:
            shape = numpy_helper.to_array(tensors[node.input[1]]).copy()
            shape[where] = count
            node.input[1] = g.add_constant(pruned, names.fresh(f"{node.name}.shape"), shape)
    del pruned.graph.value_info[:]
    g.drop_unused(pruned)
    return pruned


def masked(model: onnx.ModelProto, deps: Dependencies, gone: set[int]) -> onnx.ModelProto:
    """`model` with zeros for the weights that read channels whose roots are `gone`: the same function as `remove`'s."""
    dense = g.as_model(model)
    tensors = g.constants(dense)
    for edge in deps.readers:
        value = np.moveaxis(numpy_helper.to_array(tensors[edge.weight]).copy(), edge.axis, 0)
        value[np.isin(deps.roots(edge.ids), list(gone))] = 0
        value = np.ascontiguousarray(np.moveaxis(value, 0, edge.axis))
        tensors[edge.weight].CopyFrom(numpy_helper.from_array(value, edge.weight))
    return dense
