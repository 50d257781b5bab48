"""The C kernels as callables on numpy arrays; each call is checked against the kernel's contract.

``native.sgemm(a, w, bias, act, act_params, residual, out, isa="avx2")`` takes the arguments of the reference
``pycompress.kernels.sgemm`` and writes `out`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import kernels
from ._pcx import ffi, lib
from .cpu import call_mask
from .dtypes import NUMPY
from .kernels._spec import Arg, Spec, arguments
from .slots import Repeated

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


class Kernel:
    """A C kernel, callable on numpy arrays; ``pycompress.native`` has one for each name in ``names()``.

    Attributes
    ----------
    name : str
    spec : Spec
        Its contract: the arguments with their types and shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> kernel = pycompress.native.softmax
    >>> "scalar" in kernel.impls()
    True
    >>> x = np.ones((2, 4, 1), np.float32)  # the sums run over the 4
    >>> out = np.empty_like(x)
    >>> kernel(x=x, out=out)
    >>> out[0, :, 0]
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """

    def __init__(self, name: str):
        """The kernel of that name."""
        self.name = name
        self.spec: Spec = getattr(kernels, name).spec
        self.c: Any = lib.pcx_kernel_named(name.encode())
        self.prepared = next((i for i, (_, a) in enumerate(self.spec.slots) if a and a.kind == "prepared"), None)
        self._again = Repeated(self.spec, self.c)
        self.__doc__ = _doc(name, self.spec)

    def __repr__(self):
        return f"<C kernel {self.name}: {', '.join(self.impls())}>"

    def __call__(
        self,
        *args: np.ndarray | int | None,
        isa: str | None = None,
        pool: Any = None,
        **kwargs: np.ndarray | int | None,
    ) -> None:
        """Run the kernel; the arguments whose names begin with "out" are written.

        Parameters
        ----------
        *args, **kwargs : numpy.ndarray, int or None
            The kernel's arguments, by position or name.
        isa : str, optional
            An implementation in ``impls()``; default: the one that sessions use.
        pool : cffi pointer, optional
            Threads, as ``pcx_threads_new`` makes them; default: this thread alone.

        Raises
        ------
        TypeError
            If an argument has an unknown name, or there are too many.
        ValueError
            If an argument breaks the contract, this CPU does not run `isa`, or an output overlaps another argument,
            unless the kernel works element by element and both are the same array (traits: ``in_place``).
        MemoryError
            If there is no memory for scratch.
        """
        code = lib.PCX_BAD_ARGUMENT
        if isa is None:
            try:
                code = self._again.call(pool or ffi.NULL, *args, **kwargs)
            except Exception:  # sizes that are new, or arguments that break the contract
                pass
        if code == lib.PCX_BAD_ARGUMENT:
            values = arguments(self.spec, args, kwargs)
            slots, keep = self.pack(values)
            code = lib.pcx_call(pool or ffi.NULL, self.c, self.impl(isa, slots), slots)
            self._again.learn(values, slots)
            del keep
        if code:
            raise MemoryError(f"{self.name}: no memory for scratch")

    def ready(
        self,
        *args: np.ndarray | int | None,
        isa: str | None = None,
        pool: Any = None,
        **kwargs: np.ndarray | int | None,
    ) -> Callable[[], None]:
        """A function without arguments that runs the kernel on these arrays; weights are prepared once, here.

        Each call reads and writes the arrays as they are then, except index arrays, which are checked and copied here. For
        timing, and for layers that are called often. Parameters and errors are those of a call.
        """
        slots, keep = self.pack(arguments(self.spec, args, kwargs))
        impl = self.impl(isa, slots)
        if self.prepared is not None and impl.prepare:
            made = aligned((max(impl.prepared(slots), 1),), np.uint8)
            impl.prepare(slots, ffi.from_buffer(made))
            slots[self.prepared] = made.__array_interface__["data"][0]
            keep.append(made)

        def call(keep=keep) -> None:
            if lib.pcx_call(pool or ffi.NULL, self.c, impl, slots):
                raise MemoryError(f"{self.name}: no memory for scratch")

        return call

    def impl(self, isa: str | None = None, slots: Any = ffi.NULL) -> Any:
        """The implementation for `isa`; default: the one that sessions use for these argument slots.

        Raises ValueError if this CPU does not run `isa`.
        """
        if isa is None:
            return lib.pcx_select(self.c, call_mask(), slots)
        rows = self.impls()
        if isa not in rows or not lib.pcx_cpu_permit(rows[isa].needs):
            raise ValueError(f"{self.name}: isa must be one of {', '.join(rows)}, got {isa!r}")
        return rows[isa]

    def impls(self) -> dict[str, Any]:
        """The implementations that this CPU can run, by ISA, best first."""
        cpu = lib.pcx_cpu()
        return {isa: row for isa, row in self.rows().items() if not row.needs & ~cpu}

    def rows(self) -> dict[str, Any]:
        """All implementations of the table, by ISA, best first, whether this CPU can run them or not."""
        rows, i = {}, 0
        while True:
            row = ffi.addressof(self.c.impls, i)
            rows[ffi.string(row.isa).decode()] = row
            if not row.needs:
                return rows
            i += 1

    def pack(self, values: dict[str, object]) -> tuple[Any, list[np.ndarray]]:
        """(the argument struct as uint64 slots, the arrays that must stay alive), checked against the contract.

        Arrays whose values are checked are copied first, since others could write to the caller's array after the check.
        """
        indices = {a.name for a in self.spec.args if a.below is not None}
        values = {n: x.copy() if n in indices and isinstance(x, np.ndarray) else x for n, x in values.items()}
        sizes = self.spec.bind(values)
        self._check_outputs(values)
        slots = ffi.new("uint64_t[]", len(self.spec.slots))
        keep = []
        for i, (name, arg) in enumerate(self.spec.slots):
            if arg is None or arg.kind == "size":
                slots[i] = sizes[name]
            elif arg.kind == "array" and values[name] is not None:
                x = values[name]
                if name in self.spec.outputs and not x.flags.writeable:
                    raise ValueError(f"{self.name}: {name} is read-only")
                if x.__array_interface__["data"][0] % x.dtype.alignment:
                    raise ValueError(f"{self.name}: {name} is not aligned to its elements")
                slots[i] = x.__array_interface__["data"][0]
                keep.append(x)
        return slots, keep

    def _check_outputs(self, values: dict[str, object]) -> None:
        """Raise if an output shares memory with another argument, unless that is elementwise in place."""
        arrays = {n: x for n, x in values.items() if isinstance(x, np.ndarray)}
        for name in self.spec.outputs:
            for other, x in arrays.items():
                if other == name or not _overlap(arrays[name], x):
                    continue
                if other not in self.spec.traits.in_place or not _same(arrays[name], x):
                    raise ValueError(f"{self.name}: {name} overlaps {other}")


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share a byte; if that takes too long to find out, they count as sharing one."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10000)
    except RuntimeError:  # TooHardError; its module depends on NumPy's version
        return True


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same elements in the same places."""
    place = a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    return place and a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides


