"""Gradual pruning: weights go to zero while the network trains, few at a time, and stay zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from ..compress.model import graph as g
from ..compress.model.layers import weighted_nodes
from ..compress.model.matrix import matrix
from ..compress.pruning.masks import Pattern, choose_masks, parse
from .checkpoint import MASKS
from .loop import Part

if TYPE_CHECKING:
    from .schedule import Optimizers
    from .twin import Twin, TwinLayer

SCOPES = ("global", "layer")
CHOICES = ("all", "pointwise")


@dataclass(frozen=True)
class Sparsity:
    """The options of gradual pruning.

    Attributes
    ----------
    sparsity : float or {node name: float}
        The share of zeros at the end, of all layers together or of each layer named. None for a pattern N:M.
    pattern : {"unstructured", "1x4", "4x1", "16x1", "N:M"}
        As in ``pycompress.prune``.
    scope : {"global", "layer"}
        One threshold for all layers, on weights divided by their layer's root mean square at the beginning; or the same
        share of each layer.
    layers : {"all", "pointwise"} or list of node names
        Depthwise convolutions are pruned only if they are named.
    exclude : list of node names, optional
        By default the first convolutions and the classifier, unless `layers` or `sparsity` names them.
    begin, end : float
        When the share of zeros begins to rise and when it is reached, as shares of all steps.
    every : int
        Steps between two choices of zeros.
    rewind : float, optional
        When all zeros are chosen, the other weights go back to what they were after this many epochs, and the learning
        rate goes again through what it went through from there, in the steps that are left (Frankle et al.,
        arXiv:1912.05671; Renda et al., arXiv:2003.02389).
    """

    sparsity: float | dict[str, float] | None = None
    pattern: str = "unstructured"
    scope: str = "global"
    layers: str | tuple[str, ...] = "all"
    exclude: tuple[str, ...] | None = None
    begin: float = 0.05
    end: float = 0.6
    every: int = 25
    rewind: float | None = None

    def __post_init__(self):
        shape = parse(self.pattern)
        if shape.keep and self.sparsity is not None:
            raise ValueError(f"sparsity: the pattern {self.pattern} determines it; leave it out")
        if not shape.keep and self.sparsity is None:
            raise ValueError(f"sparsity: the pattern {self.pattern} needs one")
        ratios = self.sparsity.values() if isinstance(self.sparsity, Mapping) else [self.sparsity or 0.0]
        if bad := [x for x in ratios if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 <= x < 1]:
            raise ValueError(f"sparsity: {bad[0]!r} is not in [0, 1)")
        if isinstance(self.sparsity, Mapping):
            self._check_names(self.sparsity)
        if self.layers == ():
            raise ValueError("layers: the list is empty")
        if self.scope not in SCOPES:
            raise ValueError(f"scope: {self.scope!r} is not one of {', '.join(SCOPES)}")
        if isinstance(self.layers, str) and self.layers not in CHOICES:
            raise ValueError(f"layers: {self.layers!r} is neither of {', '.join(CHOICES)}, nor a list of nodes")
        if not 0 <= self.begin < self.end < 1:
            raise ValueError(f"begin, end: 0 <= begin < end < 1 must hold, got {self.begin} and {self.end}")
        if self.every < 1:
            raise ValueError(f"every: {self.every} is not at least 1")
        if self.rewind is not None and self.rewind < 0:
            raise ValueError(f"rewind: {self.rewind} is not at least 0")

    def _check_names(self, shares: Mapping[str, float]) -> None:
        if not shares:
            raise ValueError("sparsity: the table is empty")
        if not isinstance(self.layers, str) and (lacking := [name for name in self.layers if name not in shares]):
            raise ValueError(f"layers: {lacking[0]!r} has no share in the table of sparsity")


def cubic(step: int, begin: int, end: int, final: float) -> float:
    """The share of zeros at `step`: it rises fast and then ever slower (Zhu and Gupta, arXiv:1710.01878).

    Examples
    --------
    >>> [round(cubic(i, 0, 4, 0.8), 3) for i in range(6)]
    [0.0, 0.463, 0.7, 0.788, 0.8, 0.8]
    """
    left = 1 - min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final * (1 - left**3)


def as_matrix(layer: TwinLayer, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Values in the shape of the layer's weights as [n, k], and the number of kernel cells; k runs over cells, then channels."""
    if layer.operator == "Conv":
        return x.flatten(2).transpose(1, 2).flatten(1), int(np.prod(x.shape[2:]))
    return (x if layer.rows == 0 else x.T), 1


def from_matrix(layer: TwinLayer, x: torch.Tensor) -> torch.Tensor:
    """The inverse of `as_matrix`."""
    shape = layer.parameter.shape
    if layer.operator == "Conv":
        return x.reshape(shape[0], -1, shape[1]).transpose(1, 2).reshape(shape)
    return x if layer.rows == 0 else x.T


