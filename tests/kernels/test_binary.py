"""binary against its reference: exact, but for pow and the activations."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("binary")
SHAPES = [
    ((2, 3, 4, 5), None),
    ((2, 7, 33), (33,)),
    ((2, 7, 33), (2, 1, 33)),
    ((2, 7, 33), (2, 7, 1)),
    ((3, 2500), (1,)),
    ((2, 2, 2, 2, 2, 3), (2, 1, 2, 1, 2, 1)),
    ((1, 1), None),
    ((500, 10), (10,)),  # a row for all rows, side by side
    ((3, 900), (900,)),
    ((3, 130), ()),
    ((4, 0, 3), (4, 1, 3)),
]


@isas("binary")
@pytest.mark.parametrize("shape,b_shape", SHAPES)
def test_broadcasts(isa, shape, b_shape):
    values = ref.example(np.random.default_rng(0), shape, b_shape)
    check("binary", values, isa)
    check("binary", [values[1], values[0], *values[2:]], isa)


@isas("binary")
@pytest.mark.parametrize("op", ref.OPS)
def test_operations(isa, op):
    values = ref.example(np.random.default_rng(1), (3, 40), (40,), ref.OPS.index(op))
    values[0] = abs(values[0]) if op == "pow" else values[0]
    check("binary", values, isa, close(2.0**-22, 0) if op == "pow" else np.testing.assert_array_equal)


@isas("binary")
@pytest.mark.parametrize("act", range(9))
def test_activations(isa, act):
    check("binary", ref.example(np.random.default_rng(2), (3, 40), op=2, act=act), isa, close())


@pytest.mark.parametrize("op", range(9))
def test_every_isa_says_the_same(op):
    same_everywhere("binary", ref.example(np.random.default_rng(3), (3, 40), op=op, act=8))


@isas("binary")
@pytest.mark.parametrize("op", ["min", "max"])
def test_nan_on_either_side_gives_nan(isa, op):
    a = ref.six(np.array([np.nan, 1, np.nan, 2], np.float32))
    b = ref.six(np.array([1, np.nan, np.nan, 3], np.float32))
    values = [a, b, ref.OPS.index(op), 0, np.zeros(2, np.float32), np.zeros_like(a)]
    assert np.isnan(check("binary", values, isa)[0]).sum() == 3


@isas("binary")
def test_strided_on_all_sides(isa):
    a, b, op, act, params, _ = ref.example(np.random.default_rng(4), (6, 5, 8))
    out = np.zeros((1, 1, 1, 8, 5, 6), np.float32).transpose(0, 1, 2, 5, 4, 3)
    check("binary", [a[..., ::2], b[..., 1::2], op, 1, params, out[..., ::2]], isa)