def _doc(name: str, spec: Spec) -> str:
    """The docstring of a kernel: its reference's, its contract in words, and an example."""
    rows = [f"{arg.name} : {_in_words(arg, spec)}" for arg in spec.args if arg.kind != "prepared"]
    where = f"\nSizes fulfil {', '.join(spec.where)}.\n" if spec.where else ""
    sizes = ", ".join(f"{key}={value}" for key, value in example_sizes(name).items())
    texts = (kernels.module(name).__doc__, getattr(kernels, name).__doc__)
    told = "\n\n".join(inspect.cleandoc(text) for text in texts if text)
    return f"""{told}

Parameters
----------
{chr(10).join(rows)}
isa : str, optional
    An implementation in ``impls()``; default: the one that sessions use.
{where}
Raises
------
ValueError
    If an argument breaks this contract, or this CPU does not run `isa`.
MemoryError
    If there is no memory for scratch.

Examples
--------
>>> import numpy as np
>>> import pycompress
>>> example = pycompress.kernels.module({name!r}).example
>>> arguments = example(np.random.default_rng(0), {sizes})
>>> pycompress.native.{name}(*arguments)
"""


def _in_words(arg: Arg, spec: Spec) -> str:
    """The contract of an argument: type, shape and what else holds."""
    if arg.kind == "size":
        return "int"
    types = " or ".join(NUMPY[word] for word in arg.types)
    text = f"{types}[{', '.join(extent for extent, _ in arg.dims)}]"
    text += "".join(f", {stride} elements apart along {extent}" for extent, stride in arg.dims if stride)
    text += f", values from 0 to {arg.below} - 1" if arg.below else ""
    return text + (", optional" if arg.optional else "") + (", written" if arg.name in spec.outputs else "")


SIZES = {"m": 6, "n": 16, "k": 32, "b": 1, "ih": 6, "iw": 8, "c": 16, "op": 0, "mode": 0}  # of examples
OTHER = 7  # of a size that is not among them


def example_sizes(name: str, sizes: Mapping[str, int] = SIZES, other: int = OTHER) -> dict[str, int]:
    """Sizes for the function ``example`` of the kernel `name`, within its contract: those it needs, and others of `sizes`."""
    parameters = list(inspect.signature(kernels.module(name).example).parameters.values())[1:]
    kinds = inspect.Parameter
    needed = [p.name for p in parameters if p.default is kinds.empty and p.kind is not kinds.VAR_KEYWORD]
    found = {key: sizes.get(key, other) for key in needed}
    found |= {p.name: sizes[p.name] for p in parameters if p.name in sizes and isinstance(p.default, int)}
    bounds = (condition.partition("<") for condition in kernels.spec(name).where)
    below = {key: int(bound) for key, _, bound in bounds if bound.isdigit()}
    return {key: min(size, below.get(key, size + 1) - 1) for key, size in found.items()}


def names() -> tuple[str, ...]:
    """The names of all kernels.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import pycompress
    >>> "sgemm" in pycompress.native.names()
    True
    """
    return kernels.NAMES


def __dir__() -> list[str]:
    return sorted({*globals(), *kernels.NAMES})


def __getattr__(name: str) -> Kernel:
    if name not in kernels.NAMES:
        raise AttributeError(f"there is no kernel {name!r}; there are {', '.join(kernels.NAMES)}")
    return globals().setdefault(name, Kernel(name))  # found without this function from now on


def aligned(shape: Sequence[int], dtype: DTypeLike, fill: ArrayLike | None = None) -> np.ndarray:
    """A new array whose first byte is aligned to 64 bytes.

    Parameters
    ----------
    shape : sequence of int
    dtype : data type
    fill : array or number, optional
        Its values; default: not initialized.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    TypeError, ValueError
        If `dtype` is not a data type, `shape` has a negative size, or `fill` does not broadcast to it.

    Examples
    --------
    >>> import pycompress
    >>> x = pycompress.native.aligned((3, 5), "float32", fill=1)
    >>> x.ctypes.data % 64, float(x.sum())
    (0, 15.0)
    """
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + count].view(dtype).reshape(shape)
    if fill is not None:
        out[...] = fill
    return out
