"""Products of codes and constant weights as the engine computes them: exact sums for 8 bits, groups for 4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..lower.int4 import GROUP_MULTIPLE, SMALL
from ..lower.integer import MAX_K
from .integers import Coded, Product, Product4

EXACT = 2**24  # up to here float32 holds every integer


@dataclass(frozen=True, eq=False)
class Constant:
    """A dequantized initializer.

    Attributes
    ----------
    codes : int64 array
    scale, zero : float64 arrays that broadcast to it, of its rank; with `block` as in the file
    axis : along which there are several scales
    block : elements along `axis` that share a scale; 0: all
    bits : 4, 8 or 32
    """

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    axis: int
    block: int
    bits: int

    def spread(self, x: np.ndarray) -> np.ndarray:
        """Scales or zero points that broadcast to the codes."""
        if not self.block:
            return x
        return np.repeat(x, self.block, self.axis).take(range(self.codes.shape[self.axis]), self.axis)

    def real(self) -> Tensor:
        return torch.from_numpy(
            (self.codes - self.spread(self.zero)).astype(np.float32) * self.spread(self.scale).astype(np.float32)
        )


def biases(bias, scale: np.ndarray) -> np.ndarray | None:
    """The bias in units of `scale`, as the engine rounds it."""
    if bias is None:
        return np.zeros(len(scale))
    if isinstance(bias, Constant):
        one = np.broadcast_to(bias.scale.reshape(-1), scale.shape)
        if bias.bits == 32 and not bias.zero.any() and np.allclose(one, scale, rtol=1e-5, atol=0):
            return bias.codes.reshape(-1).astype(np.float64)
    return np.clip(np.rint(_real(bias) / scale), -(2**31), 2**31 - 1)


def _real(bias) -> np.ndarray:
    if isinstance(bias, Constant):
        return ((bias.codes - bias.zero) * bias.scale).reshape(-1)
    return bias.numpy().astype(np.float64).reshape(-1)


def product(
    x: Coded, w: Constant, bias, rows: int, multiply: Callable[[Tensor, Tensor], Tensor], pointwise: bool, channel: int
) -> Product | Product4 | None:
    """The product of `x` and `w`; None if the engine computes it in float.

    Parameters
    ----------
    rows : the axis of `w` that runs over outputs
    multiply : float tensors (x, w) to their product
    pointwise : whether each output reads one cell, so that 4-bit kernels apply
    channel : the axis of the result that runs over outputs
    """
    k = w.codes.size // max(w.codes.shape[rows], 1)
    if w.bits == 4:
        fits = pointwise and (not w.block or w.block >= k or w.block % GROUP_MULTIPLE == 0) and k <= MAX_K
        fits &= not w.block or w.axis == 1 - rows
        if fits and (w.block or w.codes.size > SMALL):
            return _grouped(x, w, bias, rows, channel)
        if w.block:
            return None
    sign = np.where(w.scale < 0, -1, 1) if w.bits == 4 else np.ones_like(w.scale)
    codes = (w.codes - w.zero) * sign
    flat = np.moveaxis(codes, rows, 0).reshape(codes.shape[rows], -1)
    scale = np.abs(w.scale) if w.bits == 4 else w.scale
    if scale.size > 1 and w.axis != rows or k > MAX_K:
        return None
    scale = np.broadcast_to(np.float64(x.grid.scale) * scale.reshape(-1), len(flat))
    offset = biases(bias, scale)
    most = 255 * np.abs(flat).sum(1)
    if (most + np.abs(offset) >= 2**31).any():
        return None
    kind = torch.float32 if most.max(initial=0) < EXACT else torch.float64  # sums are exact in any order
    total = multiply((x.codes - x.grid.zero).to(kind), torch.from_numpy(codes).to(kind)).double()
    shape = [-1 if i == channel % total.ndim else 1 for i in range(total.ndim)]
    return Product(total + torch.from_numpy(offset.copy()).view(shape), torch.from_numpy(scale.copy()).view(shape))


def _grouped(x: Coded, w: Constant, bias, rows: int, channel: int) -> Product4:
    """As kernels/q4gemm.py: a group exactly, groups in float32 in order, u8 codes less 128."""
    codes = np.moveaxis(w.codes, rows, 0)
    n, k = len(codes), codes[0].size
    codes, group = codes.reshape(n, k), min(w.block or k, k)
    count = -(-k // group)
    scale, zero = (np.broadcast_to(np.moveaxis(v, rows, 0).reshape(-1, count), (n, count)) for v in (w.scale, w.zero))
    scale = torch.from_numpy(scale.astype(np.float32))
    a = x.codes.movedim(channel, -1) if x.codes.ndim > 2 else x.codes
    shift = x.grid.low + 128
    kind = torch.float32 if 128 * 15 * group < EXACT else torch.float64
    a = (a - shift).to(kind)
    total = torch.zeros(*a.shape[:-1], n)
    colsum = torch.zeros(n)
    for i in range(count):
        at = slice(i * group, min((i + 1) * group, k))
        part = torch.from_numpy((codes[:, at] - zero[:, i : i + 1]).astype(np.float64))
        total += scale[:, i] * (a[..., at] @ part.to(kind).T).float()
        colsum += part.sum(1).float() * scale[:, i]
    total = total - float(x.grid.zero - shift) * colsum
    offset = None if bias is None else torch.from_numpy(_real(bias).copy())
    if x.codes.ndim > 2:
        total = total.movedim(-1, channel)
        offset = None if offset is None else offset.view([-1 if i == channel else 1 for i in range(total.ndim)])
    return Product4(total, np.float64(x.grid.scale), offset)
