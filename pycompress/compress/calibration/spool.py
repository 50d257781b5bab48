"""Keeps samples in a temporary file, so that the memory of a pass does not grow with their number."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping

import numpy as np


class Spool:
    """Samples, each a dict of arrays, in a temporary file without a name: it is gone when the object is.

    Only one iteration may be in progress while nothing is added.

    Examples
    --------
    >>> import numpy as np
    >>> spool = Spool()
    >>> spool.append({"x": np.arange(3)})
    >>> [sample["x"].tolist() for sample in spool]
    [[0, 1, 2]]
    """

    def __init__(self):
        self._file = tempfile.TemporaryFile(prefix="pycompress-")
        self._items: list[list[tuple[str, np.dtype, tuple[int, ...], int]]] = []
        self._end = 0

    def append(self, sample: Mapping[str, np.ndarray]) -> None:
        """Writes `sample`; arrays of objects are no samples."""
        items = []
        self._file.seek(self._end)
        for name, x in sample.items():
            items.append((name, x.dtype, x.shape, self._end))
            self._file.write(np.ascontiguousarray(x).data.cast("B") if x.size else b"")
            self._end += x.nbytes
        self._items.append(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        sample = {}
        for name, dtype, shape, offset in self._items[index]:
            x = np.empty(shape, dtype)
            if x.size:
                self._file.seek(offset)
                self._file.readinto(x.data.cast("B"))
            sample[name] = x
        return sample

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[i] for i in range(len(self)))
