"""spack against sgemm's pack."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("spack")


@isas("spack")
@pytest.mark.parametrize("n,k", [(37, 9), (16, 1), (1, 5), (32, 40), (0, 3), (3, 0)])
def test_equals_pack(isa, n, k):
    x, out = ref.example(np.random.default_rng(0), n, k)
    (got,) = check("spack", [x, out], isa)
    np.testing.assert_array_equal(got, module("sgemm").pack(x))
    turned = np.ascontiguousarray(x.T).T
    check("spack", [turned, out], isa, lambda y, _: np.testing.assert_array_equal(y, got))
