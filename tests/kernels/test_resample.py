"""resample against its reference."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("resample")


@isas("resample")
@pytest.mark.parametrize(
    "outer,r,inner,m,taps",
    [(2, 7, 5, 12, 2), (3, 20, 1, 45, 4), (1, 4, 130, 3, 3), (2, 3, 4, 0, 2), (0, 3, 4, 5, 2), (1, 0, 4, 5, 0)],
)
def test_equals_reference(isa, outer, r, inner, m, taps):
    values = ref.example(np.random.default_rng(0), outer, r, inner, m, taps)
    check("resample", values, isa, close())
    same_everywhere("resample", values)


@isas("resample")
@pytest.mark.parametrize("inner", [1, 3])
def test_doubles_an_axis(isa, inner):
    x = np.random.default_rng(0).standard_normal((2, 5, inner), np.float32)
    index, weight = np.repeat(np.arange(5, dtype=np.int32), 2)[:, None], np.ones((10, 1), np.float32)
    (got,) = check("resample", [x, index, weight, np.zeros((2, 10, inner), np.float32)], isa)
    np.testing.assert_array_equal(got, x.repeat(2, 1))
