"""qbinary is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress import native
from pycompress.kernels import module

ref = module("qbinary")
SHAPES = [
    ((2, 3, 4, 5), None),
    ((2, 7, 33), (33,)),
    ((2, 7, 33), (2, 1, 33)),
    ((2, 7, 33), (2, 7, 1)),
    ((2, 7, 32), (2, 1, 32)),
    ((9, 72), (72,)),
    ((9, 130), (130,)),
    ((3, 2048), (2048,)),
    ((3, 2049), (2049,)),
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
def test_every_value_times_every_factor(isa):
    """A factor a channel, which the AVX2 kernel holds as floats; at both ends of the zero points."""
    a, b = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256, 1), np.arange(256, dtype=np.uint8)
    out, scale = np.zeros_like(a), np.array([0.0078125, 1], np.float32)
    for za, zb in ((0, 0), (255, 0), (0, 255), (255, 255), (128, 3), (256, 3)):
        zero = np.array([za, zb, 100, 3, 251], np.int32)
        check("qbinary", [ref.six(a), ref.six(ref.broadcast(b, a.shape)), 1, zero, scale, ref.six(out)], isa)


@isas("qbinary")
@pytest.mark.parametrize("op", [0, 1])
@pytest.mark.parametrize("b_shape", [None, (1,), (70,)])
def test_the_output_may_be_an_operand(isa, op, b_shape):
    values = ref.example(np.random.default_rng(0), (5, 70), b_shape, op)
    expected = values[0].copy(), *values[1:5], values[5].copy()
    native.qbinary(*expected, isa=isa)
    native.qbinary(*values[:5], values[0], isa=isa)
    np.testing.assert_array_equal(values[0], expected[5])


@isas("qbinary")
@pytest.mark.parametrize("op", [0, 1])
@pytest.mark.parametrize("shape,b_shape", [((2, 3, 4, 5), None), ((3, 70), None), ((3, 70), (70,)), ((3, 70), (1,))])
def test_any_zero_points_and_scales(isa, op, shape, b_shape):
    values = ref.example(np.random.default_rng(0), shape, b_shape, op=op)
    for scale in ([1e30, 1], [np.inf, -np.inf], [np.nan, 1]):
        values[3:5] = np.array([-(2**31), 2**31 - 1, 300, -5, 256], np.int32), np.array(scale, np.float32)
        check("qbinary", values, isa)
