"""Chooses the channels to remove, and re-fits the weights of the others, with calibration samples.

A layer that reads channels computes W x. Without some channels, the others can reproduce this up to an error
that depends only on the covariance of x. Channels are removed from a group one after the other: always the one
that adds the least to the errors of all layers that read the group, relative to the variance of their outputs,
with the remaining weights re-fitted (optimal brain surgeon: Hassibi and Stork, 1993; for channels: ThiNet, Luo
et al., 2017; He et al., 2017). The effect of a group on the model's outputs is measured by running a few samples
with part of the group removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from ..calibration.computable import Computable
from ..calibration.engine import runner
from ..calibration.moments import Moments
from ..calibration.observe import observe, up_to
from ..calibration.samples import Samples
from ..calibration.sequential import unit_diagonal
from ..model import graph as g
from ..model.matrix import bias_of, matrix, unmatrix
from ..progress import Progress, counted
from .channel_graph import Dependencies, Edge, Group

RIDGE = 1e-3  # of the inputs' mean variance, added to each
STEPS = 64  # 1 / STEPS of the remaining channels are removed at once
PARTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)  # of a group that are removed to measure the error of the outputs


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that reads channels.

    Attributes
    ----------
    w : float64[n,k], k runs over kernel cells, then channels
    roots : int[k], the channel that each column reads
    mean, covariance : [k], and [k,k], or [k] if that would be too large; about zero if there can be no bias
    scale : the variance of all its outputs
    """

    edge: Edge
    w: np.ndarray
    bias: np.ndarray | None
    roots: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    scale: float


