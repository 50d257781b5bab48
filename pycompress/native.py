"""The C kernels as callables on numpy arrays; arguments are checked against the contract.

``native.sgemm(a, w, bias, act, act_params, residual, out, isa="avx2")`` takes the arguments
of the reference ``pycompress.kernels.sgemm`` and writes `out`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from . import kernels
from ._pcx import ffi, lib
from .cpu import cpu_mask
from .kernels._spec import Spec, arguments


class Kernel:
    """One C kernel."""

    def __init__(self, name: str):
        self.name = name
        self.spec: Spec = getattr(kernels, name).spec
        self.c = lib.pcx_kernel_named(name.encode())
        self.prepared = next((i for i, (_, a) in enumerate(self.spec.slots) if a and a.kind == "prepared"), None)
        self.__doc__ = getattr(kernels, name).__doc__

    def __repr__(self):
        return f"<C kernel {self.name}: {', '.join(self.impls())}>"

    def __call__(self, *args, isa: str | None = None, pool=None, **kwargs):
        """Run it on numpy arrays; the arguments named out* are written.

        Raises
        ------
        ValueError
            If an argument breaks the contract, or `isa` is not one that this CPU runs; if an output overlaps another
            argument, unless the kernel goes element by element and both are the same array (traits: ``in_place``).
        """
        values = arguments(self.spec, args, kwargs)
        slots, keep = self.pack(values)
        code = lib.pcx_call(pool or ffi.NULL, self.c, self.impl(isa, slots), slots)
        if code:
            raise MemoryError(f"{self.name}: no memory for scratch")
        del keep

    def ready(self, *args, isa: str | None = None, pool=None, **kwargs):
        """A function without arguments that runs the kernel on these arrays; weights are prepared once.

        Each call reads and writes the current contents of the arrays, except of indices, which are checked and therefore
        copied here. For timing, and for layers that are called often.

        Raises
        ------
        ValueError
            As for a call.
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

    def impl(self, isa: str | None = None, slots=ffi.NULL):
        """The implementation for `isa`; default: the best one that this CPU supports for these argument slots."""
        if isa is None:
            return lib.pcx_select(self.c, cpu_mask(), slots)
        rows = self.impls()
        if isa not in rows or not lib.pcx_cpu_permit(rows[isa].needs):
            raise ValueError(f"{self.name}: isa must be one of {', '.join(rows)}, got {isa!r}")
        return rows[isa]

    def impls(self) -> dict[str, object]:
        """The implementations that this CPU can run, by ISA, best first."""
        cpu = lib.pcx_cpu()
        return {isa: row for isa, row in self.rows().items() if not row.needs & ~cpu}

    def rows(self) -> dict[str, object]:
        """All implementations of the table, by ISA, best first, whether this CPU can run them or not."""
        rows, i = {}, 0
        while True:
            row = ffi.addressof(self.c.impls, i)
            rows[ffi.string(row.isa).decode()] = row
            if not row.needs:
                return rows
            i += 1

    def pack(self, values: dict[str, object]):
        """(argument struct as u64 slots, what must stay alive), checked against the contract.

        Arrays whose values are checked are copied first, since other threads may write to the caller's array after the check.
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
        """Raise where an output shares memory with another argument, other than elementwise in place."""
        arrays = {n: x for n, x in values.items() if isinstance(x, np.ndarray)}
        for name in self.spec.outputs:
            for other, x in arrays.items():
                if other == name or not _overlap(arrays[name], x):
                    continue
                if other not in self.spec.traits.in_place or not _same(arrays[name], x):
                    raise ValueError(f"{self.name}: {name} overlaps {other}")


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays share a byte; also true if finding out would take long."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10000)
    except RuntimeError:  # TooHardError, which has stood in two places
        return True


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays have the same elements in the same places."""
    place = a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
    return place and a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides


@cache
def _kernel(name: str) -> Kernel:
    return Kernel(name)


def names() -> tuple[str, ...]:
    """All kernels, by name."""
    return kernels.NAMES


def __getattr__(name: str):
    if name not in kernels.NAMES:
        raise AttributeError(f"there is no kernel {name!r}; there are {', '.join(kernels.NAMES)}")
    return _kernel(name)


def aligned(shape, dtype, fill=None) -> np.ndarray:
    """An array whose first byte is aligned to 64 bytes."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    raw = np.empty(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    out = raw[start : start + count].view(dtype).reshape(shape)
    if fill is not None:
        out[...] = fill
    return out
