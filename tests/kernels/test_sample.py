"""sample against its reference."""

import numpy as np
import pytest

from cases import check, close, isas
from pycompress.kernels import module

ref = module("sample")
SIZES = [(2, 3, (1, 5, 6), 70), (1, 1, (3, 4, 2), 9), (2, 2, (1, 1, 1), 65), (1, 0, (1, 2, 2), 5), (1, 2, (0, 3, 3), 6)]


@isas("sample")
@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize("padding", range(3))
@pytest.mark.parametrize("corners", range(2))
def test_any_place_is_sampled(isa, mode, padding, corners):
    for b, c, size, n in SIZES:
        check(
            "sample",
            ref.example(np.random.default_rng(0), b, c, size, n, mode, padding, corners),
            isa,
            close(1e-6, 1e-6),
        )


@isas("sample")
@pytest.mark.parametrize("mode", range(3))
def test_a_place_on_a_cell_has_its_value(isa, mode):
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 1, 3, 4)
    at = np.stack(np.meshgrid([0.0], [0.0, 1, 2], [0.0, 1, 2, 3], indexing="ij"), -1).reshape(1, -1, 3)
    (got,) = check("sample", [x, at.astype(np.float32), mode, 0, 0, np.zeros((1, 12, 1), np.float32)], isa)
    np.testing.assert_array_equal(got.ravel(), x.ravel())
