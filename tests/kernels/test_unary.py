"""unary against its reference, within 8 units of the last place."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("unary")
EXACT = ["none", "relu", "clip", "leaky", "sqrt", "abs", "neg", "floor", "ceil", "round", "reciprocal", "sign"]


@isas("unary")
@pytest.mark.parametrize("op", ref.OPS)
def test_equals_reference(isa, op):
    values = ref.example(np.random.default_rng(0), op=ref.OPS.index(op))
    values[0][0, :4] = values[0][0, :4].round()
    check("unary", values, isa, np.testing.assert_array_equal if op in EXACT else close(8 * 2.0**-24, 2.0**-23))


@pytest.mark.parametrize("op", ref.OPS)
def test_every_isa_says_the_same(op):
    same_everywhere("unary", ref.example(np.random.default_rng(1), 3, 2100, op=ref.OPS.index(op)))


@isas("unary")
def test_rows_may_be_apart_and_many(isa):
    x, op, params, _ = ref.example(np.random.default_rng(0), 500, 40, op=1)
    check("unary", [x[:, :9], op, params, np.zeros((500, 12), np.float32)[:, 3:]], isa)
    check("unary", [x[:0], op, params, np.zeros((0, 40), np.float32)], isa)


@isas("unary")
@pytest.mark.parametrize("op", ["exp", "sigmoid", "silu", "tanh", "softplus", "mish", "gelu", "elu", "hardswish"])
def test_extremes(isa, op):
    x = np.array(
        [[0, -0.0, 1e-30, -1e-5, 0.25, -0.25, 20, -20, 80, -80, 88.7, -87.5, 95, -103, 1e30, -1e9]], np.float32
    )
    x = np.concatenate([x, np.array([[np.inf]], np.float32)], 1)
    values = [x, ref.OPS.index(op), np.array([1, 1], np.float32), np.zeros_like(x)]
    (got,) = check("unary", values, isa, close(8 * 2.0**-24, 1e-28))
    assert np.isnan(check("unary", [x * np.float32(np.nan), *values[1:]], isa)[0]).all()
    del got
