"""Passes over a Program: fuse steps, select kernels, choose layouts, tile, place buffers in one arena."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..lower.values import Program
from .arena import place
from .bfloat16 import use_bfloat16_products
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
    float_products: str = "float32",
) -> None:
    """Fuse steps, drop those nobody reads, select sparse kernels (if given costs), choose layouts, cut into tiles.

    Float products that are then not sparse have their operands rounded to `float_products`. The two factors of a low-rank pair are joined last, when it is known that neither is sparse or of 16 bits.
    `after` is called after each pass; tests give ``verify``.
    """
    passes = [fuse]
    if costs is not None:
        passes.append(partial(select_kernels, costs=costs, sparse=sparse))
    if float_products == "bfloat16":
        passes.append(use_bfloat16_products)
    passes += [use_half_weights, join_factors, choose_layout, tile]
    for each in passes:
        each(program)
        after(program)
