"""dynquant is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("dynquant")


@isas("dynquant")
@pytest.mark.parametrize("m, k", [(1, 1000), (5, 1), (3, 63), (2, 64), (4, 65), (2, 0), (0, 7)])
def test_equals_reference(isa, m, k):
    check("dynquant", ref.example(np.random.default_rng(k), m, k), isa)


@isas("dynquant")
def test_rows_may_lie_apart(isa):
    x, out, scale, zero = ref.example(np.random.default_rng(0), 3, 70)
    wide = np.full((3, 80), np.nan, np.float32)
    wide[:, :70] = x
    check("dynquant", [wide[:, :70], np.zeros((3, 75), np.uint8)[:, :70], scale, zero], isa)


@isas("dynquant")
@pytest.mark.parametrize(
    "x", [[0, 0], [1, 2], [-3, -1], [-1, 1], [0, 2, -3, -2.5, 1.34, 0.5], [1e-45, 0], [3e38, -3e38]]
)
def test_ranges(isa, x):
    x = np.array([x], np.float32)
    y, scale, zero = check(
        "dynquant", [x, np.zeros(x.shape, np.uint8), np.zeros(1, np.float32), np.zeros(1, np.int32)], isa
    )
    if 1e-30 < abs(x).max() < 1e30:
        np.testing.assert_allclose((y.astype(np.int32) - zero) * scale, x, atol=scale[0] / 2 * 1.01)


@isas("dynquant")
def test_a_row_too_small_for_a_scale_counts_as_zeros(isa):
    x = np.array([[1e-36, -2e-37], [1e-40, 0], [4e-36, 0]], np.float32)
    codes, scale, zero = check(
        "dynquant", [x, np.zeros((3, 2), np.uint8), np.zeros(3, np.float32), np.zeros(3, np.int32)], isa
    )
    np.testing.assert_array_equal(codes, [[0, 0], [0, 0], [255, 0]])
    np.testing.assert_allclose(scale, [1, 1, 4e-36 / 255])
