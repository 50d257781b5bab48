"""How a weight is stored.  A compressed weight is a value, not an operator.

Rows are outputs: ``w[n, ...]``, the rest in the order in which the kernel sums it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dense:
    """float32 weights, f32[n,...]."""

    w: np.ndarray

    def dense(self) -> np.ndarray:
        """The weights it stands for, float32."""
        return self.w


@dataclass(frozen=True, eq=False)
class Q8:
    """Integer weights, i8[n,...], and per row the zero point i32[n] and the scale f32[n].

    uint8 weights are stored as w - 128, their zero points as z - 128.
    """

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def dense(self) -> np.ndarray:
        """The weights it stands for, float32."""
        ones = (-1,) + (1,) * (self.w.ndim - 1)
        return (self.w.astype(np.int32) - self.zero.reshape(ones)).astype(np.float32) * self.scale.reshape(ones)


@dataclass(frozen=True, eq=False)
class Q4:
    """4-bit weights: codes u8[n,k] of 0 to 15, one a byte, in groups of `group` columns, of which the last may be short.

    Per row and group there are a scale f32[n,groups] and a zero point u8[n,groups]: (w - zero) * scale.
    """

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    group: int

    def dense(self) -> np.ndarray:
        """The weights it stands for, float32."""
        of = np.arange(self.w.shape[1]) // self.group
        return (self.w.astype(np.int32) - self.zero[:, of]).astype(np.float32) * self.scale[:, of]
