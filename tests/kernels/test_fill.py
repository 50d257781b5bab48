"""fill against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("fill")


@isas("fill")
@pytest.mark.parametrize("elem", [1, 2, 3, 4, 8, 12])
@pytest.mark.parametrize("shape", [(2, 3, 5), (5000,), (3, 0)])
def test_writes_the_element_everywhere(isa, shape, elem):
    value, out = ref.example(np.random.default_rng(0), shape, elem)
    (got,) = check("fill", [value, out], isa)
    assert (got == value).all()


@isas("fill")
def test_leaves_what_lies_between_alone(isa):
    whole = np.zeros((1, 1, 1, 4, 9, 7, 4), np.uint8)
    value = np.array([1, 2, 3, 4], np.uint8)
    (got,) = check("fill", [value, whole[..., 1:8, 2:5, :]], isa)
    assert got.base is not None and int(np.count_nonzero(got)) == got.size
