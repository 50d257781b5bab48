"""Mean and covariance of the inputs that the weights of a node are multiplied with."""

from __future__ import annotations

from copy import copy

import numpy as np
import onnx

from ..model import graph as g

POSITIONS = 128  # outputs per sample whose inputs are counted; a quarter of it for many small groups
REACH = 2.0**30  # float32 sums of products work for inputs from 1 / REACH to REACH
PENDING = 1 << 18  # inputs of one node whose products are summed at once; more, where there are more products
SMALLEST = 1e-12  # variances from here to its inverse can be squared in float32, and these squares be added
STRIP = 192  # columns of covariances that are summed at once
MAX_PRODUCTS = 1 << 23  # entries of the covariances of one node; beyond it only their diagonals are kept


class Moments:
    """Statistics of the inputs of a node's weights, per group of channels.

    k runs over kernel cells, then channels, as in `matrix`. The zeros of a convolution's padding count like other values.
    """

    def __init__(self, node: onnx.NodeProto, shape: tuple[int, ...], products: bool = True):
        """`shape` is that of the weights; without `products` there are variances, but no covariances."""
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
        self.full = products and self.groups * self.k**2 <= MAX_PRODUCTS
        self._known: dict[tuple[int, ...], tuple] = {}  # by the size of an image, what `_cells` says
        self.outputs = 0  # number of all outputs, including those not counted
        self.samples = 0
        self.unit = 1.0  # products are of inputs times this power of two
        self.shift: np.ndarray | None = (
            None  # [groups, 1, k], about the mean: sums about zero would lose small variances
        )
        self.halves = [_Sums(self.groups, self.k, self.full) for _ in range(2)]

    def add(self, x: np.ndarray, rng: np.random.Generator, sample: int | None = None) -> None:
        """Counts the inputs of some outputs in `x`; `sample`: of which sample they are, if it is not the next one."""
        self.count(self.sampled(x, rng), sample)

    def sampled(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The inputs [groups, outputs, k] of some outputs; the same outputs for equal shapes and states of `rng`."""
        p = self._conv_inputs(x, rng) if self.conv else x.reshape(1, -1, self.k)
        self.outputs += 0 if self.conv else p.shape[1]
        if p.shape[1] > POSITIONS:
            p = p[:, rng.integers(p.shape[1], size=POSITIONS)]
        return p

    def count(self, p: np.ndarray, sample: int | None = None) -> None:
        """Counts the inputs `p` of some outputs of one sample."""
        self.halves[(self.samples if sample is None else sample) % 2].add(self.centered(p))
        self.samples += 1

    def centered(self, p: np.ndarray) -> np.ndarray:
        """`p` minus `shift`, times `unit`: the values that are summed."""
        if self.shift is None and p.shape[1]:
            self.shift = p.mean(1, dtype=float, keepdims=True).astype(np.float32)
        p = p - self._shift
        if (
            self.samples and float(np.vdot(p, p)) * self.unit**2 < REACH**2
        ):  # so is every square, and this takes less time
            return self._in_units(p)
        top = max(float(p.max(initial=0)), -float(p.min(initial=0)))
        if top * self.unit > REACH or 0 < top < 1 / REACH and not self.samples:
            unit = 2.0 ** -np.round(np.log2(top))
            for half in self.halves:
                half.rescale(unit / self.unit)
            self.unit = unit
        return self._in_units(p)

    def _in_units(self, p: np.ndarray) -> np.ndarray:
        return p if self.unit == 1 else (p.astype(float) * self.unit).astype(np.float32)

    @property
    def _shift(self) -> np.ndarray:
        return np.zeros((self.groups, 1, self.k), np.float32) if self.shift is None else self.shift

    @property
    def origin(self) -> np.ndarray:
        """What is subtracted from the inputs of the first group before they are summed, float64[k]."""
        return self._shift[0, 0].astype(float)

    def _conv_inputs(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[groups, outputs, k] of `x` [batch, channels, *size]."""
        size = x.shape[2:]
        if size not in self._known:
            self._known[size] = self._cells(size)
        outputs, cells, padded = self._known[size]
        total = len(x) * int(np.prod(outputs))
        self.outputs += total
        count = min(total, POSITIONS if self.groups < 16 else POSITIONS // 4)
        at = np.unravel_index(
            np.arange(total) if count == total else rng.integers(total, size=count), (len(x), *outputs)
        )
        flat = at[0].reshape(-1, *[1] * len(size))
        for i, (n, (where, _)) in enumerate(zip(size, cells)):
            flat = flat * n + where[at[i + 1]]
        lines = x.reshape(x.shape[1], -1) if len(x) == 1 else x.swapaxes(0, 1).reshape(x.shape[1], -1)
        taken = lines.take(flat.ravel(), 1)
        if padded:
            inside = np.ones(1, bool)
            for i, (_, valid) in enumerate(cells):
                inside = inside & valid[at[i + 1]]
            taken *= inside.ravel()
        p = taken.reshape(self.groups, -1, count, flat[0].size)  # [groups, channels of one, outputs, cells]
        return p.transpose(0, 2, 3, 1).reshape(self.groups, count, self.k)

    def _cells(self, size) -> tuple[list[int], list[tuple[np.ndarray, np.ndarray]], bool]:
        """For images of `size`: the outputs per dimension; where the cells of each lie, and which are inside; if any are not."""
        reach = [(n - 1) * d + 1 for n, d in zip(self.kernel, self.dilations)]
        begin, outputs = self._frame(size, reach)
        cells = []
        for i, (n, m) in enumerate(zip(size, outputs)):
            j = np.arange(m)[:, None] * self.strides[i] - begin[i] + np.arange(self.kernel[i]) * self.dilations[i]
            j = j.reshape(m, *[self.kernel[i] if i == axis else 1 for axis in range(len(size))])
            cells.append((np.clip(j, 0, max(n - 1, 0)), (j >= 0) & (j < n)))
        return outputs, cells, not all(valid.all() for _, valid in cells)

    def _frame(self, size, reach) -> tuple[list[int], list[int]]:
        """(how far before the image the first window begins, number of outputs), per dimension."""
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
        """The sums over all samples."""
        return self.halves[0] + self.halves[1]

    @property
    def mean(self) -> np.ndarray:
        """The mean, [groups, k]."""
        for half in self.halves:
            half.flush()
        count = max(sum(half.count for half in self.halves), 1)
        return self._shift[:, 0] + sum(half.sum for half in self.halves) / count / self.unit

    def second(self, sums: _Sums, about_zero: bool, kind: type = float) -> np.ndarray:
        """The second moments of `sums`, in units of 1 / `unit`²: [groups, k, k], or [groups, k], of the type `kind`."""
        return sums.covariance(self._shift[:, 0].astype(float) * self.unit if about_zero else None, kind)

    def covariance(self, about_zero: bool) -> np.ndarray:
        """[groups, k, k], or [groups, k] where that would be too large; about the mean or about zero.

        In units of 1 / `unit`², which is 1 unless squares of the inputs would exceed float32's range.
        Shrunk toward equal variances and no correlation by the share that minimizes the expected squared error (Ledoit
        and Wolf, 2004); the variance of the estimate is computed from the difference between even and odd samples.
        Without shrinkage, rounding would rely on correlations that only the calibration samples have.
        """
        if not self.full:
            return self.second(self.all, about_zero).astype(np.float32)
        if not self.k:
            return self.second(self.all, about_zero, np.float32)
        c, apart = self._joined(about_zero, np.float32)
        if not SMALLEST < float(c.diagonal(axis1=1, axis2=2).mean()) < 1 / SMALLEST:
            c, apart = self._joined(about_zero, float)
        level = c.diagonal(axis1=1, axis2=2).mean(1, dtype=float)
        share = self._share(float(np.vdot(c, c)), apart, level)
        c *= 1 - share
        c[:, np.arange(self.k), np.arange(self.k)] += share * level[:, None]
        return c.astype(np.float32, copy=False)

    def _joined(self, about_zero: bool, kind: type) -> tuple[np.ndarray, float]:
        """(the second moments of all inputs, the squared distance between those of the halves), by strips that fit a cache."""
        shift = self._shift[:, 0].astype(float) * self.unit if about_zero else None
        parts = [(half, *half.rank_one(shift, kind)) for half in self.halves]
        total = _Sums(self.groups, self.k, False)
        total.count, total.sum = (sum(getattr(half, name) for half in self.halves) for name in ("count", "sum"))
        left, right = total.rank_one(shift, kind)
        c, apart = np.empty((self.groups, self.k, self.k), kind), 0.0
        width = STRIP if self.halves[0].halved else self.k
        for i in range(0, self.k, width):
            own = slice(i, i + width)
            first, second = (x.products[:, own, i:].astype(kind) for x, _, _ in parts)
            np.add(first, second, out=c[:, own, i:])
            c[:, own, i:] /= max(total.count, 1)
            c[:, own, i:] += left[:, own] @ right[:, :, i:]
            for x, (half, a, b) in zip((first, second), parts):
                x /= max(half.count, 1)
                x += a[:, own] @ b[:, :, i:]
            first -= second
            beyond = first[:, :, width:]
            apart += float(np.vdot(first, first)) + float(np.square(beyond).sum(dtype=float))
            c[:, i + width :, own] = c[:, own, i + width :].transpose(0, 2, 1)
        return c, apart

    def shrinkage(self, about_zero: bool) -> tuple[float, np.ndarray]:
        """(the share by which the full covariance is shrunk, the mean variance [groups] toward which it is shrunk)."""
        return self._shrinkage(self.second(self.all, about_zero), about_zero)

    def _shrinkage(self, c: np.ndarray, about_zero: bool) -> tuple[float, np.ndarray]:
        level = c.diagonal(axis1=1, axis2=2).mean(1, dtype=float)
        if self.samples < 2:
            return 0.5, level
        first, second = (self.second(half, about_zero, c.dtype.type) for half in self.halves)
        first -= second
        return self._share(float(np.vdot(c, c)), float(np.vdot(first, first)), level), level

    def _share(self, square: float, apart: float, level: np.ndarray) -> float:
        """The share for a covariance with that sum of squares, whose halves are `apart` by that squared distance."""
        if self.samples < 2:
            return 0.5
        spread = square - self.k * np.square(level).sum()  # squared distance from `level` on the diagonal
        return min(apart / 4 / spread, 1.0) if spread > 0 else 1.0


class _Sums:
    """Sums of centered inputs [groups, outputs, k], and of their products (all, or only the squares)."""

    def __init__(self, groups: int, k: int, full: bool):
        self.count, self.full = 0, full
        self._pending: list[np.ndarray] = []  # inputs that are not in the sums yet: few large products take less time
        self.sum = np.zeros((groups, k))
        self.products = np.zeros((groups, k, k) if full else (groups, k), np.float32)

    def add(self, p: np.ndarray) -> None:
        self.count += p.shape[1]
        self._pending.append(p)
        if sum(x.size for x in self._pending) >= max(PENDING, self.products.size // 4):
            self.flush()

    def flush(self) -> None:
        """Adds what is pending; before sums are read."""
        if self._pending:
            p = np.concatenate(self._pending, 1)
            self._pending.clear()
            self.sum += (np.ones((1, p.shape[1]), np.float32) @ p)[:, 0]
            if not self.full:
                self.products += np.square(p).sum(1)
            elif self.halved:
                for i in range(0, p.shape[2], STRIP):
                    self.products[:, i : i + STRIP, i:] += p[:, :, i : i + STRIP].transpose(0, 2, 1) @ p[:, :, i:]
            else:
                self.products += p.transpose(0, 2, 1) @ p

    @property
    def halved(self) -> bool:
        """Whether of `products` only what is right of the diagonal is summed, by strips: they are symmetric."""
        return self.full and self.products.shape[2] >= 2 * STRIP

    def rescale(self, factor: float) -> None:
        self.flush()
        self.sum *= factor
        self.products = (self.products.astype(float) * factor**2).astype(np.float32)

    def __add__(self, other: _Sums) -> _Sums:
        self.flush()
        other.flush()
        both = copy(self)
        both.count, both.sum = self.count + other.count, self.sum + other.sum
        both.products = self.products + other.products
        return both

    @property
    def mean(self) -> np.ndarray:
        self.flush()
        return self.sum / max(self.count, 1)

    def covariance(self, shift: np.ndarray | None, kind: type = float) -> np.ndarray:
        """The covariance of type `kind`, about the mean; about zero if the `shift` [groups, k] of the inputs is given."""
        mean = self.mean  # flushes
        c = self.products.astype(kind)
        for i in range(STRIP, c.shape[-1] if self.halved else 0, STRIP):
            c[:, i:, i - STRIP : i] = c[:, i - STRIP : i, i:].transpose(0, 2, 1)
        c /= max(self.count, 1)
        away = (mean if shift is None else mean + shift).astype(kind)
        mean = mean.astype(kind)
        if not self.full:
            return np.maximum(c - np.square(mean), 0) + (0 if shift is None else np.square(away))
        c -= mean[:, :, None] * mean[:, None, :]
        if shift is not None and self.count:
            c += away[:, :, None] * away[:, None, :]
        return c

    def rank_one(self, shift: np.ndarray | None, kind: type) -> tuple[np.ndarray, np.ndarray]:
        """Factors [groups, k, r] and [groups, r, k] of what makes the mean of products a covariance, as `covariance` does."""
        mean = self.mean
        if shift is None or not self.count:
            return -mean.astype(kind)[:, :, None], mean.astype(kind)[:, None]
        both = np.stack([mean, mean + shift], 2).astype(kind)
        return both * np.array([-1, 1], kind), both.transpose(0, 2, 1)
