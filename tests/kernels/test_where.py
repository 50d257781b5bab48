"""where against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("where")


@isas("where")
@pytest.mark.parametrize("dtype", ref.TYPES)
@pytest.mark.parametrize(
    "shape,b_shape",
    [((2, 3, 4, 5), None), ((2, 7, 33), (33,)), ((3, 2500), (1,)), ((2, 7, 33), (7, 1)), ((3, 0), None)],
)
def test_chooses(isa, dtype, shape, b_shape):
    cond, a, b, out = ref.example(np.random.default_rng(0), shape, b_shape, dtype)
    (got,) = check("where", [cond, a, b, out], isa)
    np.testing.assert_array_equal(got, np.where(cond, a, b))
    check("where", [cond, b, a, out], isa)


@isas("where")
def test_one_condition_for_a_row(isa):
    cond, a, b, out = ref.example(np.random.default_rng(1), (3, 7, 9))
    one = np.lib.stride_tricks.as_strided(cond, cond.shape, (*cond.strides[:-1], 0))
    check("where", [one, a, b, out], isa)
