"""What every kernel's test does: run it on fenced arrays, whole and in pieces, and compare with its reference."""

import numpy as np

from fence import fenced
from pycompress import native
from pycompress.kernels import module

PORTABLE = ("scalar", "arm")  # rows that need no instruction set; the second is the AArch64 library's, with --arm


def outputs(name, values):
    """The arrays among `values` that kernel `name` writes."""
    spec = getattr(native, name).spec
    return [x for a, x in zip(spec.args, values) if a.name in spec.outputs]


def fenced_view(x):
    """`x` in fenced memory of its own, with the same strides; the last element touches the fence."""
    if not isinstance(x, np.ndarray) or not x.size or x.flags.c_contiguous:
        return fenced(x)
    span = sum((n - 1) * s for n, s in zip(x.shape, x.strides)) // x.itemsize + 1
    base = fenced(np.zeros(span, x.dtype))
    y = np.lib.stride_tricks.as_strided(base, x.shape, x.strides)
    y[...] = x
    return y


def run(name, values, isa):
    """Its outputs for `values`, each array in fenced memory of its own."""
    values = [fenced_view(x) for x in values]
    getattr(native, name)(*values, isa=isa)
    return outputs(name, values)


def run_directly(name, values, isa, in_pieces):
    """Its outputs where `run` itself is called, in this thread's float mode: at once, or unit by unit, the last one first."""
    kernel = getattr(native, name)
    values = [fenced_view(x) for x in values]
    slots, keep = kernel.pack(dict(zip(kernel.spec.by_name, values)))
    impl = kernel.impl(isa)
    assert not impl.prepare
    size = -(-impl.scratch(slots) // 64) * 64 if impl.scratch else 0
    scratch = fenced(np.full(size, 255, np.uint8))  # as floats: NaN
    units = impl.units(slots)
    for unit, end in [(i, i + 1) for i in reversed(range(units))] if in_pieces else [(0, units)]:
        impl.run(slots, unit, end, native.ffi.from_buffer(scratch) if size else native.ffi.NULL)
    del keep
    return outputs(name, values)


def reference(name, values):
    """The outputs of the reference."""
    values = [x.copy() if isinstance(x, np.ndarray) else x for x in values]
    getattr(module(name), name)(*values)
    return outputs(name, values)


def check(name, values, isa, equal=np.testing.assert_array_equal):
    """The kernel agrees with its reference, and bit for bit with itself when done in pieces; returns the outputs."""
    expected = reference(name, values)
    got = run(name, values, isa)
    for x, y in zip(got, expected):
        equal(x, y)
    for x, y in zip(*(run_directly(name, values, isa, in_pieces) for in_pieces in (True, False))):
        assert x.tobytes() == y.tobytes()
    return got


def isas(name):
    """Test once for each implementation of the kernel that this CPU runs."""
    import pytest

    return pytest.mark.parametrize("isa", getattr(native, name).impls())


def close(rtol=1e-6, atol=1e-6):
    """A comparison of floats."""
    return lambda x, y: np.testing.assert_allclose(x, y, rtol, atol)


def same_everywhere(name, values):
    """Every implementation gives the same bytes."""
    first, *rest = [run(name, values, isa) for isa in getattr(native, name).impls()]
    for other in rest:
        for x, y in zip(first, other):
            assert x.tobytes() == y.tobytes()
