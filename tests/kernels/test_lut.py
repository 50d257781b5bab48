"""lut against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("lut")


@isas("lut")
@pytest.mark.parametrize(
    "m,n,tables",
    [
        (7, 33, 1),
        (7, 33, 33),
        (1, 5000, 1),
        (500, 3, 3),
        (600, 16, 16),
        (300, 24, 24),
        (17, 48, 48),
        (130, 33, 33),
        (4, 1, 1),
        (0, 3, 1),
        (3, 4, 2),
    ],
)
def test_equals_reference(isa, m, n, tables):
    x, table, out = ref.example(np.random.default_rng(0), m, n, tables)
    (got,) = check("lut", [x, table, out], isa)
    if tables == n:
        np.testing.assert_array_equal(got, table[np.arange(n), x])


@isas("lut")
def test_rows_may_be_apart(isa):
    x, table, out = ref.example(np.random.default_rng(0), 9, 40, 17)
    check("lut", [x[:, 3:20], table, out[:, :17]], isa)
