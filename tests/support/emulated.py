"""``pytest tests/kernels --emulate``: tests of kernels run the implementations that this CPU lacks, in the emulator, and those alone."""

import numpy as np
from emulator import emulator

from pycompress import native
from pycompress._pcx import ffi, lib
from pycompress.kernels._spec import arguments

PARTS = 3  # in which a call's units are done


def missing_isas() -> set[str]:
    """The instruction sets of implementations that this CPU cannot run."""
    kernels = (getattr(native, name) for name in native.names())
    cpu = lib.pcx_cpu()
    return {isa for kernel in kernels for isa, row in kernel.rows().items() if row.needs & ~cpu}


def install() -> None:
    """From now on kernels offer all rows of their tables; those that this CPU lacks run in the emulator."""
    rows, impl = native.Kernel.rows, native.Kernel.impl
    call, ready = native.Kernel.__call__, native.Kernel.ready
    cpu = lib.pcx_cpu()

    def all_rows(self):
        return {isa: Emulated(row) if row.needs & ~cpu else row for isa, row in rows(self).items()}

    def emulated_call(self, *args, isa=None, pool=None, **kwargs):
        row = self.impls().get(isa)
        if not isinstance(row, Emulated):
            return call(self, *args, isa=isa, pool=pool, **kwargs)
        slots, keep = self.pack(arguments(self.spec, args, kwargs))
        row.do(slots, self.prepared)
        del keep

    def emulated_ready(self, *args, isa=None, pool=None, **kwargs):
        if not isinstance(self.impls().get(isa), Emulated):
            return ready(self, *args, isa=isa, pool=pool, **kwargs)
        return lambda: self(*args, isa=isa, pool=pool, **kwargs)

    def emulated_impl(self, isa=None, slots=ffi.NULL):
        row = self.impls().get(isa)
        return row if isinstance(row, Emulated) else impl(self, isa, slots)

    native.Kernel.impls, native.Kernel.impl = all_rows, emulated_impl
    native.Kernel.__call__, native.Kernel.ready = emulated_call, emulated_ready


class Emulated:
    """A ``pcx_impl`` whose functions run in the emulator."""

    def __init__(self, row):
        self._row = row
        self.isa, self.needs, self.suits = row.isa, row.needs, row.suits

    def __getattr__(self, name):
        function = int(ffi.cast("uintptr_t", getattr(self._row, name)))
        if not function:
            return ffi.NULL
        return lambda *args: emulator().call(function, *(int(ffi.cast("uintptr_t", x)) for x in args))

    def do(self, slots, prepared: int | None) -> None:
        """One call's work. Scratch and what is prepared begin as nonsense."""
        keep = None
        if self.prepare and prepared is not None:
            keep = native.aligned(max(self.prepared(slots), 1), np.uint8, fill=0xA5)
            self.prepare(slots, ffi.from_buffer(keep))
            slots[prepared] = keep.ctypes.data
        scratch = native.aligned(max(self.scratch(slots) if self.scratch else 1, 1), np.uint8, fill=0xA5)
        units = self.units(slots)
        ends = sorted({units * i // PARTS for i in range(PARTS + 1)})
        for begin, end in zip(ends, ends[1:]):
            self.run(slots, begin, end, ffi.from_buffer(scratch))
