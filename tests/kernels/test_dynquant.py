"""dynquant is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("dynquant")


@isas("dynquant")
@pytest.mark.parametrize("n", [1000, 1, 63, 64, 65, 0])
def test_equals_reference(isa, n):
    check("dynquant", ref.example(np.random.default_rng(n), n), isa)


@isas("dynquant")
@pytest.mark.parametrize(
    "x", [[0, 0], [1, 2], [-3, -1], [-1, 1], [0, 2, -3, -2.5, 1.34, 0.5], [1e-45, 0], [3e38, -3e38]]
)
def test_ranges(isa, x):
    x = np.array(x, np.float32)
    y, scale, zero = check(
        "dynquant", [x, np.zeros(len(x), np.uint8), np.zeros(1, np.float32), np.zeros(1, np.int32)], isa
    )
    if 1e-30 < abs(x).max() < 1e30:
        np.testing.assert_allclose((y.astype(np.int32) - zero) * scale, x, atol=scale[0] / 2 * 1.01)
