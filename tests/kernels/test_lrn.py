"""lrn against its reference in float64."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("lrn")


@isas("lrn")
@pytest.mark.parametrize(
    "m,c,size", [(5, 20, 5), (3, 7, 4), (2, 3, 1), (2, 3, 1 << 40), (2, 1, 3), (0, 3, 3), (3, 0, 3)]
)
def test_equals_reference(isa, m, c, size):
    values = ref.example(np.random.default_rng(0), m, c, size)
    check("lrn", values, isa, close(2e-6, 0))
    same_everywhere("lrn", values)
