"""What the weights of a node meet: mean and covariance of the inputs of one output."""

from __future__ import annotations

from copy import copy

import numpy as np
import onnx

from ..model import graph as g

POSITIONS = 128  # outputs per sample whose inputs are counted; a quarter of that in many small groups
MOST_PRODUCTS = 1 << 23  # entries of the covariances of one node; beyond it only their diagonals are kept


class Moments:
    """Statistics of the inputs that meet the weights of a node, per group of channels.

    k runs over kernel cells, then channels, as in `encode.matrix`. Where the image ends, the
    convolution's zeros count like any other value.
    """

    def __init__(self, node: onnx.NodeProto, shape: tuple[int, ...]):
        """`shape` is that of the weights."""
        self.conv = node.op_type == "Conv"
        self.groups = g.attribute(node, "group", 1) if self.conv else 1
        if self.conv:
            self.kernel = shape[2:]
            self.k = shape[1] * int(np.prod(self.kernel))
            rank = len(self.kernel)
            self.strides = g.attribute(node, "strides", [1] * rank)
            self.dilations = g.attribute(node, "dilations", [1] * rank)
            self.pads = g.attribute(node, "pads", [0] * 2 * rank)
            self.auto = g.attribute(node, "auto_pad", b"NOTSET").decode()
        else:
            self.k = shape[1] if g.attribute(node, "transB", 0) else shape[0]
        self.full = self.groups * self.k**2 <= MOST_PRODUCTS
        self.outputs = 0  # all of them, also those not counted
        self.samples = 0
        self.halves = [_Sums(self.groups, self.k, self.full) for _ in range(2)]

    def add(self, x: np.ndarray, rng: np.random.Generator) -> None:
        """Counts the patches of `x` at some outputs."""
        self.count(self.sampled(x, rng))

    def sampled(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The patches [groups, outputs, k] of `x` at some outputs; the same ones for equal shapes and states of `rng`."""
        p = self._conv_patches(x, rng) if self.conv else x.reshape(1, -1, self.k)
        self.outputs += 0 if self.conv else p.shape[1]
        if p.shape[1] > POSITIONS:
            p = p[:, rng.integers(p.shape[1], size=POSITIONS)]
        return p

    def count(self, p: np.ndarray) -> None:
        """Counts the patches `p` of one sample."""
        self.halves[self.samples % 2].add(p)
        self.samples += 1

    def _conv_patches(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[groups, outputs, k] of `x` [batch, channels, *size]."""
        size = x.shape[2:]
        reach = [(n - 1) * d + 1 for n, d in zip(self.kernel, self.dilations)]
        begin, outputs = self._frame(size, reach)
        total = len(x) * int(np.prod(outputs))
        self.outputs += total
        count = min(total, POSITIONS if self.groups < 16 else POSITIONS // 4)
        at = np.unravel_index(
            np.arange(total) if count == total else rng.integers(total, size=count), (len(x), *outputs)
        )
        cells = []
        for cell in np.ndindex(*self.kernel):
            inside, index = np.ones(count, bool), []
            for i, c in enumerate(cell):
                j = at[i + 1] * self.strides[i] - begin[i] + c * self.dilations[i]
                inside &= (j >= 0) & (j < size[i])
                index.append(np.clip(j, 0, size[i] - 1))
            cells.append(x[(at[0], slice(None), *index)] * inside[:, None].astype(x.dtype))
        p = np.stack(cells, 1)  # [outputs, cells, channels]
        p = p.reshape(count, len(cells), self.groups, -1).transpose(2, 0, 1, 3)
        return np.ascontiguousarray(p.reshape(self.groups, count, self.k))

    def _frame(self, size, reach) -> tuple[list[int], list[int]]:
        """How far before the image the first window begins, and how many outputs there are, per dimension."""
        if not self.auto.startswith("SAME"):
            pads = self.pads if self.auto == "NOTSET" else [0] * len(self.pads)
            n = len(size)
            totals = [pads[i] + pads[i + n] for i in range(n)]
            counts = [(s + t - r) // d + 1 for s, t, r, d in zip(size, totals, reach, self.strides)]
            return list(pads[:n]), counts
        counts = [-(-s // d) for s, d in zip(size, self.strides)]
        totals = [max((c - 1) * d + r - s, 0) for c, d, r, s in zip(counts, self.strides, reach, size)]
        return [t // 2 if self.auto == "SAME_UPPER" else t - t // 2 for t in totals], counts

    @property
    def all(self) -> _Sums:
        """Of all samples."""
        return self.halves[0] + self.halves[1]

    @property
    def mean(self) -> np.ndarray:
        """[groups, k]."""
        return self.all.mean

    def covariance(self, about_zero: bool) -> np.ndarray:
        """[groups, k, k], or [groups, k] where that would be too large; about the mean or about zero.

        Shrunk toward equal variances and no correlation by the share that is least in expected squared
        error (Ledoit and Wolf, 2004), with the variance of the estimate taken from how much every other
        sample differs from the rest. Rounding that relies on correlations which only calibration has
        is worse than rounding that ignores them.
        """
        c = self.all.covariance(about_zero)
        if not self.full or not c.size:
            return c
        share, level = self.shrinkage(about_zero)
        return (1 - share) * c + share * level[:, None, None] * np.eye(self.k, dtype=np.float32)

    def shrinkage(self, about_zero: bool) -> tuple[np.float32, np.ndarray]:
        """By what share the full covariance is shrunk, and the mean variance [groups] that it is shrunk toward."""
        c = self.all.covariance(about_zero)
        level = c.diagonal(axis1=1, axis2=2).mean(1)
        share = 0.5
        if self.samples > 1:
            first, second = (half.covariance(about_zero) for half in self.halves)
            apart = c - level[:, None, None] * np.eye(self.k, dtype=np.float32)
            noise, spread = (float(np.square(x).sum(dtype=float)) for x in (first - second, apart))
            share = min(noise / 4 / spread, 1.0) if spread else 1.0
        return np.float32(share), level


class _Sums:
    """Sums of patches [groups, outputs, k], and of their products, all or only the squares."""

    def __init__(self, groups: int, k: int, full: bool):
        self.count, self.full = 0, full
        self.sum = np.zeros((groups, k))
        self.products = np.zeros((groups, k, k) if full else (groups, k), np.float32)

    def add(self, p: np.ndarray) -> None:
        self.count += p.shape[1]
        self.sum += p.sum(1, dtype=float)
        self.products += p.transpose(0, 2, 1) @ p if self.full else np.square(p).sum(1)

    def __add__(self, other: _Sums) -> _Sums:
        both = copy(self)
        both.count, both.sum = self.count + other.count, self.sum + other.sum
        both.products = self.products + other.products
        return both

    @property
    def mean(self) -> np.ndarray:
        return self.sum / max(self.count, 1)

    def covariance(self, about_zero: bool) -> np.ndarray:
        second = self.products / max(self.count, 1)
        if about_zero:
            return second
        mean = self.mean.astype(np.float32)
        return second - mean[:, :, None] * mean[:, None, :] if self.full else np.maximum(second - mean**2, 0)
