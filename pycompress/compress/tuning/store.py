"""A file of measurements: each is made once, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...formats import atomic

FORMAT = 1
EVERY = 5.0  # seconds between two writes


class Store:
    """Measurements by key, JSON values; without a path they are only kept in memory."""

    def __init__(self, path: str | os.PathLike | None, fingerprint: str):
        """Raises ValueError if the file holds measurements of something else, or no measurements."""
        self.path = None if path is None else Path(path)
        self.values: dict[str, Any] = {}
        self.fingerprint, self._written = fingerprint, time.monotonic()
        if self.path is None:
            return
        if not self.path.exists():
            atomic.check(self.path)
            return
        try:
            told = json.loads(self.path.read_text("utf-8"))
            known, self.values = told["fingerprint"], dict(told["values"])
            fits = told["format"] == FORMAT
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}: it holds no measurements of pycompress") from None
        if known != fingerprint or not fits:
            raise ValueError(
                f"{path}: its measurements are of another model, calibration, machine or version, or of other forms or threads; give another file (--cache)"
            )

    def get(self, key: str, measure: Callable[[], Any]) -> Any:
        """The value of `key`; it is measured if it is not known."""
        if key not in self.values:
            self.values[key] = measure()
            if time.monotonic() - self._written > EVERY:
                self.save()
        return self.values[key]

    def save(self) -> None:
        """Write the file."""
        if self.path is not None:
            told = {"format": FORMAT, "fingerprint": self.fingerprint, "values": self.values}
            atomic.write(self.path, json.dumps(told, indent=1).encode())
            self._written = time.monotonic()


def fingerprint(parts: Iterable[object]) -> str:
    """A hash of bytes, arrays, and JSON values."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            found.update(part)
        elif isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode())
            found.update(np.ascontiguousarray(part))
        else:
            found.update(json.dumps(part, sort_keys=True, default=str).encode())
    return found.hexdigest()
