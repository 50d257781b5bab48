"""Keeps rounded weights within the bounds of int16 accumulation (kernels/qgemm.py), in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..rounding import CHUNK, PAIR, lanes, taps


class Bounds:
    """Moves the codes of a layer that could overflow an int16 lane toward zero, as little as possible.

    Parameters
    ----------
    operator : "Conv", "Gemm" or "MatMul"
    rows : the axis of the weights that runs over outputs
    shape : of the weights
    depth : the accumulation depth: steps, or pairs of taps if `depthwise`
    """

    def __init__(self, operator: str, rows: int, shape, depth: int, depthwise: bool):
        self.conv, self.rows, self.depth, self.depthwise = operator == "Conv", rows, depth, depthwise
        cells = int(np.prod(shape[2:])) if self.conv else 1
        if depthwise:
            index = taps((int(np.prod(shape[2:-1])), shape[-1]), depth)
        else:
            index = lanes(int(np.prod(shape)) // shape[rows], depth, cells)
        self.chunks = torch.from_numpy(np.ascontiguousarray(index))

    def rows_of(self, q: Tensor) -> Tensor:
        """Codes as a matrix [n,k]: k runs over kernel cells, then channels."""
        if self.conv:
            return q.flatten(2).transpose(1, 2).reshape(len(q), -1)
        return q if self.rows == 0 else q.T

    def shaped(self, matrix: Tensor, like: Tensor) -> Tensor:
        """The reverse of `rows_of`."""
        if self.conv:
            return matrix.reshape(len(like), -1, like.shape[1]).transpose(1, 2).reshape(like.shape)
        return matrix if self.rows == 0 else matrix.T

    def __call__(self, q: Tensor) -> Tensor:
        """Codes (integers as floats) within the bounds; weights within them already are not changed."""
        matrix, chunks = self.rows_of(q), self.chunks.to(q.device)
        n, k = matrix.shape
        padded = torch.cat([matrix, matrix.new_zeros(n, 1)], 1)
        taken = padded[:, chunks]  # [n, chunks, 2T], neighbours are pairs
        over = taken[..., 0::2] + taken[..., 1::2]
        pairs_ok = bool((over.abs() <= PAIR).all())
        if not pairs_ok:
            taken = _pairs(taken)
        total = taken.abs().sum(2)
        wide = chunks.shape[1] > 2
        if pairs_ok and (not wide or bool((total <= CHUNK).all())):
            return q
        if wide and bool((total > CHUNK).any()):
            row, chunk = torch.nonzero(total > CHUNK, as_tuple=True)
            taken[row, chunk] = _shrunk(taken[row, chunk])
        padded = padded.clone()
        padded[:, chunks.reshape(-1)] = taken.reshape(n, -1)
        return self.shaped(padded[:, :k], q)


def _pairs(taken: Tensor) -> Tensor:
    """Pairs of one sign whose sum exceeds `PAIR` give the excess back in equal parts. |x| <= 127, so no sign changes."""
    first, second = taken[..., 0::2], taken[..., 1::2]
    excess = ((first + second).abs() - PAIR).clamp_min(0)
    more = (excess / 2).ceil()
    first, second = first - first.sign() * more, second - second.sign() * (excess - more)
    return torch.stack([first, second], -1).reshape(taken.shape)


def _shrunk(x: Tensor) -> Tensor:
    """Integers [m,s] nearest to `x` whose absolute values add up to at most `CHUNK` in each row.

    The nearest reals are those less one threshold (Duchi et al., 2008); they are rounded down, and what is left of the
    bound goes to the largest fractions.
    """
    size = x.abs()
    ordered = size.sort(1, descending=True).values
    excess = ordered.cumsum(1) - CHUNK
    count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)
    last = ((ordered * count > excess).sum(1, keepdim=True) - 1).clamp_min(0)
    threshold = excess.gather(1, last) / (last + 1)
    wanted = (size - threshold).clamp_min(0)
    whole = wanted.floor()
    fraction = wanted - whole
    left = CHUNK - whole.sum(1, keepdim=True)
    rank = fraction.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return x.sign() * (whole + ((rank < left) & (fraction > 0)))
