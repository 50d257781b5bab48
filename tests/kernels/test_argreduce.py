"""argreduce against its reference and numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("argreduce")


@isas("argreduce")
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("last", [0, 1])
def test_finds_the_first_or_the_last_of_the_extremes(isa, dtype, mode, last):
    for outer, r, inner in [(2, 50, 3), (3, 300, 1), (1, 3, 130), (2, 1, 64), (2, 0, 3)]:
        x, *how, out = ref.example(np.random.default_rng(0), outer, r, inner, mode, last, dtype)
        (got,) = check("argreduce", [x, *how, out], isa)
        if r and not last:
            np.testing.assert_array_equal(got, x.argmin(1) if mode else x.argmax(1))


@isas("argreduce")
def test_a_nan_counts_only_where_it_stands_first(isa):
    n = np.nan
    x = np.float32([[1, n, 3, 2], [n, 1, 3, 2], [3, 1, n, 3], [n, n, n, n], [-np.inf] * 4])[:, :, None]
    for last, expected in ((0, [2, 0, 0, 0, 0]), (1, [2, 0, 3, 0, 3])):
        (got,) = check("argreduce", [x, 0, last, np.zeros((5, 1), np.int64)], isa)
        assert got.ravel().tolist() == expected
