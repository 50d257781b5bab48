"""Which steps write and read each buffer, and helpers for views of buffers."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..kernels import spec
from ..lower.values import Program, Step, root


def on(*kernels: str):
    """Mark a fusion rule as one for steps of these kernels; it is not called for others."""

    def marked(rule):
        rule.kernels = frozenset(kernels)
        return rule

    return marked


def writes(step: Step) -> list[np.ndarray]:
    """The arrays that `step` writes."""
    return [step.args[name] for name in spec(step.kernel).outputs]


def reads(step: Step) -> list[np.ndarray]:
    """The arrays that `step` reads, including constants."""
    out = spec(step.kernel).outputs
    return [x for name, x in step.args.items() if isinstance(x, np.ndarray) and name not in out]


class Uses:
    """Who writes and who reads each buffer of a program, kept up to date as steps come and go.

    Attributes
    ----------
    asked : set of int or str
        What was asked for: ids of arrays whose writers or readers were, and names of kernels. The caller may clear it.
    changed : set of int or str
        Ids and names for which the answer has changed, including the order of writers or readers. The caller may clear it.
    """

    def __init__(self, program: Program):
        self.program = program
        self.asked: set[int | str] = set()
        self.changed: set[int | str] = set()
        self._kernels: Counter[str] = Counter()
        self._writers: dict[
            int, dict[Step, int]
        ] = {}  # in order, and how often a step does so: many read a loop's input
        self._readers: dict[int, dict[Step, int]] = {}
        self._owners: dict[int, tuple[np.ndarray, int]] = {}  # by id: an array, kept alive, and the id of its owner
        for step in program.steps:
            self.add(step)
        self.changed.clear()

    def add(self, step: Step) -> None:
        """Add `step` after all others."""
        for found, keys in ((self._writers, step.written), (self._readers, step.read)):
            for key in keys:
                steps = found.setdefault(key, {})
                steps[step] = steps.get(step, 0) + 1
            self.changed.update(keys)
        self._kernels[step.kernel] += 1
        self.changed.add(step.kernel)

    def remove(self, step: Step) -> None:
        """Forget `step`."""
        for found, keys in ((self._writers, step.written), (self._readers, step.read)):
            for key in keys:
                found.get(key, {}).pop(step, None)
            self.changed.update(keys)
        self._kernels[step.kernel] -= 1
        self.changed.add(step.kernel)

    def has(self, kernel: str) -> bool:
        """Whether any step runs that kernel."""
        self.asked.add(kernel)
        return self._kernels[kernel] > 0

    def sort(self, keys: set[int | str], place: dict[Step, int]) -> None:
        """Sort the writers and readers of the arrays `keys` into the order in which the steps run."""
        for found in (self._writers, self._readers):
            for key in keys:
                steps = found.get(key, {})
                if len(steps) > 1 and list(steps) != (ordered := sorted(steps, key=place.__getitem__)):
                    found[key] = {step: steps[step] for step in ordered}
                    self.changed.add(key)

    def writers(self, x: np.ndarray) -> list[Step]:
        """The steps that write into the buffer of `x`, in order."""
        return self._asked(self._writers, self._owner(x))

    def readers(self, x: np.ndarray) -> list[Step]:
        """The steps that read the buffer of `x`, in order; a step that reads it twice is listed twice."""
        return self._asked(self._readers, self._owner(x))

    def _owner(self, x: np.ndarray) -> int:
        """id(root(x)), cached because rules ask for it often."""
        found = self._owners.get(id(x))
        if found is None:
            found = self._owners[id(x)] = x, id(root(x))
        return found[1]

    def _asked(self, found: dict[int, dict[Step, int]], key: int) -> list[Step]:
        self.asked.add(key)
        return [step for step, times in found.get(key, {}).items() for _ in range(times)]

    def unread(self, step: Step) -> bool:
        """Whether no other step reads what `step` writes, and `step` writes no output of the program."""
        buffers = self.program.buffers
        return not any(
            buffers[key].place[0] == "output" or any(s is not step for s in self._readers.get(key, ()))
            for key in step.written
        )

    def sources(self, step: Step) -> list[Step]:
        """The steps that write what `step` reads."""
        return [s for key in step.read for s in self._writers.get(key, ())]

    def is_buffer(self, x) -> bool:
        """Whether `x` is run-time data rather than a constant."""
        return isinstance(x, np.ndarray) and self._owner(x) in self.program.buffers

    def is_output(self, x: np.ndarray) -> bool:
        """Whether `x` lies in an output of the program."""
        return self.program.buffers[self._owner(x)].place[0] == "output"

    def producer(self, x: np.ndarray) -> Step | None:
        """The only step that writes the buffer of `x`, if it writes all of it; else None."""
        found = self.writers(x)
        if len(found) != 1 or self.is_output(x):
            return None
        target = next(y for y in writes(found[0]) if root(y) is root(x))
        return found[0] if covers(target) else None

    def channel_producers(self, x: np.ndarray) -> list[tuple[Step, int]]:
        """[(step, its first channel)]: the products that together write the buffer `x`, each a range of its channels."""
        found = self.writers(x)
        if self.is_output(x) or any("out" not in s.args for s in found):
            return []
        outs = [s.args["out"] for s in found]
        channels, start = sum(y.shape[-1] for y in outs), address(root(x))
        firsts = [(address(y) - start) // y.itemsize for y in outs]
        if any(not _is_column(y, first, channels) or y.size // y.shape[-1] * channels != root(y).size
               for y, first in zip(outs, firsts)):  # fmt: skip
            return []
        return list(zip(found, firsts))

    def only_reader(self, x: np.ndarray) -> bool:
        """Whether exactly one step reads the buffer of `x`, exactly once."""
        key = self._owner(x)
        self.asked.add(key)
        return list(islice(self._readers.get(key, {}).values(), 2)) == [1]


def _is_column(y: np.ndarray, first: int, channels: int) -> bool:
    """Whether `y` is a range of the columns of a dense matrix with `channels` columns, from column `first` on."""
    dense = channels * y.itemsize
    for d, s in zip(y.shape[-2::-1], y.strides[-2::-1]):
        if d > 1 and s != dense:
            return False
        dense *= d
    return 0 < y.shape[-1] <= channels - first and (y.shape[-1] == 1 or y.strides[-1] == y.itemsize)


def covers(x: np.ndarray) -> bool:
    """Whether `x` covers its whole buffer, in any order of dimensions."""
    return x.nbytes == root(x).nbytes


def address(x: np.ndarray) -> int:
    """The address of the first element."""
    return x.__array_interface__["data"][0]


def offset(x: np.ndarray, start: np.ndarray) -> int:
    """Bytes from the first element of the dense `start` to that of `x`, a view of its memory."""
    if x.flags.c_contiguous and x.nbytes == start.nbytes:  # all of it; asking NumPy for addresses is slow
        return 0
    return address(x) - address(start)


def dense(x: np.ndarray) -> bool:
    """Whether `x` lies in C order without gaps."""
    return bool(x.flags.c_contiguous)


def twin(view: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The view of `target` at the positions that `view` has in `source`.

    `source` and `target` are dense and of one size; `view` is any view of the memory of `source`.
    """
    flat = target.reshape(-1, copy=False)
    start = (address(view) - address(source)) // source.itemsize if view.size else 0
    strides = [s // source.itemsize * target.itemsize for s in view.strides]
    cells = as_strided(flat[start:], view.shape, strides)
    same = view.itemsize == source.itemsize == target.itemsize
    return cells.view(view.dtype) if same and view.dtype != source.dtype else cells  # uint8 read as int8


def copied_from(x: np.ndarray, permute: Step) -> np.ndarray | None:
    """The view of what `permute` reads that has become the view `x` of all that it writes; None if there is no such view."""
    source, target = permute.args["x"], permute.args["out"]
    dims = sorted(zip(target.strides, target.shape, source.strides), reverse=True)
    left = {stride: count - 1 for stride, count, _ in dims if count > 1}  # steps that no dimension of x has taken yet
    strides = []
    for count, stride in zip(x.shape, x.strides):
        of = next(((s, from_) for s, n, from_ in dims if n > 1 and s <= stride), None)
        if count == 1 or of is None:
            strides.append(0)
            if count > 1:
                return None
            continue
        times, rest = divmod(stride, of[0])
        left[of[0]] -= times * (count - 1)
        if rest or left[of[0]] < 0:
            return None
        strides.append(times * of[1])
    return as_strided(source, x.shape, strides)
