"""Values of a quantized network before they are rounded: what the engine's integer kernels hold, in torch.

Each kind knows its codes on a grid, rounded once as the engine's kernel does it (kernels/_qepilogue.py), and its
float32 value, for operators that need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

NO_BOUNDS = (-math.inf, math.inf)


@dataclass(frozen=True)
class Grid:
    """The codes of a tensor: value = (code - zero) * scale, code from low to high."""

    scale: np.float32
    zero: int
    low: int
    high: int

    def quantize(self, x: Tensor) -> Tensor:
        """The codes of float32 `x`: divided by the scale in float32, rounded half to even, NaN as the lowest code."""
        y = (x / torch.tensor(self.scale)).double().round() + self.zero
        return torch.where(y > self.low, y.clamp(max=self.high), self.low).to(torch.int32)

    def limits(self, bounds: tuple[float, float]) -> tuple[int, int]:
        """The codes between which a clip with these bounds leaves results."""
        if bounds == NO_BOUNDS:
            return self.low, self.high
        first, last = self.quantize(torch.tensor(bounds, dtype=torch.float32)).tolist()
        return first, last

    def requantize(self, v: Tensor, bounds: tuple[float, float]) -> Tensor:
        """The codes of `v`, in units of the scale: clipped in float32, rounded half to even."""
        low, high = self.limits(bounds)
        return v.clamp(low - self.zero, high - self.zero).round().to(torch.int32) + self.zero


def f32(x) -> Tensor:
    """Float64 numbers, rounded to float32 once."""
    return torch.as_tensor(np.asarray(x, np.float64)).to(torch.float32)


def clipped(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    return x if bounds == NO_BOUNDS else x.clamp(*bounds)


@dataclass(frozen=True, eq=False)
class Coded:
    """A dequantized tensor, or a function of one.

    Attributes
    ----------
    codes : int32
    table : the value of each code from `grid.low` on, if it is a function; else None
    """

    codes: Tensor
    grid: Grid
    table: Tensor | None = None

    def values(self) -> Tensor:
        """The value of each code, float32."""
        if self.table is not None:
            return self.table
        codes = torch.arange(self.grid.low, self.grid.high + 1, dtype=torch.int32)
        return (codes - self.grid.zero).float() * torch.tensor(self.grid.scale)

    def real(self) -> Tensor:
        return self.values()[(self.codes - self.grid.low).long()]

    def on(self, grid: Grid) -> Tensor:
        if self.table is None and grid == self.grid:
            return self.codes
        return grid.quantize(self.values())[(self.codes - self.grid.low).long()]

    def map(self, function: Callable[[Tensor], Tensor]) -> Coded:
        return replace(self, codes=function(self.codes))


@dataclass(frozen=True, eq=False)
class Product:
    """A sum of products of codes.

    Attributes
    ----------
    total : float64, exact integers, bias included
    scale : float64, broadcasts to `total`
    bounds : of a clip after it
    """

    total: Tensor
    scale: Tensor
    bounds: tuple[float, float] = NO_BOUNDS

    def real(self) -> Tensor:
        return clipped(self.total.float() * self.scale.float(), self.bounds)

    def on(self, grid: Grid) -> Tensor:
        return grid.requantize(self.total.float() * (self.scale / float(grid.scale)).float(), self.bounds)

    def map(self, function: Callable[[Tensor], Tensor]) -> Product:
        return replace(self, total=function(self.total), scale=function(self.scale.expand(self.total.shape)))


@dataclass(frozen=True, eq=False)
class Product4:
    """A product with 4-bit weights: groups added in float32.

    Attributes
    ----------
    total : float32, in units of `scale`, a float64
    bias : float64, broadcasts to `total`
    """

    total: Tensor
    scale: np.float64
    bias: Tensor | None
    bounds: tuple[float, float] = NO_BOUNDS

    def _in(self, unit: float) -> Tensor:
        v = self.total * f32(self.scale / unit)
        return v if self.bias is None else v + (self.bias / unit).float()

    def real(self) -> Tensor:
        return clipped(self._in(1.0), self.bounds)

    def on(self, grid: Grid) -> Tensor:
        return grid.requantize(self._in(float(grid.scale)), self.bounds)

    def map(self, function: Callable[[Tensor], Tensor]) -> Product4:
        bias = None if self.bias is None else function(self.bias.expand(self.total.shape))
        return replace(self, total=function(self.total), bias=bias)


@dataclass(frozen=True, eq=False)
class Pair:
    """The sum ("Add"), difference ("Sub") or product ("Mul") of two dequantized tensors."""

    op: str
    a: Coded
    b: Coded
    bounds: tuple[float, float] = NO_BOUNDS

    def real(self) -> Tensor:
        a, b = self.a.real(), self.b.real()
        return clipped(a * b if self.op == "Mul" else a + b if self.op == "Add" else a - b, self.bounds)

    def on(self, grid: Grid) -> Tensor:
        a, b = (v.codes - v.grid.zero for v in (self.a, self.b))
        sa, sb, unit = (np.float64(g.scale) for g in (self.a.grid, self.b.grid, grid))
        if self.op == "Mul":
            v = (a * b).float() * f32(sa * sb / unit)
        else:
            v = a.float() * f32(sa / unit) + b.float() * f32((sb if self.op == "Add" else -sb) / unit)
        return grid.requantize(v, self.bounds)


@dataclass(frozen=True, eq=False)
class Mean:
    """An average of codes.

    Attributes
    ----------
    total : int32, the sum of codes less their zero point
    count : float32, by how many it is divided
    """

    total: Tensor
    count: Tensor
    scale: np.float32
    bounds: tuple[float, float] = NO_BOUNDS

    def real(self) -> Tensor:
        return clipped(self.total.float() * torch.tensor(self.scale) / self.count, self.bounds)

    def on(self, grid: Grid) -> Tensor:
        step = f32(np.float64(self.scale) / np.float64(grid.scale)) / self.count.clamp_min(1)
        return grid.requantize(self.total.float() * step, self.bounds)

    def map(self, function: Callable[[Tensor], Tensor]) -> Mean:
        return replace(self, total=function(self.total), count=function(self.count.expand(self.total.shape)))


Lazy = (Product, Product4, Pair, Mean)


def bounded(value, low: float, high: float):
    """`value`, one of `Lazy`, after another clip."""
    return replace(value, bounds=tuple(min(max(b, low), high) for b in value.bounds))
