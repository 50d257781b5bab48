"""Gradient-based search: chances of decisions are trained by descent, together with the shared weights.

As in DARTS (arXiv:1806.09055) steps of the weights on one half of the images and steps of the chances on the other half
take turns. Decisions are drawn with Gumbel noise, as in FBNet (arXiv:1812.03443); each step runs the one network that
was drawn, and the gradient reaches the chances through factors of one in the forward pass (GDAS, arXiv:1910.04465).

The latency term pulls the expected latency to the limit, from both sides as in TuNAS (arXiv:2008.06120): a pull from above alone
settles at the smallest network before the accuracies of larger ones have counted. By the expected latency's linearity its derivative
by the chance of a decision's value is the expected latency of networks with this value; the drawn network, changed in this decision
alone, is a sample of those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .space import Choice, Space
from .supernet import Supernet
from .table import Table


@dataclass(frozen=True)
class Gradient:
    """The options of a gradient-based search.

    Attributes
    ----------
    epochs : int
        Over the images for the weights.
    warmup : int
        Of these epochs, the first ones that train weights only, of random networks.
    batch : int
    rate, chance_rate : float
        Of SGD for the weights, and of Adam for the chances.
    hot, cold : float
        The temperature of the Gumbel softmax, at the start and at the end.
    pressure : float
        The weight of the latency, relative to the limit: down where the network that is drawn is slower, up where it is faster.
    seed : int
    """

    epochs: int = 20
    warmup: int = 5
    batch: int = 128
    rate: float = 0.1
    chance_rate: float = 0.01
    hot: float = 2.0
    cold: float = 0.2
    pressure: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"gradient: warmup {self.warmup} is not below the {self.epochs} epochs")


class Chances(nn.Module):
    """The chances of each decision's values, as logits."""

    def __init__(self, space: Space):
        super().__init__()
        self.space = space
        self.logits = nn.ParameterList(nn.Parameter(torch.zeros(len(d.values))) for d in space.decisions)

    def draw(self, temperature: float, generator: torch.Generator) -> tuple[Choice, dict[str, Tensor]]:
        """A choice, and for each decision the factor of one whose gradient goes to its chances."""
        choice, factors = {}, {}
        for d, logits in zip(self.space.decisions, self.logits):
            noise = -torch.empty_like(logits).exponential_(generator=generator).log()
            soft = ((logits + noise) / temperature).softmax(0)
            at = int(soft.argmax())
            choice[d.name] = d.values[at]
            factors[d.name] = soft[at] - soft[at].detach() + 1
        return choice, factors

    def latency(self, choice: Choice, latency: Callable[[Choice], float]) -> Tensor:
        """A number whose gradient by the chances is that of the expected latency, sampled at `choice`."""
        terms = [torch.zeros(())]
        used = self.space.used(choice)
        for d, logits in zip(self.space.decisions, self.logits):
            if d.name in used:
                seconds = torch.tensor([latency({**choice, d.name: value}) for value in d.values])
                terms.append(logits.softmax(0) @ seconds)
        return torch.stack(terms).sum()

    def table(self) -> dict[str, list[float]]:
        """The chances of each decision's values."""
        return {d.name: x.detach().softmax(0).tolist() for d, x in zip(self.space.decisions, self.logits)}


def gradient_search(
    space: Space,
    net: Supernet,
    parts,
    table: Table,
    limit: float,
    options: Gradient = Gradient(),
    *,
    augment=None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, list[float]]:
    """Train `net` and the chances of the space's decisions.

    Parameters
    ----------
    space : Space
    net : Supernet
        It is trained, too.
    parts : pycompress.train.feed.Parts
        The training part is halved: one half for weights, one for chances.
    table : Table
    limit : float
        Seconds.
    options : Gradient
    augment : pycompress.train.data.Augment, optional
    progress : callable, optional
        Called with the steps done and all steps.

    Returns
    -------
    dict
        The chances of each decision's values, for `samplers.Learned`.
    """
    from ..train.data import split
    from ..train.feed import DataFeed

    first, second = split(parts.train, len(parts.train) // 2, options.seed)
    weights, images = (
        DataFeed(half, options.batch, parts.normalize, augment=augment, seed=options.seed) for half in (first, second)
    )
    chances, run = Chances(space), torch.Generator().manual_seed(options.seed)
    known: dict[str, float] = {}

    def latency(choice: Choice) -> float:
        key = str(choice)
        if key not in known:
            known[key] = table.predict(space.network(choice))
        return known[key]

    slopes = torch.optim.SGD(net.parameters(), options.rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    steps = torch.optim.Adam(chances.parameters(), options.chance_rate, betas=(0.5, 0.999))
    done, total = 0, options.epochs * weights.steps
    for epoch in range(options.epochs):
        for (_, x, y), (_, x2, y2) in zip(weights.batches(epoch), images.batches(epoch)):
            share = done / total
            temperature = options.hot * (options.cold / options.hot) ** share
            for group in slopes.param_groups:
                group["lr"] = options.rate * (1 + np.cos(np.pi * share)) / 2
            choice, _ = chances.draw(temperature, run)
            _step(slopes, F.cross_entropy(net(x, space.network(choice)), y), net)
            if epoch >= options.warmup:
                choice, factors = chances.draw(temperature, run)
                logits = net(x2, space.network(choice), _gates(space, choice, factors))
                pull = options.pressure if latency(choice) > limit else -options.pressure
                loss = F.cross_entropy(logits, y2) + pull * chances.latency(choice, latency) / limit
                _step(steps, loss, chances)
            done += 1
            if progress:
                progress(done, total)
    return chances.table()


def _gates(space: Space, choice: Choice, factors: dict[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    return {
        at: torch.stack([factors[name] for name in names]).prod()
        for at, names in space.gates(choice).items()
        if names
    }  # fmt: skip


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, module: nn.Module) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 5.0)
    optimizer.step()
