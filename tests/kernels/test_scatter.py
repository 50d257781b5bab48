"""scatter against its reference, which is numpy's."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("scatter")


@isas("scatter")
@pytest.mark.parametrize("dtype", ref.TYPES)
@pytest.mark.parametrize("op", range(len(ref.OPS)))
def test_rows_are_written_in_order_and_none_outside(isa, dtype, op):
    for rows, inner, count in [(7, 5, 20), (1, 1, 3), (300, 1, 40), (3, 2500, 6), (4, 3, 0), (0, 3, 4), (4, 0, 2)]:
        check("scatter", ref.example(np.random.default_rng(0), rows, inner, count, op, dtype), isa)


@isas("scatter")
def test_integers_wrap_around(isa):
    x, at = np.array([[2**31 - 1], [2**16]], np.int32), np.array([0, 1])
    for op, want in ((1, [-(2**31), 2**17]), (2, [2**31 - 1, 0])):
        (got,) = check("scatter", [x, at, np.array([[1], [2**16]], np.int32), op, np.zeros_like(x)], isa)
        assert got.ravel().tolist() == want


@isas("scatter")
@pytest.mark.parametrize("op", [3, 4])
def test_a_nan_stays_and_a_new_one_is_taken_over(isa, op):
    x, u = np.array([[np.nan], [1]], np.float32), np.array([[1], [np.nan]], np.float32)
    (got,) = check("scatter", [x, np.array([0, 1]), u, op, np.zeros_like(x)], isa)
    assert np.isnan(got).all()
