"""qbinary is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("qbinary")
SHAPES = [
    ((2, 3, 4, 5), None),
    ((2, 7, 33), (33,)),
    ((2, 7, 33), (2, 1, 33)),
    ((2, 7, 33), (2, 7, 1)),
    ((3, 2500), None),
    ((3, 2500), (1,)),
    ((4, 0, 3), (4, 1, 3)),
]


@isas("qbinary")
@pytest.mark.parametrize("op", [0, 1])
@pytest.mark.parametrize("shape,b_shape", SHAPES)
def test_broadcasts(isa, shape, b_shape, op):
    values = ref.example(np.random.default_rng(0), shape, b_shape, op)
    check("qbinary", values, isa)
    check("qbinary", [values[1], values[0], *values[2:]], isa)


@isas("qbinary")
def test_every_pair_of_values(isa):
    a, b = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    rest = ref.example(np.random.default_rng(0))[3:5]
    for op in (0, 1):
        check("qbinary", [ref.six(a), ref.six(b), op, *rest, ref.six(np.zeros_like(a))], isa)


@isas("qbinary")
@pytest.mark.parametrize("op", [0, 1])
def test_any_zero_points_and_scales(isa, op):
    values = ref.example(np.random.default_rng(0), op=op)
    for scale in ([1e30, 1], [np.inf, -np.inf], [np.nan, 1]):
        values[3:5] = np.array([-(2**31), 2**31 - 1, 300, -5, 256], np.int32), np.array(scale, np.float32)
        check("qbinary", values, isa)
