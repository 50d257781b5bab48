"""A program of steps as a plan holds it: slots of numbers and (region, index, offset), and constants by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from .dtypes import word
from .errors import ModelError
from .formats.onnx_model import Model
from .kernels import spec
from .lower.values import Program, Step
from .native import aligned
from .operators import REGISTERED
from .optimize import place, uncompressed
from .optimize.dataflow import offset
from .optimize.strict import FLOAT_KERNELS
from .plan import raw
from .weights import Facts

IN_FLOAT = "in float, although its weights are integers: no integer kernel is proven exact for them"


@dataclass(eq=False)
class Tensors:
    """Constant arrays by name, each held once; shared by all plans of a model.

    Attributes
    ----------
    identity : whether large arrays are not compared: equal ones are then held once only if they are the same
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    identity: bool = False
    _names: dict[tuple, str] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    def name(self, x: np.ndarray, wanted: str) -> str:
        """The name under which the contiguous array `x` is held."""
        content = self.facts.of("content", x, lambda: self._content(x))
        key = (word(x.dtype), x.shape, content)
        if key not in self._names:
            name, i = wanted, 1
            while name in self.arrays:
                name, i = f"{wanted}.{i}", i + 1
            self._names[key] = name
            self.arrays[name] = aligned(x.shape, x.dtype, x)
        return self._names[key]

    def _content(self, x: np.ndarray) -> bytes | int:
        if self.identity and x.nbytes >= Facts.LARGE:
            return next(self._numbers)
        return hashlib.blake2b(raw(x), digest_size=16).digest()

    def keep(self, names: set[str]) -> None:
        """Forget all others: what no plan uses any more."""
        self.arrays = {n: x for n, x in self.arrays.items() if n in names}
        self._names = {key: n for key, n in self._names.items() if n in names}


def graph_of(program: Program, tensors: Tensors, kernels, used, model: Model):
    """(one program as JSON, notes on each step)."""
    offsets, size = place(program)
    if size > model.limits.arena_bytes:
        raise ModelError(f"the activations need {size} bytes, more than {model.limits.arena_bytes}")
    steps, notes, floats = [], [], set(uncompressed(program, model))
    for step in program.steps:
        slots, sizes = _slots(program, step, offsets, tensors, used)
        steps.append([kernels.setdefault(step.kernel, len(kernels)), *slots])
        in_float = step.node in floats and step.kernel in FLOAT_KERNELS
        notes.append(_note(step, sizes, program.in_float.get(step.node, IN_FLOAT) if in_float else ""))
        notes[-1]["macs"] *= program.times
    ports = {
        side: [{"name": p.name, "dtype": p.dtype, "shape": list(p.shape)} for p in getattr(program, side)]
        for side in ("inputs", "outputs")
    }
    if program.batch and notes:
        notes[0]["reason"] = "; ".join(filter(None, (notes[0]["reason"], program.batch)))
    times = {"times": program.times} if program.times > 1 else {}
    return {**ports, "arena": size, **times, "steps": steps}, notes


def _slots(program: Program, step: Step, offsets, tensors: Tensors, used):
    contract = spec(step.kernel)
    args = {}
    for arg in contract.args:
        x = step.args[arg.name]
        constant = isinstance(x, np.ndarray) and program.buffer(x) is None
        args[arg.name] = compact(x, arg) if constant else x
    try:
        sizes = contract.bind(args)
    except ValueError as error:  # a size that no kernel supports
        raise ModelError(f"node {step.node!r} ({step.op}): {error}") from None
    slots = []
    for name, arg in contract.slots:
        x = args[name] if arg else None
        if arg is None or arg.kind == "size":
            slots.append(sizes[name])
        elif x is None or arg.kind == "prepared":
            slots.append(None)
        elif arg.kind == "fault":
            slots.append(1)
        elif (buffer := program.buffer(x)) is not None:
            kind, index = buffer.place
            inside = offset(x, buffer.array)
            if kind == "arena":
                slots.append([0, 0, offsets[id(buffer.array)] + inside])
            else:
                slots.append([2 if kind == "input" else 3, index, inside])
        else:
            held = tensors.name(dense_core(x), f"{step.node or 'graph'}.{name}")
            slots.append([1, used.setdefault(held, len(used)), 0])
    return slots, sizes


def dense_core(x: np.ndarray) -> np.ndarray:
    """`x` contiguous, with extent 1 for dimensions that broadcasting repeats."""
    if x.flags.c_contiguous:
        return x
    core = x[tuple(slice(0, 1) if s == 0 and d > 1 else slice(None) for s, d in zip(x.strides, x.shape))]
    return np.ascontiguousarray(core)


def compact(x: np.ndarray, arg) -> np.ndarray:
    """`x` contiguous, but still with stride 0 in repeated dimensions for which the contract has a stride."""
    if x.flags.c_contiguous:
        return x
    free = [stride is not None for _, stride in arg.dims]
    core = x[tuple(slice(0, 1) if s == 0 and d > 1 and f else slice(None) for s, d, f in zip(x.strides, x.shape, free))]
    return np.broadcast_to(np.ascontiguousarray(core), x.shape) if core.shape != x.shape else np.ascontiguousarray(x)


def _note(step: Step, sizes: dict[str, int], in_float: str) -> dict[str, object]:
    arrays = {k: v for k, v in step.args.items() if isinstance(v, np.ndarray)}
    out = next(v for k, v in arrays.items() if k.startswith("out"))
    source = next((v for k, v in arrays.items() if k in ("x", "a")), out)
    return {
        "node": step.node,
        "op": step.op,
        "reason": "; ".join(filter(None, (step.reason, in_float))),
        "dtype": out.dtype.name,
        "in": list(source.shape),
        "out": list(out.shape),
        "macs": spec(step.kernel).macs(sizes),
    }


def version_of(kernel: str) -> int:
    from . import native

    c = REGISTERED[kernel].c if kernel in REGISTERED else getattr(native, kernel).c
    return int(c.version)
