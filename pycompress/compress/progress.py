"""How far a pass is: what the callables `progress` of the passes are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[int, int | None], object]
T = TypeVar("T")


def counted(items: Iterable[T], progress: Progress | None) -> Iterator[T]:
    """`items`; after each, `progress` gets the number of those that are done, and of all."""
    items = list(items)
    for i, item in enumerate(items):
        yield item
        if progress:
            progress(i + 1, len(items))
