"""dequantize is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("dequantize")
TYPES = ["uint8", "int8", "int16", "uint16", "int32"]
SHAPES = [(3, 1, 40), (2, 5, 33), (70, 19, 1), (1, 1, 5000), (2, 3, 5000), (0, 1, 4), (2, 0, 3)]


@isas("dequantize")
@pytest.mark.parametrize("dtype", TYPES)
def test_types(isa, dtype):
    for shape in SHAPES[:3]:
        check("dequantize", ref.example(np.random.default_rng(0), *shape, dtype), isa)


@isas("dequantize")
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(isa, shape):
    check("dequantize", ref.example(np.random.default_rng(0), *shape), isa)


@isas("dequantize")
def test_the_difference_wraps(isa):
    x = np.array([2**31 - 1, -(2**31), 0], np.int32).reshape(1, 1, -1)
    zero, scale = np.array([-1], np.int32), np.ones(1, np.float32)
    check("dequantize", [x, zero, scale, np.zeros(x.shape, np.float32)], isa)
