"""Picks one of several choices for each layer: the cheapest that together stay within an error budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Choice:
    """One way to treat a layer.

    Attributes
    ----------
    value : what the layer becomes
    cost : what is minimized
    added : its share of the budget, such as the error that it adds to the model's outputs
    """

    value: Any
    cost: float
    added: float


def cheapest(choices: Sequence[Sequence[Choice]], budget: float) -> list[Choice]:
    """One choice for each layer: the cheapest that together add no more than `budget`.

    Uses a Lagrange multiplier: for a given price of the budget each layer is optimized independently, and the price is
    lowered as far as the budget allows.
    """

    def at(price: float) -> list[Choice]:
        return [min(own, key=lambda c: (c.cost + price * c.added, -c.cost)) for own in choices]

    def fits(taken: list[Choice]) -> bool:
        return sum(c.added for c in taken) <= budget

    low, high = 0.0, 1.0
    if fits(at(low)):
        return at(low)
    while not fits(at(high)) and high < 1e300:
        low, high = high, high * 16
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if fits(at(middle)) else (middle, high)
    return at(high)
