"""Kernels called directly write where nothing else is read, and read no index that was not checked."""

import numpy as np
import pytest

import handmade
from pycompress import kernels, native

NAMES = [n for n in kernels.NAMES if any(a.kind == "array" for a in getattr(kernels, n).spec.args)]


def given(name):
    spec = getattr(kernels, name).spec
    return spec, handmade.example(name, np.random.default_rng(0))


def moved_onto(values, name, other, shift):
    """`values` with the array `other` in memory of its own, and `name` over it, `shift` elements later."""
    size = max(values[name].nbytes, values[other].nbytes) + 256
    memory = native.aligned(size, np.uint8)
    changed = dict(values)
    for which, start in ((other, 0), (name, shift * values[name].itemsize)):
        x = values[which]
        changed[which] = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    changed[other][...] = values[other]
    return changed


@pytest.mark.parametrize("name", NAMES)
def test_an_output_over_anything_else_is_refused(name):
    spec, values = given(name)
    dense = {n for n, x in values.items() if isinstance(x, np.ndarray) and x.nbytes and x.flags.c_contiguous}
    tried = 0
    for out in set(spec.outputs) & dense:
        for other in dense - {out}:
            if spec.by_name[other].below:
                continue  # copied, see below
            tried += 1
            shift = int(other in spec.traits.in_place)  # at the same place they would be the same array
            with pytest.raises(ValueError, match=rf"{name}: (\w+ overlaps \w+|every value)"):
                getattr(native, name)(**moved_onto(values, out, other, shift))
    if not tried:
        pytest.skip("its arrays lie apart in memory")


IN_PLACE = [(n, x) for n in NAMES for x in getattr(kernels, n).spec.traits.in_place]


@pytest.mark.parametrize("name, which", IN_PLACE)
def test_elementwise_kernels_write_in_place(name, which):
    spec, values = given(name)
    values = {n: x.copy() if isinstance(x, np.ndarray) else x for n, x in values.items()}
    for isa in getattr(native, name).impls():
        apart, here = dict(values), dict(values)
        apart["out"] = np.empty_like(values["out"])
        getattr(native, name)(**apart, isa=isa)
        here["out"] = here[which] = values[which].copy()
        getattr(native, name)(**here, isa=isa)
        np.testing.assert_array_equal(here["out"], apart["out"])


def test_arrays_that_interleave_do_not_overlap():
    both = np.zeros((5, 8), np.float32)
    both[:, :4] = np.arange(20).reshape(5, 4)
    native.unary(both[:, :4], 13, np.zeros(2, np.float32), both[:, 4:])
    np.testing.assert_array_equal(both[:, 4:], -both[:, :4])


@pytest.mark.parametrize("name", [n for n in NAMES if any(a.below for a in getattr(kernels, n).spec.args)])
def test_indices_changed_after_ready_are_not_read(name):
    spec, values = given(name)
    call = getattr(native, name).ready(**values)
    call()
    want = [values[n].copy() for n in spec.outputs]
    for arg in spec.args:
        if arg.below and values[arg.name] is not None:
            values[arg.name] = values[arg.name].view()
            values[arg.name].flags.writeable and values[arg.name].fill(np.iinfo(values[arg.name].dtype).max)
    call()
    for n, x in zip(spec.outputs, want):
        np.testing.assert_array_equal(values[n], x)
