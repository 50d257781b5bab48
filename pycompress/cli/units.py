"""Times and sizes as people write them."""

from __future__ import annotations

import argparse
import re

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
BYTES = {"": 1.0, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20}


def seconds(text: str) -> float:
    """argparse type of a positive time, as 3ms."""
    return _of(text, SECONDS)


def size(text: str) -> float:
    """argparse type of a positive number of bytes, as 2MB."""
    return _of(text, BYTES)


def spoken(seconds: float) -> str:
    """A duration in whole seconds, or minutes."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _of(text: str, units: dict[str, float]) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)", text)
    if not found or found[2] not in units or not float(found[1]):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a positive number with one of the units {', '.join(filter(None, units))}"
        )
    return float(found[1]) * units[found[2]]
