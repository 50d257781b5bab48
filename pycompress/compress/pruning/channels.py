"""prune_channels: removes whole channels from a float ONNX model."""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import ModelError
from ...session import InferenceSession
from ..calibration.blas import one_blas_thread
from ..calibration.computable import computable
from ..calibration.samples import Samples
from ..model import graph as g
from ..model.layers import float_model
from ..model.prepare import check
from ..progress import Progress
from ..verdict import check_min_snr, conclude
from .channel_fit import ChannelFit
from .channel_graph import Dependencies, Group
from .channel_rules import follow

METADATA = "pycompress.prune"
MIN_SHARE = 1 / 8  # of its channels that a group keeps


@one_blas_thread
def prune_channels(
    model: g.Model,
    sparsity: float,
    *,
    scope: str = "global",
    exclude: Iterable[str] | None = None,
    calibration: Iterable | None = None,
    multiple: int = 8,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Remove channels from `model`: the result is smaller in every runtime, and faster without sparse kernels.

    A channel is removed from everything that depends on it: the layers that make it, depthwise convolutions, the other
    summands of a residual sum, the gates of squeeze-excite, and the weights that read it. Inputs, outputs and operators
    that are not understood keep their channels. The result is run once; its outputs must equal those of the original
    network with zeros for the weights that read removed channels.

    Without `calibration`, channels with small weights are removed: the L2 norm of all weights that make a channel, each
    relative to its layer (Li et al., 2016). That needs fine-tuning afterwards. With `calibration`, channels are removed
    that add the least to the error of the layers that read them, and these layers are re-fitted by least squares
    (`channel_fit`); "global" also measures how much each group affects the model's outputs.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed. Batch norm is folded.
    sparsity : float in [0, 1)
        The share of channels to remove, of each group ("layer"), or of all that may be removed ("global"). Each group
        keeps at least an eighth.
    scope : {"global", "layer"}
    exclude : iterable of str, optional
        Names of nodes whose outputs keep all channels. By default the first convolutions: those that read
        the model's inputs.
    calibration : iterable of {input name: array}, optional
        As in `quantize`. It is read once, and never held in memory as a whole.
    multiple : int
        A group keeps a multiple of so many channels, which kernels run best, or stays whole.
    min_snr : float, optional
        Refuse a result whose outputs have a lower signal-to-noise ratio against `model`, in dB, on calibration samples
        that are held back. Needs calibration.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Returns
    -------
    onnx.ModelProto
        Its metadata "pycompress.prune" lists, as JSON, what was removed, and what stayed and why.

    Raises
    ------
    ValueError
        If an argument is out of range, or the calibration does not fit the model; `ModelError`, a ValueError,
        if the model is invalid or quantized, or none of its channels may be removed.
    """
    if isinstance(sparsity, bool) or not isinstance(sparsity, (int, float, np.number)) or not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1) for channels, got {sparsity!r}")
    if scope not in ("global", "layer"):
        raise ValueError(f"scope must be 'global' or 'layer', got {scope!r}")
    if isinstance(multiple, bool) or not isinstance(multiple, (int, np.integer)) or multiple < 1:
        raise ValueError(f"multiple must be a positive integer, got {multiple!r}")
    exclude = g.excluded(exclude)
    check_min_snr(min_snr, calibration is not None)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    known = {n.name for n in model.graph.node}
    model = float_model(model)
    deps = follow(model, _excluded(model, exclude, known))
    all_groups = deps.groups()
    groups = [group for group in all_groups if group.free]
    if not groups:
        why = next((w for group in all_groups for w in group.pinned.values()), "no layer with constant weights")
        raise ModelError(f"nothing to prune: every channel has to stay ({why})")
    seen = able = None
    if calibration is None:
        orders, losses = by_norms(deps, groups)
    else:
        samples = Samples(model, calibration)
        able = computable(model, samples.sample)
        fit = ChannelFit(model, able, deps, samples, progress)
        seen = fit.seen
        orders, losses = fit.orders(groups, *by_norms(deps, groups))
        if scope == "global":
            losses = fit.measured(groups, orders, losses, take_away, progress)
    counts = _of_all(groups, losses, sparsity, multiple) if scope == "global" else _of_each(groups, sparsity, multiple)
    gone = {root for order, count in zip(orders, counts) for root in order[:count]}
    pruned = take_away(model, deps, gone)
    verified = _verify(pruned, masked(model, deps, gone))
    if calibration is not None:
        fit.refit(pruned, gone)
    _note(pruned, deps, all_groups, gone, scope, sparsity, multiple, verified)
    check(pruned)
    conclude("prune", model, pruned, size, seen, able.ends if able else (), able.why if able else {}, min_snr)
    return pruned


def _excluded(model: onnx.ModelProto, exclude: set[str] | None, known: set[str]) -> set[str]:
    """The set of `exclude`, whose names must be nodes or `known`; by default the first convolutions."""
    if exclude is None:
        given = {i.name for i in model.graph.input}
        return {n.name for n in model.graph.node if n.op_type == "Conv" and n.input[0] in given}
    if unknown := exclude - known - {n.name for n in model.graph.node}:
        raise ValueError(f"exclude: the model has no node {sorted(unknown)[0]!r}")
    return exclude


def _cuts(free: int, total: int, multiple: int) -> list[int]:
    """The numbers of `total` channels that may be removed, ascending: the rest is a multiple of `multiple`, and not too small."""
    minimum = max(total - free, min(multiple, total), int(np.ceil(MIN_SHARE * total)), 1)
    return [0] + [total - kept for kept in range(total - 1, minimum - 1, -1) if kept % multiple == 0]


def _of_each(groups: list[Group], sparsity: float, multiple: int) -> list[int]:
    """How many channels to remove from each group: as near to the ratio as `multiple` allows."""
    cuts = [_cuts(len(group.free), group.total, multiple) for group in groups]
    return [min(cut, key=lambda n: abs(n - sparsity * group.total)) for cut, group in zip(cuts, groups)]


def _of_all(groups: list[Group], losses: list[np.ndarray], sparsity: float, multiple: int) -> list[int]:
    """How many channels to remove from each group, so that `sparsity` of all are removed and the loss is small.

    `losses` [channels] of each group are the costs of each further channel, in the order of removal.
    """
    cuts = [_cuts(len(group.free), group.total, multiple) for group in groups]
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
    """The free channels of each group, the least important first, and their importance.

    The importance of a channel is the L2 norm of the weights that make it (Li et al., 2016), relative to the root mean
    square of the norms in its layer, summed over the layers.
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


def take_away(model: onnx.ModelProto, deps: Dependencies, gone: set[int]) -> onnx.ModelProto:
    """`model` without the channels whose roots are `gone`."""
    pruned = g.copied(model)
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
    """`model` with zeros for the weights that read channels whose roots are `gone`; computes the same as `take_away`."""
    dense = g.copied(model)
    tensors = g.constants(dense)
    for edge in deps.readers:
        value = np.moveaxis(numpy_helper.to_array(tensors[edge.weight]).copy(), edge.axis, 0)
        value[np.isin(deps.roots(edge.ids), list(gone))] = 0
        value = np.ascontiguousarray(np.moveaxis(value, 0, edge.axis))
        tensors[edge.weight].CopyFrom(numpy_helper.from_array(value, edge.weight))
    return dense


def _verify(pruned: onnx.ModelProto, whole: onnx.ModelProto) -> str:
    """Runs both models; returns "run" if their outputs agree, or why they could not be compared."""
    check(pruned)
    try:
        onnx.shape_inference.infer_shapes(pruned, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"the pruned graph's shapes do not fit together: {error}") from error
    try:
        session = InferenceSession(whole)
        feed = _any_feed(session)
        wanted = session.run(None, feed)
    except (ModelError, ValueError) as error:  # a model that this engine does not run may still be pruned
        return f"not run: {error}"
    for port, a, b in zip(pruned.graph.output, wanted, InferenceSession(pruned).run(None, feed)):
        if a.dtype.kind == "f" and not np.allclose(
            a, b, rtol=1e-3, atol=1e-3 * np.abs(a).max(initial=1e-30), equal_nan=True
        ):
            raise ModelError(f"output {port.name!r}: the pruned graph does not answer as the whole one with zeros")
    return "run"


def _any_feed(session: InferenceSession) -> dict[str, np.ndarray]:
    """Noise for each input; open dimensions are 1 for the batch and 64 elsewhere."""
    rng, feed = np.random.default_rng(0), {}
    for port in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else (1 if i == 0 else 64) for i, d in enumerate(port.shape)]
        if port.type == "tensor(float)":
            feed[port.name] = rng.standard_normal(shape, np.float32)
        else:
            names = {"double": "float64", "float": "float32"}
            kind = port.type[len("tensor(") : -1]
            feed[port.name] = np.zeros(shape, names.get(kind, kind))
    return feed


def _note(
    pruned, deps: Dependencies, groups: list[Group], gone: set[int], scope, sparsity, multiple, verified: str
) -> None:
    """Writes into the model's metadata what was removed, and what stayed and why."""
    rows, pinned = [], []
    for group in groups:
        kept = group.total - len(gone.intersection(group.free))
        if group.free:
            rows.append({"layers": group.layers, "kept": kept, "total": group.total})
        if group.pinned:
            why = sorted(set(group.pinned.values()))
            pinned.append({"layers": group.layers, "channels": len(group.pinned), "why": why})
    pinned += [{"layers": [name], "channels": None, "why": [why]} for name, why in deps.refused.items()]
    report = {"pattern": "channel", "scope": scope, "sparsity": sparsity, "multiple": multiple, "verified": verified}
    text = json.dumps(report | {"groups": rows, "pinned": pinned})
    helper.set_model_props(pruned, g.metadata(pruned) | {METADATA: text})
