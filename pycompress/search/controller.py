"""The recurrent controller of `samplers.Reinforce`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


class Controller(nn.Module):
    """An LSTM that makes one decision after the other; each sees those before it.

    Parameters
    ----------
    counts : sequence of int
        How many values each decision has.
    hidden : int
    rate : float
        Of Adam.
    """

    def __init__(self, counts: Sequence[int], *, hidden: int = 64, rate: float = 0.01):
        super().__init__()
        self.counts = list(counts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the same weights in each process
            self.start = nn.Parameter(torch.zeros(hidden))
            self.cell = nn.LSTMCell(hidden, hidden)
            self.embeddings = nn.ModuleList(nn.Embedding(n, hidden) for n in self.counts)
            self.heads = nn.ModuleList(nn.Linear(hidden, n) for n in self.counts)
            for head in self.heads:
                nn.init.normal_(head.weight, std=0.01)  # nearly equal chances at first
                nn.init.zeros_(head.bias)
        self.optimizer = torch.optim.Adam(self.parameters(), rate)

    def logits(self, choose) -> list[Tensor]:
        """The logits of each decision; ``choose(i, logits)`` says which value is taken."""
        x, state, found = self.start[None], None, []
        for i in range(len(self.counts)):
            state = self.cell(x, state)
            found.append(self.heads[i](state[0])[0])
            x = self.embeddings[i](torch.tensor([choose(i, found[-1])]))
        return found

    @torch.no_grad()
    def draw(self, rng: np.random.Generator) -> list[int]:
        """Draw an index for each decision."""
        chosen: list[int] = []

        def choose(i: int, logits: Tensor) -> int:
            chances = logits.double().softmax(0).numpy()
            chosen.append(int(rng.choice(len(chances), p=chances / chances.sum())))
            return chosen[-1]

        self.logits(choose)
        return chosen

    def learn(self, choice: Sequence[int], advantage: float, entropy: float) -> None:
        """One step towards choices like this one if `advantage` is positive, away from them if it is negative."""
        logs = [x.log_softmax(0) for x in self.logits(lambda i, _: choice[i])]
        likely = torch.stack([log[c] for log, c in zip(logs, choice)]).sum()
        spread = torch.stack([-(log.exp() * log).sum() for log in logs]).sum()
        self.optimizer.zero_grad()
        (-advantage * likely - entropy * spread).backward()
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        self.optimizer.step()