class ChannelFit:
    """The readers of the channels of `model`, with the statistics of their inputs in the calibration samples."""

    def __init__(self, model: onnx.ModelProto, able: Computable, deps: Dependencies, samples: Samples, progress=None):
        self.model, self.deps, self.able = model, deps, able
        edges = [e for e in deps.readers if self._fits(e) and any(r not in deps.reasons for r in deps.roots(e.ids))]
        tensors = list(dict.fromkeys(e.node.input[0] for e in edges))
        self.seen = observe(model, samples, tensors, [e.node for e in edges], progress)
        self.readers = [_read(deps, e, self.seen.moments[e.node.name]) for e in edges]

    def _fits(self, edge: Edge) -> bool:
        """Whether the weights of `edge` can be fitted: not shared, their columns read channels, and the node is computed."""
        known = edge.node.name not in self.able.why and edge.node.op_type in ("Conv", "Gemm", "MatMul")
        return known and len(self.deps.uses[edge.weight]) == 1

    def orders(self, groups: list[Group], orders: list[list[int]], losses: list[np.ndarray]):
        """The free channels of each group in the order of removal, and the loss that each adds.

        `orders` and `losses` are used for groups that are read by a layer that cannot be fitted.
        """
        unfit = [e for e in self.deps.readers if not self._fits(e)]
        unfit = {r for e in unfit for r in self.deps.roots(e.ids).tolist()}
        found = [
            (o, x) if unfit & set(group.free) else self._order(group) for group, o, x in zip(groups, orders, losses)
        ]
        return [o for o, _ in found], [x for _, x in found]

    def _order(self, group: Group) -> tuple[list[int], np.ndarray]:
        left, gone, losses = set(group.free), [], []
        tables = [_Elimination(r) for r in self.readers if left & set(r.roots.tolist())]
        while left:
            loss = dict.fromkeys(left, 0.0)
            for table in tables:
                for root, x in table.losses(left).items():
                    loss[root] += x
            cheapest = sorted(left, key=lambda r: (loss[r], r))[: max(1, len(left) // STEPS)]
            gone += cheapest
            losses += [max(loss[r], 0.0) for r in cheapest]
            left -= set(cheapest)
            for table in tables:
                table.take(set(cheapest))
        return gone, np.array(losses)

    def measured(
        self, groups: list[Group], orders, losses, take_away: Callable, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """`losses`, scaled so that their sums are the error of the model's outputs when one group alone is pruned."""
        wanted, found = self._answers(self.model), []
        for group, order, loss in counted(zip(groups, orders, losses), progress):
            total = np.concatenate([[0], np.cumsum(loss)])
            counts = sorted({min(max(1, round(part * len(order))), group.total - 1) for part in PARTS})
            errors = []
            for count in counts:
                gone = set(order[:count])
                trial = take_away(self.model, self.deps, gone)
                self.refit(trial, gone)
                errors.append(_difference(wanted, self._answers(trial)))
                if errors[-1] > 1:  # the error exceeds the outputs' variance
                    break
            counts = counts[: len(errors)]
            errors = np.maximum.accumulate([0.0, *errors])
            at = total[[0, *counts]]
            last = errors[-1] * max(total[-1] / at[-1] if at[-1] else 2.0, 2.0)
            curve = np.interp(total, [*at, max(total[-1], at[-1]) + 1e-30], [*errors, last])
            found.append(np.diff(curve))
        return found

    def _answers(self, model: onnx.ModelProto) -> list[list[np.ndarray]]:
        """The outputs of `model`, where its error is measured, for the first samples."""
        if not self.able.ends:
            return []
        run = runner(up_to(model, self.able.ends))
        return [[np.asarray(y, float) for y in run(self.able.ends, feed)] for feed in self.seen.first]

    def refit(self, pruned: onnx.ModelProto, gone: set[int]) -> None:
        """Re-fits, in place, the layers that read channels which are `gone`, so that they best reproduce their outputs."""
        nodes = {n.name: n for n in pruned.graph.node}
        names, tensors = g.Names(pruned), g.constants(pruned)
        makers = {edge.node.name: edge for edge in self.deps.makers}
        for r in self.readers:
            stays = ~np.isin(r.roots, list(gone))
            if stays.all():
                continue
            rows = ~np.isin(self.deps.roots(makers[r.edge.node.name].ids), list(gone))
            w, node = r.w[rows], nodes[r.edge.node.name]
            fitted = w[:, stays]
            if r.covariance.ndim == 2:
                inside, across = r.covariance[np.ix_(stays, stays)], r.covariance[np.ix_(stays, ~stays)]
                unit, deviation = unit_diagonal(inside)
                change = np.linalg.solve(unit, across @ w[:, ~stays].T / deviation[:, None]).T / deviation
                fitted = np.where(np.isfinite(change).all(1, keepdims=True), fitted + change, fitted)
            value, _ = unmatrix(fitted, node, tensors[node.input[1]].dims)
            kind = numpy_helper.to_array(tensors[node.input[1]]).dtype
            node.input[1] = g.add_constant(pruned, names.fresh(f"{node.name}.refitted_weight"), value.astype(kind))
            if r.bias is not None:
                bias = r.bias[rows] + w @ r.mean - fitted @ r.mean[stays]
                name = g.add_constant(pruned, names.fresh(f"{node.name}.refitted_bias"), bias.astype(kind))
                node.input[:] = [*node.input[:2], name]
            for a in node.attribute:  # the weights and the bias contain them
                if node.op_type == "Gemm" and a.name in ("alpha", "beta"):
                    a.f = 1.0
        g.drop_unused(pruned)


def _read(deps: Dependencies, edge: Edge, met: Moments) -> Reader:
    """`edge` with the statistics of its inputs."""
    w, cells, _ = matrix(deps.model, edge.node)
    about_zero = edge.node.op_type == "MatMul"
    bias = None if about_zero else bias_of(deps.model, edge.node, len(w))
    bias = np.zeros(len(w)) if bias is None and not about_zero else bias
    covariance = met.covariance(about_zero)[0].astype(float)
    mean = np.zeros(w.shape[1]) if about_zero else met.mean[0]
    if met.full:
        covariance[np.diag_indices(len(covariance))] += RIDGE * (np.trace(covariance) / len(covariance) or 1.0)
        scale = np.einsum("nk,kl,nl->", w, covariance, w, optimize=True)
    else:
        scale = np.square(w).sum(0) @ covariance
    return Reader(edge, w, bias, np.tile(deps.roots(edge.ids), cells), mean, covariance, float(scale) or 1.0)


class _Elimination:
    """Removes channels from one reader's inputs, re-fitting the others each time."""

    def __init__(self, reader: Reader):
        self.full = reader.covariance.ndim == 2
        self.w, self.roots, self.scale = reader.w.copy(), reader.roots, reader.scale
        self.inverse = np.linalg.inv(reader.covariance) if self.full else reader.covariance

    def losses(self, wanted: set[int]) -> dict[int, float]:
        """For each channel, the squared error of the outputs without it, relative to their variance."""
        if not self.full:
            each = np.square(self.w).sum(0) * self.inverse / self.scale
            found = dict.fromkeys(set(self.roots.tolist()) & wanted, 0.0)
            for root, loss in zip(self.roots.tolist(), each):
                if root in found:
                    found[root] += loss
            return found
        found = {}
        order = np.argsort(self.roots, kind="stable")
        roots, starts, counts = np.unique(self.roots[order], return_index=True, return_counts=True)
        for size in np.unique(counts):
            at = order[starts[counts == size][:, None] + np.arange(size)]  # [channels, size]
            blocks = np.linalg.inv(self.inverse[at[:, :, None], at[:, None, :]])
            w = self.w[:, at]
            loss = np.einsum("nci,cij,ncj->c", w, blocks, w, optimize=True) / self.scale
            found |= {r: x for r, x in zip(roots[counts == size].tolist(), loss.tolist()) if r in wanted}
        return found

    def take(self, gone: set[int]) -> None:
        out = np.isin(self.roots, list(gone))
        if not out.any():
            return
        if self.full:
            rows = np.linalg.solve(self.inverse[np.ix_(out, out)], self.inverse[np.ix_(out, ~out)])
            self.w = self.w[:, ~out] - self.w[:, out] @ rows
            self.inverse = self.inverse[np.ix_(~out, ~out)] - self.inverse[np.ix_(~out, out)] @ rows
        else:
            self.w, self.inverse = self.w[:, ~out], self.inverse[~out]
        self.roots = self.roots[~out]


def _difference(wanted: list[list[np.ndarray]], got: list[list[np.ndarray]]) -> float:
    """The squared error of all outputs relative to their variance, the mean over the outputs."""
    errors = []
    for a, b in zip(zip(*wanted), zip(*got)):
        if any(x.shape != y.shape for x, y in zip(a, b)):  # an inner tensor has lost channels
            continue
        a, b = (np.concatenate([y.ravel() for y in ys]) for ys in (a, b))
        errors.append(np.square(a - b).mean() / (a.var() or 1.0))
    return float(np.mean(errors)) if errors else 0.0
