"""quantize is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("quantize")
TYPES = ["uint8", "int8", "int16", "uint16", "int32"]
SHAPES = [(3, 1, 40), (2, 5, 33), (70, 19, 1), (1, 1, 5000), (2, 3, 5000), (0, 1, 4), (2, 0, 3)]


@isas("quantize")
@pytest.mark.parametrize("dtype", TYPES)
def test_types(isa, dtype):
    for shape in SHAPES[:3]:
        check("quantize", ref.example(np.random.default_rng(0), *shape, dtype), isa)


@isas("quantize")
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(isa, shape):
    check("quantize", ref.example(np.random.default_rng(0), *shape), isa)


@isas("quantize")
def test_ties_go_to_even_before_the_zero_point(isa):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, np.inf, np.nan], np.float32).reshape(1, 1, -1)
    one, zero, limits = np.ones(1, np.float32), np.array([3], np.int32), np.array([0, 255], np.int32)
    (got,) = check("quantize", [x, one, zero, limits, np.zeros(x.shape, np.uint8)], isa)
    assert got.ravel().tolist() == [3, 5, 5, 3, 1, 255, 0, 255, 0]


@isas("quantize")
@pytest.mark.parametrize("zero", [0, 5, -(2**31), 2**31 - 1])
def test_any_zero_point_and_limits(isa, zero):
    x = np.array([0, 1e5, -1e5, 3e9, -3e9, np.nan, np.inf], np.float32).reshape(1, 1, -1)
    limits = np.array([-(2**31), 2**31 - 1], np.int32)
    values = [x, np.ones(1, np.float32), np.array([zero], np.int32), limits, np.zeros(x.shape, np.int32)]
    check("quantize", values, isa)
