"""permute against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("permute")
CASES = [
    ((2, 3, 5, 7), (0, 2, 3, 1), "float32"),
    ((1, 33, 9, 17), (0, 2, 3, 1), "float32"),
    ((2, 9, 17, 70), (0, 3, 1, 2), "float32"),
    ((3, 65, 131), (0, 2, 1), "uint8"),
    ((130, 33), (1, 0), "uint16"),
    ((20, 70), (1, 0), "float64"),
    ((2, 3, 2, 3, 2, 5), (5, 0, 4, 1, 3, 2), "float32"),
    ((4, 5, 1), (1, 0, 2), "uint8"),
    ((3, 0, 5), (2, 1, 0), "float32"),
    ((5000,), (0,), "float32"),
    ((1, 3, 19, 21), (0, 2, 3, 1), "uint8"),
    ((1, 3, 19, 21), (0, 2, 3, 1), "float32"),
    ((2, 19, 21, 3), (0, 3, 1, 2), "uint8"),
    ((2, 19, 21, 3), (0, 3, 1, 2), "float32"),
    ((3, 3), (1, 0), "float32"),
]


@isas("permute")
@pytest.mark.parametrize("shape,axes,dtype", CASES)
def test_transposes(isa, shape, axes, dtype):
    values = ref.example(np.random.default_rng(0), shape, axes, dtype)
    out = np.zeros_like(values[1])
    out[...] = values[0]
    (got,) = check("permute", values, isa)
    np.testing.assert_array_equal(got, out)


@isas("permute")
@pytest.mark.parametrize("run", [1, 3, 4, 12, 40])
def test_writes_a_slice_of_a_larger_array_and_reads_broadcasts(isa, run):
    rng = np.random.default_rng(1)
    x = np.broadcast_to(rng.integers(0, 255, (1, 1, 1, 9, 1, 5, run), np.uint8), (1, 1, 2, 9, 3, 5, run))
    whole = np.zeros((1, 1, 2, 9, 3, 8, run), np.uint8)
    (got,) = check("permute", [x, whole[..., 2:7, :]], isa)
    np.testing.assert_array_equal(got, x)


@isas("permute")
def test_rows_may_be_turned_and_strided_on_both_sides(isa):
    x = np.random.default_rng(2).integers(0, 255, (1, 1, 1, 40, 30, 3, 4), np.uint8)[:, :, :, ::2, 1:20]
    out = np.zeros((1, 1, 1, 3, 19, 20, 4), np.uint8).transpose(0, 1, 2, 5, 4, 3, 6)
    check("permute", [x, out], isa)
