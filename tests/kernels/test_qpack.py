"""qpack against its reference, and that against qgemm's pack."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("qpack")


@isas("qpack")
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(
    "n,s,length", [(37, 2, 9), (16, 1, 4), (1, 9, 3), (40, 1, 17), (0, 1, 4), (3, 0, 4), (3, 2, 0)]
)
def test_equals_reference(isa, n, s, length, dtype):
    x, out, colsum = ref.example(np.random.default_rng(0), n, s, length, dtype)
    _, sums = check("qpack", [x, out, colsum], isa)
    np.testing.assert_array_equal(sums, (x.astype(np.int32) - (128 if dtype == "uint8" else 0)).sum((1, 2)))
    turned = np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0)
    check("qpack", [turned, out, colsum], isa)
