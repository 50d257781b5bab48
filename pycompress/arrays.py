"""Callers' arrays: NumPy's, and whatever shares its memory by DLPack or the buffer protocol."""

from __future__ import annotations

import numpy as np


def shared(x: object, what: str) -> np.ndarray:
    """`x` as an array on the same memory.

    Raises
    ------
    TypeError
        If it is not an array on the CPU: neither NumPy's, nor one with ``__dlpack__``, nor a buffer.
    """
    if isinstance(x, np.ndarray):
        return x
    try:
        if hasattr(x, "__dlpack__"):
            return np.from_dlpack(x)
        if not isinstance(x, (bytes, bytearray, str)):
            return np.asarray(memoryview(x))  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, BufferError, AttributeError) as error:
        raise TypeError(f"{what} must be an array on the CPU, got {type(x).__name__}: {error}") from None
    raise TypeError(f"{what} must be an array, got {type(x).__name__}")
