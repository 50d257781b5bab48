"""ibinary against its reference, whose numbers are Python's, and against what C calls undefined."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("ibinary")
SHAPES = [((2, 3, 70), None), ((2, 3, 9), (9,)), ((3, 9), (1,)), ((2, 3, 9), (3, 1)), ((3, 0), None), ((), None)]


def of(op, a, b, dtype, isa):
    a, b = (ref.six(np.asarray(x, dtype)) for x in (a, b))
    (got,) = check("ibinary", [a, b, ref.OPS.index(op), np.zeros(a.shape, dtype)], isa)
    return got.reshape(-1).tolist()


@isas("ibinary")
@pytest.mark.parametrize("dtype", ref.TYPES)
@pytest.mark.parametrize("op", ref.OPS)
def test_every_operation_of_every_type_is_exact_modulo_its_size(isa, dtype, op):
    for shape, b_shape in SHAPES:
        check("ibinary", ref.example(np.random.default_rng(0), shape, b_shape, ref.OPS.index(op), dtype), isa)


@isas("ibinary")
def test_a_long_row_is_cut_into_units(isa):
    check("ibinary", ref.example(np.random.default_rng(1), (2, 2500), (1,), 3, "int64"), isa)


@isas("ibinary")
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_no_division_traps(isa, dtype):
    low = int(np.iinfo(dtype).min)
    a, b = [low, low, 7, -7, 0, 7], [-1, 0, 0, -1, 0, -2]
    assert of("div", a, b, dtype, isa) == [low, 0, 0, 7, 0, -3]
    assert of("mod", a, b, dtype, isa) == [0, 0, 0, 0, 0, -1]
    assert of("fmod", a, b, dtype, isa) == [0, 0, 0, 0, 0, 1]


@isas("ibinary")
def test_numbers_wrap_around(isa):
    top = 2**31 - 1
    assert of("add", [top, -top - 1], [1, -1], "int32", isa) == [-top - 1, top]
    assert of("sub", [0], [2**63], "uint64", isa) == [2**63]
    assert of("mul", [2**16], [2**16], "int32", isa) == [0]


@isas("ibinary")
def test_powers_are_whole(isa):
    base, exponent = [2, -2, 3, -1, -1, 1, 0, 0, 5], [10, 3, -1, -3, -2, -9, -1, 0, 0]
    assert of("pow", base, exponent, "int32", isa) == [1024, -8, 0, -1, 1, 1, 0, 1, 1]
    assert of("pow", [3], [39], "int64", isa) == [3**39]


@isas("ibinary")
def test_shifts_past_the_end_give_zero(isa):
    assert of("shl", [3, 3, 3], [31, 32, 200], "uint32", isa) == [2**31, 0, 0]
    assert of("shr", [255, 255, 255], [7, 8, 9], "uint8", isa) == [1, 0, 0]
    assert of("shr", [-1, -1], [1, -1], "int32", isa) == [2**31 - 1, 0]