class Sparsify(Part):
    """Sets the masks of a twin, step by step; weights that are zero once stay zero.

    Parameters
    ----------
    twin : Twin
    options : Sparsity
    total : int
        The steps of the whole run.
    epoch : int
        The steps of an epoch.

    Raises
    ------
    ValueError
        If a name is no layer with weights, or nothing is left to prune.
    """

    def __init__(self, twin: Twin, options: Sparsity, total: int, epoch: int):
        self.twin, self.options, self.total = twin, options, total
        self.pattern = parse(options.pattern)
        self.layers = chosen(twin, options)
        self.begin = int(options.begin * total)
        self.end = max(int(options.end * total), self.begin + 1)
        self.back = None if options.rewind is None else round(options.rewind * epoch)
        if self.back is not None and self.back >= self.end:
            raise ValueError(f"rewind: epoch {options.rewind} is not before all zeros are chosen, at step {self.end}")
        self.scales: list[float] = []
        self.early: dict[str, torch.Tensor] = {}

    def before(self, step: int) -> None:
        if step == self.back:
            self.early = {k: v.clone() for k, v in self.twin.state_dict().items() if not k.startswith(MASKS)}
        if self.begin <= step <= self.end and ((step - self.begin) % self.options.every == 0 or step == self.end):
            self.choose(step)

    def after(self, step: int, optimizer: Optimizers) -> None:
        if self.back is not None and step == self.end:
            self.twin.load_state_dict({**self.twin.state_dict(), **self.early})
            self.early = {}
            optimizer.forget()  # momentum belongs to the weights that are gone

    def scheduled(self, step: int) -> int:
        if self.back is None or step <= self.end:
            return step
        left = self.total - self.end - 1
        return self.back + round((step - self.end - 1) * (self.total - self.back) / max(left, 1))

    def settled(self, step: int) -> bool:
        return step > self.end

    def state_dict(self) -> dict:
        return {"scales": self.scales, "early": self.early}

    def load_state_dict(self, state: dict) -> None:
        self.scales, self.early = state["scales"], state["early"]

    @torch.no_grad()
    def choose(self, step: int) -> None:
        """Set the masks for `step`."""
        squares, segments = [], []
        for layer in self.layers:
            square, cells = as_matrix(layer, self.twin.value(layer.weight).detach().double().square())
            squares.append(square.numpy())
            segments.append(cells)
        if not self.scales:
            self.scales = [float(x.mean()) or 1.0 for x in squares]
        pattern, ratio = self._goal(step)
        if self.options.scope == "global" and not isinstance(ratio, list):
            squares = [x / scale for x, scale in zip(squares, self.scales)]
        for layer, mask in zip(self.layers, choose_masks(squares, segments, pattern, ratio)):
            self.twin.masks[layer.weight] = from_matrix(layer, torch.from_numpy(mask)).contiguous()

    def _goal(self, step: int) -> tuple[Pattern, float | list[float]]:
        """The pattern and the share of zeros at `step`; N:M begins with M - 1 of M and comes down to N."""
        wanted, of = self.options.sparsity, self.pattern.cols
        if self.pattern.keep:
            share = cubic(step, self.begin, self.end, 1 - self.pattern.keep / of)
            keep = max(self.pattern.keep, int(np.ceil(of * (1 - share) - 1e-9)))
            if keep == of:
                keep -= 1
            return replace(self.pattern, keep=keep), 1.0
        each = [wanted[x.node] for x in self.layers] if isinstance(wanted, Mapping) else [wanted] * len(self.layers)
        now = [cubic(step, self.begin, self.end, x) for x in each]
        return self.pattern, now if self.options.scope == "layer" or isinstance(wanted, Mapping) else now[0]


def chosen(twin: Twin, options: Sparsity) -> list[TwinLayer]:
    """The layers that `options` prunes, in order; layers that share weights count once."""
    layers = {layer.node: layer for layer in twin.layers}
    named = set(options.sparsity) if isinstance(options.sparsity, Mapping) else set()
    if not isinstance(options.layers, str):
        named |= set(options.layers)
    for what, names in (("layers", named), ("exclude", set(options.exclude or ()))):
        if unknown := names - set(layers):
            raise ValueError(f"{what}: the network has no layer {min(unknown)!r}; it has {', '.join(layers)}")
    left = set(options.exclude) if options.exclude is not None else set()
    if options.exclude is None:
        left = set().union(*g.ends(twin.onnx(), set(layers))) - named
    found: dict[str, TwinLayer] = {}
    for name, layer in layers.items():
        fits = layer.kind != "depthwise" and (layer.pointwise or options.layers != "pointwise")
        if (name in named if named else fits) and name not in left:
            found.setdefault(layer.weight, layer)
    if not found:
        raise ValueError("layers: nothing is left to prune")
    return list(found.values())


def zeros_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Where the weights of the layers of a float model are not zero: bool[n, k] by node, of layers that have zeros."""
    found = {}
    for node in weighted_nodes(model):
        w, _, _ = matrix(model, node)
        if (w == 0).any():
            found[node.name] = w != 0
    return found


def hold(twin: Twin, zeros: Mapping[str, np.ndarray]) -> list[str]:
    """Mask the layers of `twin` as `zeros_of` found them in the model that it comes from; the nodes that were masked."""
    done = []
    for layer in twin.layers:
        mask = zeros.get(layer.node)
        if mask is not None and mask.size == layer.parameter.numel():
            twin.masks[layer.weight] = from_matrix(layer, torch.from_numpy(np.ascontiguousarray(mask))).contiguous()
            done.append(layer.node)
    return done


def share_of_zeros(twin: Twin, layers: list[TwinLayer]) -> float:
    """The share of zeros among the weights of `layers`."""
    values = [twin.value(layer.weight) for layer in layers]
    return sum(int((v == 0).sum()) for v in values) / max(sum(v.numel() for v in values), 1)
