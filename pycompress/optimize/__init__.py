"""Passes over a Program: fuse steps, select kernels, choose layouts, tile, place buffers in one arena."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..lower.values import Program
from .arena import place
from .costs import Costs
from .fuse import fuse, join_factors
from .half import use_half_weights
from .layout import choose_layout
from .select_kernels import select_kernels
from .strict import uncompressed
from .tiling import tile
from .verify import verify

__all__ = ["Costs", "optimize", "place", "uncompressed", "verify"]


def optimize(
    program: Program,
    costs: Callable[[], Costs | None] | None = None,
    sparse: bool | str = "auto",
    after: Callable[[Program], None] = lambda program: None,
) -> None:
    """Fuse steps, drop those nobody reads, select sparse kernels (if given costs), choose layouts, cut into tiles.

    The two factors of a low-rank pair are joined last, when it is known that neither is sparse or of 16 bits.
    `after` is called after each pass; tests give ``verify``.
    """
    passes = [fuse, use_half_weights, join_factors, choose_layout, tile]
    if costs is not None:
        passes.insert(1, partial(select_kernels, costs=costs, sparse=sparse))
    for each in passes:
        each(program)
        after(program)
