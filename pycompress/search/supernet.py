"""A network that holds the weights of all networks of a space: each of them uses slices of shared tensors.

A layer's weights are those of the largest block at its place. A narrower block takes the first channels, a smaller kernel
the middle cells (as in Once-for-All, arXiv:1908.09791); each operation of a cell has weights of its own, as in ENAS
(arXiv:1802.03268). Batch norm always normalizes with the statistics of the batch, since running ones would mix those of
different networks: evaluate in batches of some hundred images. 8-bit and 4-bit weights are rounded in the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..zoo.builder import make_divisible
from .blocks import FLOAT, IMAGE, Block, Network
from .space import Choice, Space

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "silu": F.silu,
}
Gates = Mapping[tuple[str, int], Tensor]  # factors of a placed block's sources


class Supernet(nn.Module):
    """The shared weights of a space.

    Parameters
    ----------
    space : Space
    seed : int
        Of the initial weights: Gaussian with He's scale.

    Examples
    --------
    >>> space = read("SPACE.yaml")  # doctest: +SKIP
    >>> net = Supernet(space)  # doctest: +SKIP
    >>> logits = net(images, space.network(choice))  # doctest: +SKIP
    """

    def __init__(self, space: Space, seed: int = 0):
        super().__init__()
        self.space = space
        self.weights = nn.ParameterDict()
        self.generator = torch.Generator().manual_seed(seed)
        for name, block in space.positions().items():
            self._make(name, block)

    def _make(self, name: str, b: Block) -> None:
        """Weights for the largest block of a place."""
        if b.kind == "conv":
            self._conv(name, b.out, b.inputs, b.kernel)
        elif b.kind == "sep":
            self._conv(f"{name}.depthwise", b.inputs, 1, b.kernel)
            self._conv(f"{name}.pointwise", b.out, b.inputs, 1)
        elif b.kind == "mb":
            self._conv(f"{name}.expand", b.expanded, b.inputs, 1)
            self._conv(f"{name}.depthwise", b.expanded, 1, b.kernel)
            self._conv(f"{name}.project", b.out, b.expanded, 1)
            if b.se:
                squeezed = make_divisible(b.expanded / 4)
                self._linear(f"{name}.se.reduce", squeezed, b.expanded)
                self._linear(f"{name}.se.expand", b.expanded, squeezed)
        elif b.kind == "classifier":
            self._linear(name, b.out, b.inputs)

    def _conv(self, name: str, out: int, inputs: int, kernel: int) -> None:
        w = torch.randn(out, inputs, kernel, kernel, generator=self.generator)
        self.weights[_slot(name, "weight")] = nn.Parameter(w * math.sqrt(2 / (inputs * kernel * kernel)))
        self.weights[_slot(name, "gamma")] = nn.Parameter(torch.ones(out))
        self.weights[_slot(name, "beta")] = nn.Parameter(torch.zeros(out))

    def _linear(self, name: str, out: int, inputs: int) -> None:
        w = torch.randn(out, inputs, generator=self.generator)
        self.weights[_slot(name, "weight")] = nn.Parameter(w * math.sqrt(1 / inputs))
        self.weights[_slot(name, "bias")] = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, network: Network, gates: Gates | None = None) -> Tensor:
        """The logits [n, classes] of `network`.

        Parameters
        ----------
        x : float32[n, channels, height, width]
            Brought to the network's resolution.
        network : Network
            Of the space.
        gates : {(placed block, source): scalar}, optional
            Factors that gradients of decisions flow through.
        """
        if x.shape[2:] != (network.resolution, network.resolution):
            x = F.interpolate(x, (network.resolution,) * 2, mode="bilinear", antialias=True)
        known = {IMAGE: x}
        for p in network.placed:
            given = [known[name] for name in p.sources]
            if gates:
                given = [t * gates[p.name, i] if (p.name, i) in gates else t for i, t in enumerate(given)]
            known[p.name] = _RUN[p.block.kind](self, p.name, p.block, given)
        return known[network.placed[-1].name]

    # layers on slices

    def convolved(self, x: Tensor, name: str, out: int, kernel: int, stride=1, depthwise=False, act=None, bits=FLOAT):
        """Convolution, batch norm and activation with the first `out` filters and the middle cells."""
        w = self.weights[_slot(name, "weight")]
        edge = (w.shape[2] - kernel) // 2
        w = w[:out, : 1 if depthwise else x.shape[1], edge : edge + kernel, edge : edge + kernel]
        y = F.conv2d(x, rounded(w, bits), None, stride, kernel // 2, groups=out if depthwise else 1)
        gamma, beta = (self.weights[_slot(name, part)][:out] for part in ("gamma", "beta"))
        y = F.batch_norm(y, None, None, gamma, beta, training=True)
        return ACTIVATIONS[act](y) if act else y

    def dense(self, x: Tensor, name: str, out: int, bits: int = FLOAT) -> Tensor:
        w = self.weights[_slot(name, "weight")][:out, : x.shape[1]]
        return F.linear(x, rounded(w, bits), self.weights[_slot(name, "bias")][:out])


def rounded(w: Tensor, bits: int) -> Tensor:
    """`w` as symmetric codes of so many bits, a scale per output, give it; gradients pass unchanged."""
    if bits == FLOAT:
        return w
    with torch.no_grad():
        top = 2 ** (bits - 1) - 1
        scale = w.flatten(1).abs().amax(1).clamp_min(1e-12) / top
        scale = scale.reshape(-1, *[1] * (w.dim() - 1))
        codes = (w / scale).round() * scale
    return w + (codes - w).detach()


def _conv(net: Supernet, name: str, b: Block, given) -> Tensor:
    bits = b.bits if b.kernel == 1 else FLOAT
    return net.convolved(given[0], name, b.out, b.kernel, b.stride, act=b.activation, bits=bits)


def _sep(net: Supernet, name: str, b: Block, given) -> Tensor:
    y = net.convolved(given[0], f"{name}.depthwise", b.inputs, b.kernel, b.stride, depthwise=True)
    return net.convolved(y, f"{name}.pointwise", b.out, 1, act=b.activation, bits=b.bits)


def _mb(net: Supernet, name: str, b: Block, given) -> Tensor:
    x = y = given[0]
    if b.expanded != b.inputs:
        y = net.convolved(y, f"{name}.expand", b.expanded, 1, act=b.activation, bits=b.bits)
    y = net.convolved(y, f"{name}.depthwise", b.expanded, b.kernel, b.stride, depthwise=True, act=b.activation)
    if b.se:
        s = F.relu(net.dense(y.mean((2, 3)), f"{name}.se.reduce", make_divisible(b.expanded / 4)))
        y = y * F.hardsigmoid(net.dense(s, f"{name}.se.expand", b.expanded))[:, :, None, None]
    y = net.convolved(y, f"{name}.project", b.out, 1, bits=b.bits)
    return x + y if b.stride == 1 and b.out == b.inputs else y


_RUN: dict[str, Callable[[Supernet, str, Block, list[Tensor]], Tensor]] = {
    "conv": _conv,
    "sep": _sep,
    "mb": _mb,
    "max": lambda net, name, b, given: F.max_pool2d(given[0], b.kernel, b.stride, b.kernel // 2),
    "avg": lambda net, name, b, given: F.avg_pool2d(
        given[0], b.kernel, b.stride, b.kernel // 2, count_include_pad=False
    ),
    "add": lambda net, name, b, given: given[0] + given[1],
    "concat": lambda net, name, b, given: torch.cat(given, 1),
    "classifier": lambda net, name, b, given: net.dense(given[0].mean((2, 3)), name, b.out, b.bits),
}


def _slot(name: str, part: str) -> str:
    return f"{name}/{part}".replace(".", "/")  # names of parameters have no dots


def train(
    net: Supernet,
    parts,
    *,
    epochs: int,
    batch: int = 128,
    rate: float = 0.1,
    paths: int = 2,
    seed: int = 0,
    augment=None,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Train the shared weights: each step takes the mean gradient of `paths` random networks (arXiv:1904.00420).

    Parameters
    ----------
    net : Supernet
    parts : pycompress.train.feed.Parts
        Its training part is used.
    epochs, batch : int
    rate : float
        Of SGD with momentum, falling as a cosine does.
    paths : int
    seed : int
        Of the networks and of the order of images.
    augment : pycompress.train.data.Augment, optional
    progress : callable, optional
        Called with the steps done and all steps.
    """
    from ..train.feed import DataFeed

    rng, feed = np.random.default_rng(seed), DataFeed(parts.train, batch, parts.normalize, augment=augment, seed=seed)
    optimizer = torch.optim.SGD(net.parameters(), rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    step, total = 0, epochs * feed.steps
    for epoch in range(epochs):
        for _, x, y in feed.batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / total)) / 2
            optimizer.zero_grad()
            for _ in range(paths):
                network = net.space.network(net.space.random(rng))
                (F.cross_entropy(net(x, network), y) / paths).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            step += 1
            if progress:
                progress(step, total)


@torch.no_grad()
def accuracy(net: Supernet, network: Network, data, normalize, batch: int = 500) -> float:
    """The share of the images of `data` that `network` with the shared weights classifies as labelled."""
    hits = 0
    for start in range(0, len(data), batch):
        part = data[np.arange(start, min(start + batch, len(data)))]
        logits = net(normalize(part.images), network)
        hits += int((logits.argmax(1) == torch.from_numpy(part.labels)).sum())
    return hits / len(data)


class Shared:
    """Evaluates choices with shared weights: a matter of a second, where training takes minutes.

    Parameters
    ----------
    net : Supernet
    parts : pycompress.train.feed.Parts
    """

    def __init__(self, net: Supernet, parts):
        self.net, self.parts = net, parts

    def __call__(self, choice: Choice, network: Network) -> float:
        return accuracy(self.net, network, self.parts.valid, self.parts.normalize)
