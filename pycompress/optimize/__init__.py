"""Steps to steps: fewer of them, and buffers placed in one arena."""

from __future__ import annotations

from collections.abc import Callable

from ..lower.values import Program
from .arena import place
from .costs import Costs
from .fuse import fuse, join_factors
from .half import halve
from .layout import lay_in_planes
from .select_kernels import choose_forms
from .strict import uncompressed
from .tiling import band

__all__ = ["Costs", "optimize", "place", "uncompressed"]


def optimize(program: Program, costs: Callable[[], Costs | None] | None = None, sparse: bool | str = "auto") -> None:
    """Fuse steps, drop those nobody reads, choose dense or sparse products, if given their costs; lay out in planes, cut into bands.

    The factors of a low-rank pair are joined when it is known that neither is sparse or of 16 bits.
    """
    fuse(program)
    if costs is not None:
        choose_forms(program, costs, sparse)
    halve(program)
    join_factors(program)
    lay_in_planes(program)
    band(program)
