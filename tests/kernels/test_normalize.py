"""normalize against its reference: two roundings (one, where the reference's compiler fuses them)."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("normalize")


@isas("normalize")
@pytest.mark.parametrize("m,c", [(50, 3), (7000, 3), (5, 1), (3, 255), (3, 256), (2, 1000), (0, 3), (4, 0)])
def test_equals_reference(isa, m, c):
    values = ref.example(np.random.default_rng(0), m, c)
    check("normalize", values, isa, close(0, 2.0**-21))
    same_everywhere("normalize", values)
