"""The ways to store weights. A compressed weight is a value, not an operator.

Rows are outputs: ``w[n, ...]``; the other dimensions are in the order in which the kernel sums them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Dense:
    """float32 weights f32[n,...]: the rows of `base` times each of the `factors` f32[n] in turn.

    The product is computed only when `w` is read: plans for further shapes take the packed weights of the first plan.
    """

    base: np.ndarray
    factors: tuple[np.ndarray, ...] = ()

    @cached_property
    def w(self) -> np.ndarray:
        """The weights, f32[n,...]."""
        w = self.base
        for factor in self.factors:
            w = w * factor.reshape(-1, *[1] * (w.ndim - 1))
        return w

    def times(self, factor: np.ndarray) -> Dense:
        """These weights with each row multiplied by its element of `factor`."""
        return Dense(self.base, (*self.factors, factor))

    def dense(self) -> np.ndarray:
        """The weights as float32."""
        return self.w


@dataclass(frozen=True, eq=False)
class Half:
    """float16 or bfloat16 (ml_dtypes) weights [n,...]."""

    w: np.ndarray

    def dense(self) -> np.ndarray:
        """The weights as float32."""
        return self.w.astype(np.float32)


def halved(w: np.ndarray) -> Half | None:
    """float32 weights [n,...] as Half if float16, or else bfloat16, represents all of them exactly; else None."""
    if not w.size or 0 in w.strides:  # a repeated constant takes no memory
        return None
    few = w[:1, :64] if w.ndim > 1 else w[:64]  # a few are enough to rule out most weights
    for kind in (_float16, _bfloat16):
        if kind(few) is not None and (half := kind(w)) is not None:
            return Half(half)
    return None


def rounded(w: np.ndarray, kind: str) -> Half | None:
    """float32 weights rounded to `kind`, "float16" or "bfloat16"; None if one overflows it, or more than half underflow."""
    if kind == "bfloat16":
        import ml_dtypes  # noqa: F401  # names it to numpy
    with np.errstate(over="ignore", invalid="ignore"):
        half = w.astype(kind)
    kept = 2 * np.count_nonzero(half) >= np.count_nonzero(w)
    return Half(half) if kept and np.array_equal(np.isfinite(half.astype(np.float32)), np.isfinite(w)) else None


def _float16(w: np.ndarray) -> np.ndarray | None:
    with np.errstate(over="ignore", invalid="ignore"):
        half = w.astype(np.float16)
        return half if half.astype(np.float32).tobytes() == w.tobytes() else None


def _bfloat16(w: np.ndarray) -> np.ndarray | None:
    bits = np.ascontiguousarray(w).view(np.uint32)
    if (bits & 0xFFFF).any():
        return None
    from ml_dtypes import bfloat16

    return (bits >> 16).astype(np.uint16).view(bfloat16)


@dataclass(frozen=True, eq=False)
class Q8:
    """Integer weights i8[n,...] with a zero point i32[n] and a scale f32[n] per row.

    uint8 weights are stored as w - 128, their zero points as z - 128.
    """

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    def dense(self) -> np.ndarray:
        """The weights as float32."""
        ones = (-1,) + (1,) * (self.w.ndim - 1)
        return (self.w.astype(np.int32) - self.zero.reshape(ones)).astype(np.float32) * self.scale.reshape(ones)


@dataclass(frozen=True, eq=False)
class Q4:
    """4-bit weights: codes u8[n,k] from 0 to 15, one per byte, in groups of `group` columns; the last may be shorter.

    Each row and group has a scale f32[n,groups] and a zero point u8[n,groups]: (w - zero) * scale.
    """

    w: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    group: int

    def dense(self) -> np.ndarray:
        """The weights as float32."""
        of = np.arange(self.w.shape[1]) // self.group
        return (self.w.astype(np.int32) - self.zero[:, of]).astype(np.float32) * self.scale[:, of]


class Facts:
    """A cache of facts about constants, which never change; an entry lives as long as the memory of its constant."""

    LARGE = 4096  # bytes; from here on a look-up is faster than finding out again

    def __init__(self):
        self._known: dict[tuple, tuple[weakref.ref, object]] = {}

    def of(self, what, x: np.ndarray | Dense | Q8, find: Callable[[], object]):
        """`find()`, cached by `what` (a word or a tuple) and the weights or array `x`, on which alone it depends."""
        factors = x.factors if isinstance(x, Dense) else ()
        x = x.base if isinstance(x, Dense) else getattr(x, "w", x)
        if x.nbytes < self.LARGE:
            return find()
        owner = x
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        place = x.__array_interface__["data"][0], x.shape, x.strides, x.dtype
        key = (id(owner), what, *place, *(f.tobytes() for f in factors))
        found = self._known.get(key)
        if found is None or found[0]() is not owner:
            found = self._known[key] = weakref.ref(owner, lambda _: self._known.pop(key, None)), find()
        return found[1]
