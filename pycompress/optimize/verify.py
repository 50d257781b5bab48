"""Checks the invariants of a Program between passes. Only tests use it; for plans, the plan reader checks them again."""

from __future__ import annotations

import numpy as np

from ..kernels import spec
from ..lower.values import Program, Step, root
from ..weights import Q4, Q8, Dense, Half
from .dataflow import address, reads, writes


def verify(program: Program, offsets: dict[int, int] | None = None) -> None:
    """Check the invariants of a program.

    * Every step has the arguments of its kernel's contract, and they match it. While weights are not yet packed, only
      the names are checked.
    * A step writes only into buffers, never into the program's inputs.
    * Every byte that a step reads of a buffer was written before; no byte of a buffer is written twice.
    * Every byte of the program's outputs is written.
    * If `offsets` is given, buffers that are needed at the same time do not overlap in the arena.

    Raises
    ------
    AssertionError
        If an invariant does not hold; names the step.

    Examples
    --------
    >>> program = lower(load(model), {"x": (1, 3, 224, 224)})
    >>> optimize(program, after=verify)  # after each pass
    """
    written = {key: np.zeros(b.bytes, bool) for key, b in program.buffers.items() if b.place[0] != "input"}
    for place, step in enumerate(program.steps):
        try:
            _fits(step)
            _reads(program, step, written)
            _writes(program, place, written)
        except (ValueError, KeyError) as error:
            raise AssertionError(f"step {place} ({step.kernel}, node {step.node!r}): {error}") from error
    for key, buffer in program.buffers.items():
        if buffer.place[0] == "output":
            assert written[key].all(), f"output {program.outputs[buffer.place[1]].name!r} is not written everywhere"
    if offsets is not None:
        _disjoint(program, offsets)


def _fits(step: Step) -> None:
    """Check the arguments against the contract: their names, and all else once none remains to be packed or rounded."""
    contract = spec(step.kernel)
    if set(step.args) != set(contract.by_name):
        raise ValueError(f"has arguments {sorted(step.args)}, needs {sorted(contract.by_name)}")
    late = any(isinstance(x, (Dense, Half, Q4, Q8)) for x in step.args.values()) or any(
        isinstance(x, np.ndarray) and x.dtype == np.float64 for x in step.args.values()
    )
    if not late:
        contract.bind(step.args)


def _bytes(x: np.ndarray, size: int) -> slice | np.ndarray:
    """The positions of the bytes of `x` in its buffer of `size` bytes: a slice if they are contiguous."""
    start = address(x) - address(root(x))
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    if x.transpose(order).flags.c_contiguous:
        if start < 0 or start + x.nbytes > size:
            raise ValueError("reaches outside its buffer")
        return slice(start, start + x.nbytes)
    at = np.array(start)
    for extent, stride in zip((*x.shape, x.itemsize), (*x.strides, 1)):
        at = at[..., None] + np.arange(extent) * stride
        if stride == 0:
            at = at[..., :1]
    if at.min() < 0 or at.max() >= size:
        raise ValueError("reaches outside its buffer")
    return at.reshape(-1)


def _reads(program: Program, step: Step, written: dict[int, np.ndarray]) -> None:
    for x in reads(step):
        buffer = program.buffer(x)
        if buffer is None or not x.size:
            continue
        at = _bytes(x, buffer.bytes)
        if buffer.place[0] != "input" and not written[id(buffer.array)][at].all():
            raise ValueError(f"reads what no step before it writes: {x.dtype.name}{list(x.shape)}")


def _writes(program: Program, place: int, written: dict[int, np.ndarray]) -> None:
    step = program.steps[place]
    for x in writes(step):
        buffer = program.buffer(x)
        if buffer is None or buffer.place[0] == "input":
            raise ValueError("writes into a constant or an input")
        if not x.size:
            continue
        at, done = _bytes(x, buffer.bytes), written[id(buffer.array)]
        if not isinstance(at, slice) and (len(at) < x.nbytes or len(np.unique(at)) < len(at)):
            raise ValueError("writes a byte twice")
        if done[at].any() and not _over_fill(program.steps[:place], x):
            raise ValueError(f"writes what is written already: {x.dtype.name}{list(x.shape)}")
        done[at] = True


def _over_fill(before: list[Step], x: np.ndarray) -> bool:
    """Whether only fills wrote there before: padding fills the whole image first, then its inside is written."""
    return all(s.kernel == "fill" for s in before if id(root(x)) in s.written)


def _disjoint(program: Program, offsets: dict[int, int]) -> None:
    """Check that two buffers that overlap in the arena are never needed at the same time."""
    life: dict[int, list[int]] = {}
    for i, step in enumerate(program.steps):
        for key in (*step.read, *step.written):
            if key in program.buffers and program.buffers[key].place[0] == "arena":
                life.setdefault(key, [i, i])[1] = i
    assert set(life) <= set(offsets), "a buffer that a step uses has no place in the arena"
    rows = sorted((offsets[key], offsets[key] + program.buffers[key].bytes, *life[key]) for key in life)
    for i, (_, end, first, last) in enumerate(rows):
        for start, stop, other_first, other_last in rows[i + 1 :]:
            if start >= end:
                break
            together = first <= other_last and other_first <= last and stop > start
            assert not together, f"buffers needed at steps {first}-{last} and {other_first}-{other_last} overlap"
