"""One way for each layer: the cheapest that together keep to a budget of error."""

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
    cost : what is to be small
    added : what it takes from the budget, such as the error that it adds to the model's outputs
    """

    value: Any
    cost: float
    added: float


def cheapest(choices: Sequence[Sequence[Choice]], budget: float) -> list[Choice]:
    """One of the choices for each layer: the cheapest that together add no more than `budget`.

    By Lagrange's multiplier: for a given price of what is added each layer's best is its own affair, and the price falls
    as far as the budget allows.
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
