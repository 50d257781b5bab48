"""qrecurrent against its reference, and against recurrent with weights that are the same numbers."""

import numpy as np
import pytest

from cases import check, isas, reference, run
from pycompress import native
from pycompress.kernels import module

ref = module("qrecurrent")
NAMES = list(native.qrecurrent.spec.by_name)
SIZES = [(1, 1, 1), (1, 3, 16), (1, 2, 17), (1, 7, 40), (1, 49, 33)]


def example(t=4, b=3, h=5, d=1, backward=0, **changed):
    values = ref.example(np.random.default_rng(t + b + h), t, b, h, d, backward)
    for name, value in changed.items():
        values[NAMES.index(name)] = value
    return values


def run_in_pieces(values, isa):
    """The outputs unit by unit, as threads make them, with what the row prepares."""
    slots, keep = native.qrecurrent.pack(dict(zip(NAMES, values)))
    impl = native.qrecurrent.impl(isa)
    scratch = np.zeros(impl.scratch(slots) + 64, np.uint8)
    at = native.ffi.from_buffer(scratch) + -scratch.ctypes.data % 64
    for unit in reversed(range(impl.units(slots))):
        impl.run(slots, unit, unit + 1, at)
    del keep
    return values[-3:]


@isas("qrecurrent")
@pytest.mark.parametrize("t,b,h", SIZES)
@pytest.mark.parametrize("d,backward", [(1, 0), (2, 2)])
def test_one_step_equals_the_reference(isa, t, b, h, d, backward):
    values = example(t, b, h, d, backward)
    for got, want in zip(run("qrecurrent", values, isa), reference("qrecurrent", values)):
        np.testing.assert_allclose(got, want, 1e-5, 1e-5)


@isas("qrecurrent")
def test_many_steps_equal_the_reference_but_for_codes_that_round_otherwise(isa):
    lengths = np.array([6, 0, 2, 7, -1, 3, 1, 5], np.int32)
    peepholes = np.random.default_rng(0).standard_normal((2, 3, 21), np.float32)
    values = example(6, 8, 21, 2, 2, lengths=lengths, peepholes=peepholes, coupled=1)
    for got, want in zip(run("qrecurrent", values, isa), reference("qrecurrent", values)):
        np.testing.assert_allclose(got, want, 0.03, 0.03)


@isas("qrecurrent")
@pytest.mark.parametrize("zeros", [False, True])
def test_any_split_of_the_work_gives_the_same_answer(isa, zeros):
    values = example(3, 60, 18, 2, 1, **({} if zeros else {"wzp": None}))
    whole = [x.tobytes() for x in run("qrecurrent", values, isa)]
    if not native.qrecurrent.impl(isa).prepare:
        assert [x.tobytes() for x in run_in_pieces(values, isa)] == whole
    same_everywhere_but_scalar(values)


def same_everywhere_but_scalar(values):
    """Rows that share their loops, and differ in the exact product alone, give the same bytes."""
    first, *rest = [run("qrecurrent", values, isa) for isa in native.qrecurrent.impls() if isa != "scalar"]
    for other in rest:
        assert all(x.tobytes() == y.tobytes() for x, y in zip(first, other))


@isas("qrecurrent")
def test_finer_weights_come_near_to_the_float_kernel(isa):
    values = example(5, 4, 24)
    given = dict(zip(NAMES, values))
    w = given["w"].transpose(0, 1, 3, 2, 4).reshape(4, 32, 24)[:, :24].astype(np.float32)
    w = (w - given["wzp"][:, :24, None]) * given["scale"][:, :, None]
    floats = dict(
        zip(native.recurrent.spec.by_name, module("recurrent").example(np.random.default_rng(0), 4, 5, 4, 24))
    )
    floats |= {n: x.copy() if n.startswith("out") else x for n, x in given.items() if n in floats}
    floats |= {"w": module("recurrent").pack(w.reshape(-1, 24))}
    native.recurrent(**floats)
    for got, name in zip(run("qrecurrent", values, isa), ("out", "out_h", "out_c")):
        np.testing.assert_allclose(got, floats[name], 0.03, 0.03)


@isas("qrecurrent")
@pytest.mark.parametrize("t,b", [(0, 3), (3, 0)])
def test_without_time_steps_the_states_stay(isa, t, b):
    values = example(t, b, 5)
    check("qrecurrent", values, isa) if not native.qrecurrent.impl(isa).prepare else run("qrecurrent", values, isa)
