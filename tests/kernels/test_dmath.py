"""dmath against its reference, which is numpy's and Python's."""

import numpy as np
import pytest

from cases import check, close, isas
from pycompress.kernels import module

ref = module("dmath")
SHAPES = [((2, 3, 70), None), ((2, 3, 9), (9,)), ((3, 9), (1,)), ((2, 3, 9), (3, 1)), ((3, 0), None), ((), None)]


def of(op, a, b, isa, dtype="float64"):
    a, b = (ref.six(np.asarray(x, dtype)) for x in (a, b))
    (got,) = check("dmath", [a, b, ref.OPS.index(op), np.zeros(a.shape, dtype)], isa, close(1e-12, 0))
    return got.reshape(-1)


@isas("dmath")
@pytest.mark.parametrize("dtype, rtol", [("float32", 1.2e-7), ("float64", 1e-14)])
@pytest.mark.parametrize("op", ref.OPS)
def test_every_function_of_both_types(isa, dtype, rtol, op):
    for shape, b_shape in SHAPES:
        values = ref.example(np.random.default_rng(0), shape, b_shape, ref.OPS.index(op), dtype)
        check("dmath", values, isa, close(rtol, 1e-15))


@isas("dmath")
def test_a_long_row_is_cut_into_units(isa):
    check("dmath", ref.example(np.random.default_rng(1), (2, 2500), (1,), 0, "float64"), isa)


@isas("dmath")
def test_the_rest_has_the_sign_of_the_divisor(isa):
    inf, nan = np.inf, np.nan
    a, b = [7, -7, 7, -7, 0, 3, -3, inf, 1], [3, 3, -3, -3, -5, inf, inf, 2, 0]
    np.testing.assert_array_equal(of("mod", a, b, isa), [1, 2, -2, -1, 0, 3, inf, nan, nan])
    assert np.signbit(of("mod", [0.0], [-5.0], isa)).all()


@isas("dmath")
def test_a_nan_is_the_smaller_and_the_larger(isa):
    for op in ("min", "max"):
        assert np.isnan(of(op, [1, np.nan], [np.nan, 1], isa)).all()


@isas("dmath")
def test_float32_is_rounded_once(isa):
    a, b = np.float32(16777216), np.float32(1.0000001)
    assert of("add", [a], [b], isa, "float32")[0] == np.float32(np.float64(a) + np.float64(b))
