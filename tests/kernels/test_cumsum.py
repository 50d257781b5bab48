"""cumsum against its reference and numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("cumsum")


@isas("cumsum")
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_sums_and_products_run_from_either_end_with_or_without_their_element(isa, dtype, exclusive, reverse):
    for outer, r, inner in [(2, 50, 3), (3, 200, 1), (1, 3, 130), (2, 1, 64), (2, 0, 3)]:
        for product in (0, 1):
            given = ref.example(np.random.default_rng(0), outer, r, inner, exclusive, reverse, dtype, product)
            check("cumsum", given, isa)


@isas("cumsum")
def test_a_long_sum_of_floats_loses_nothing(isa):
    x = np.full((1, 100_000, 1), 0.1, np.float32)
    (got,) = check("cumsum", [x, 0, 0, 0, np.zeros_like(x)], isa)
    np.testing.assert_allclose(got[0, :, 0], np.cumsum(x[0, :, 0], dtype=np.float64), rtol=6e-8)
