"""Values, steps and programs: the intermediate representation between ONNX and plans.

Run-time tensors are described by numpy arrays that are never read: a ``Buffer`` owns an array of
untouched memory, and a value is a view of it. So transposing, slicing, reshaping and
broadcasting need no step, and numpy keeps shape, strides and offset.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..dtypes import NUMPY, word
from ..kernels import spec
from ..weights import Facts

HALVES = ("f16", "bf16")  # float32 everywhere between a program's inputs and outputs


@dataclass(eq=False)
class Buffer:
    """Memory of a plan. `place` is ("arena", None), ("input", i) or ("output", i)."""

    array: np.ndarray  # 1-D, never touched
    place: tuple[str, int | None] = ("arena", None)

    @property
    def bytes(self) -> int:
        return self.array.nbytes


@dataclass(frozen=True, eq=False)
class Quant:
    """real = (value - zero) * scale, `scale` and `zero` of one element or one per index of `axis`.

    With `block`, which only constants have, both have the rank of the tensor: one per `block` elements along `axis`.
    """

    value: Value
    scale: np.ndarray  # f32[1] or f32[c]
    zero: np.ndarray  # i32[1] or i32[c], in the range of value.dtype
    axis: int = 0
    block: int = 0
    bits: int = 8  # 4 for constants that the file stores in 4 bits


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor with a concrete shape.

    `data` has the logical (ONNX) shape: constant data, or a view of a Buffer if `runtime`.
    A run-time int8 tensor is stored as uint8 with 128 added, so `data` is uint8 if `dtype` is
    "i8". `data` is None if only `quant` exists: the floats are computed when they are needed.
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray | None
    runtime: bool
    quant: Quant | None = None
    rows: tuple[int, Value] | None = None  # (axis, count i64[1]) if only so many of that axis are used; see bounded.py

    @classmethod
    def constant(cls, data) -> Value:
        data = np.asarray(data)
        if word(data.dtype) in HALVES:
            data = data.astype(np.float32)
        return cls(word(data.dtype), data.shape, data, False)

    @property
    def biased(self) -> bool:
        """Whether the run-time data is stored with 128 added."""
        return self.runtime and self.dtype == "i8"

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Coded:
    """A float constant dequantized from 8-bit codes: both dense, `codes` and `zero` as they would be stored."""

    real: np.ndarray
    codes: np.ndarray
    zero: int
    scale: np.float32


@dataclass(frozen=True, eq=False)
class Step:
    """One kernel call. Arguments by contract name: arrays (constants or views), weights, ints, None."""

    kernel: str
    args: dict[str, object]
    node: str
    op: str
    reason: str = ""

    @cached_property
    def written(self) -> tuple[int, ...]:
        """The ids of the arrays that own the memory it writes."""
        return tuple(id(root(self.args[name])) for name in spec(self.kernel).outputs)

    @cached_property
    def read(self) -> tuple[int, ...]:
        """The ids of the arrays that own the memory it reads, including constants."""
        out = spec(self.kernel).outputs
        return tuple(id(root(x)) for n, x in self.args.items() if isinstance(x, np.ndarray) and n not in out)

    def replace(self, kernel: str | None = None, *, reason: str | None = None, op: str | None = None, **args) -> Step:
        """This step with some arguments changed."""
        return Step(kernel or self.kernel, self.args | args, self.node, op or self.op, reason or self.reason)


@dataclass(eq=False)
class Port:
    """An input or output of a program."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(eq=False)
class Program:
    """Steps for one set of input shapes."""

    inputs: list[Port]
    outputs: list[Port]
    steps: list[Step]
    buffers: dict[int, Buffer]  # by id of their array
    names: dict[str, np.ndarray] = field(default_factory=dict)  # run-time data by ONNX tensor name
    host: str = ""
    shapes: dict[str, tuple[tuple[int, ...], bool]] = field(default_factory=dict)  # of all tensors; whether run-time
    times: int = (
        1  # how often the steps run, each time on the next part of each input and output along the first dimension
    )
    batch: str = ""  # how a batch of images is run, and why
    coded: dict[int, Coded] = field(default_factory=dict)  # by id of their float array
    half: str = ""  # "float16" or "bfloat16" if the model multiplies by weights of that type
    quantized: dict[int, Quant] = field(default_factory=dict)  # by id of a float constant: what it was dequantized from
    in_float: dict[str, str] = field(default_factory=dict)  # by node: why its integer weights run as floats
    facts: Facts = field(default_factory=Facts)  # about constants, shared by the programs of a model

    def buffer(self, x: np.ndarray) -> Buffer | None:
        """The buffer that `x` is a view of; None for constant data."""
        return self.buffers.get(id(root(x)))


def root(x):
    """The array that owns the memory of `x`, or the outermost array if something else owns it."""
    array = x
    while type(x) is np.ndarray:
        array, x = x, x.base
    while x is not None:  # an owner that is no array may itself have a base
        array, x = x if isinstance(x, np.ndarray) else array, getattr(x, "base", None)
    return array


def storage(dtype: str) -> np.dtype:
    """The numpy type in which run-time data of `dtype` is stored."""
    return np.dtype("uint8" if dtype == "i8" else NUMPY[dtype])
