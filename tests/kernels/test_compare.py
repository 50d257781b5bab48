"""compare against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("compare")
NAMES = dict(eq="equal", lt="less", le="less_equal", gt="greater", ge="greater_equal", ne="not_equal")


@isas("compare")
@pytest.mark.parametrize("op", ref.OPS)
@pytest.mark.parametrize("dtype", ref.TYPES)
@pytest.mark.parametrize(
    "shape,b_shape", [((2, 7, 33), None), ((2, 7, 33), (33,)), ((3, 2500), (1,)), ((2, 7, 33), (7, 1)), ((3, 0), None)]
)
def test_compares(isa, op, dtype, shape, b_shape):
    a, b, code, out = ref.example(np.random.default_rng(0), shape, b_shape, ref.OPS.index(op), dtype)
    if a.size and dtype[0] == "f":
        a[..., 0] = np.nan
    (got,) = check("compare", [a, b, code, out], isa)
    np.testing.assert_array_equal(got, getattr(np, NAMES[op])(a, b))
