"""Passes over a Program: fuse steps, select kernels, choose layouts, pad input images, cut into tiles, place buffers in one arena."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..lower.values import Program
from .arena import place
from .bfloat16 import use_bfloat16_products
from .borders import pad_lines
from .costs import Costs
from .fuse import fuse, join_factors
from .half import use_half_weights
from .layout import choose_layout
from .pixels import pad_pixels
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
    """Fuse steps, drop unused ones, select sparse kernels (if costs are given), choose layouts, cut into tiles.

    Float products that have no sparse kernel then get their operands rounded to `float_products`. The two factors of a
    low-rank pair are joined after that: only then is it known that neither runs on a sparse or a 16-bit kernel. `after`
    is called after each pass; tests pass ``verify``.
    """
    passes = [fuse]
    if costs is not None:
        passes.append(partial(select_kernels, costs=costs, sparse=sparse))
    if float_products == "bfloat16":
        passes.append(use_bfloat16_products)
    passes += [use_half_weights, join_factors, choose_layout, pad_pixels, pad_lines, tile]
    for each in passes:
        each(program)
        after(program)
