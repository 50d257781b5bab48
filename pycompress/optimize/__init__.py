"""Steps to steps: fewer of them, and buffers placed in one arena."""

from __future__ import annotations

from ..lower.values import Program
from .arena import place
from .bands import band
from .fuse import fuse
from .strict import uncompressed

__all__ = ["optimize", "place", "uncompressed"]


def optimize(program: Program) -> None:
    """Fuse steps, drop those nobody reads, cut what is large into bands."""
    fuse(program)
    band(program)
