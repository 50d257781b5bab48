"""compare against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("compare")


@isas("compare")
@pytest.mark.parametrize("op", ref.OPS)
@pytest.mark.parametrize(
    "shape,b_shape", [((2, 7, 33), None), ((2, 7, 33), (33,)), ((3, 2500), (1,)), ((2, 7, 33), (7, 1)), ((3, 0), None)]
)
def test_compares(isa, op, shape, b_shape):
    a, b, code, out = ref.example(np.random.default_rng(0), shape, b_shape, ref.OPS.index(op))
    if a.size:
        a[..., 0] = np.nan
    (got,) = check("compare", [a, b, code, out], isa)
    name = {"eq": "equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal"}[op]
    np.testing.assert_array_equal(got, getattr(np, name)(a, b))
