"""Any number of samples on a model whose batch is open, fixed, or one of the sizes that a plan holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .dtypes import BY_ONNX, numpy_type
from .errors import InvalidArgument, PycompressError
from .session import InferenceSession


class Batches:
    """A session as a function of samples: the rows along the first dimension of every input and output.

    Samples are run in batches of a few sizes only, since each size of an open batch is planned: powers of two up to
    `limit`. `run` runs one of them; default: ``session.run`` for all outputs. A fixed batch that is not full is filled up with zeros, whose results are dropped.

    Attributes
    ----------
    sizes : tuple of int
        The batches that are run, ascending; empty if the first dimensions are not those of a batch.
    open : bool
        Whether the model leaves the size of the batch open.
    """

    def __init__(self, session: InferenceSession, limit: int = 32, run: Callable[[dict], list] | None = None):
        self._run = run or partial(session.run, None)
        self.session = session
        self.inputs, self.outputs = session.get_inputs(), session.get_outputs()
        first = {port.shape[0] if port.shape else 0 for port in self.inputs}
        self.open = bool(first) and all(not isinstance(d, int) for d in first)
        if self.open:
            powers = {min(1 << i, limit) for i in range(limit.bit_length() + 1)}
            self.sizes = session._source.batch_sizes() or tuple(sorted(powers))
        else:
            self.sizes = tuple(first) if len(first) == 1 and 0 not in first else ()

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of the samples in `feed`, in their order.

        Raises
        ------
        ValueError
            If inputs disagree about the number of samples, or the model does not give a result for each; or as
            ``InferenceSession.run``.
        """
        names = [port.name for port in self.outputs]
        if not self.sizes:
            return dict(zip(names, self._run(feed)))
        rows = _rows(feed)
        parts, at = [], 0
        while at < rows or not parts:
            size = max((s for s in self.sizes if s <= rows - at), default=self.sizes[0])
            outputs = self._run({name: _part(x, at, size) for name, x in feed.items()})
            for name, y in zip(names, outputs):
                if y.shape[:1] != (size,):
                    raise InvalidArgument(f"output {name!r} is {list(y.shape)}: no result for each of {size} samples")
            parts.append([y[: rows - at] for y in outputs])
            at += size
        return {name: ys[0] if len(ys) == 1 else np.concatenate(ys) for name, ys in zip(names, zip(*parts))}

    def mixed(self) -> str:
        """Why samples of several callers must not share a batch; empty if nothing speaks against it.

        A random sample is run in a batch of each size, and again with its neighbours replaced: a result that changes, by a
        single bit, depends on them. So it does where a scale is derived from the whole batch.
        """
        if not self.open:
            return "the model does not leave the size of the batch open"
        rng = np.random.default_rng(0)
        try:
            for size in self.sizes:
                place, one = int(rng.integers(size)), self._samples(rng, 1, 1)
                first, second = (self._beside(one, place, self._samples(rng, size - 1, x)) for x in (1, 1000))
                for name in first:
                    if first[name].tobytes() != second[name].tobytes():
                        return f"output {name!r} of a sample depends on the other samples of its batch"
        except (PycompressError, MemoryError) as error:
            return f"a batch of {size} fails: {error}"
        return ""

    def _beside(self, one, place: int, others) -> dict[str, np.ndarray]:
        """The outputs of the sample `one` in a batch with `others` before and behind it."""
        feed = {n: np.concatenate([x[:place], one[n], x[place:]]) for n, x in others.items()}
        return {name: y[place] for name, y in self.run(feed).items()}

    def _samples(self, rng, rows: int, scale: float) -> dict[str, np.ndarray]:
        feed = {}
        for port in self.inputs:
            size = 64 if len(port.shape) == 4 else 8  # of open dimensions: images, and sequences
            shape = [rows, *(d if isinstance(d, int) else size for d in port.shape[1:])]
            feed[port.name] = _random(rng, shape, dtype_of(port), scale)
        return feed


def dtype_of(port) -> np.dtype:
    """The numpy type of a NodeArg."""
    return numpy_type(BY_ONNX[port.type.removeprefix("tensor(").removesuffix(")")].numpy)


def _random(rng, shape, dtype: np.dtype, scale: float) -> np.ndarray:
    if dtype.kind == "b" or dtype.kind in "iu" and dtype.itemsize > 1:  # small: these are often indices
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape, dtype)
    return (scale * rng.standard_normal(shape)).astype(dtype)


def _rows(feed) -> int:
    rows = {name: len(x) if np.ndim(x) else None for name, x in feed.items()}
    if len(set(rows.values())) != 1 or None in rows.values():
        raise InvalidArgument(f"the inputs must hold one sample per row, as many in each, got {rows}")
    return next(iter(rows.values()))


def _part(x: np.ndarray, at: int, size: int) -> np.ndarray:
    part = x[at : at + size]
    if len(part) == size:
        return part
    return np.concatenate([part, np.zeros((size - len(part), *x.shape[1:]), x.dtype)])
