"""layernorm against its reference in float64."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("layernorm")


@isas("layernorm")
@pytest.mark.parametrize("rms", [0, 1])
@pytest.mark.parametrize("m,n", [(5, 70), (3, 1), (2, 32), (2, 1000), (0, 4)])
def test_equals_reference(isa, m, n, rms):
    values = ref.example(np.random.default_rng(0), m, n, rms)
    check("layernorm", values, isa, close(3e-6, 3e-6))
    same_everywhere("layernorm", values)


@isas("layernorm")
def test_scale_and_bias_may_be_left_out(isa):
    x, _, _, epsilon, rms, out = ref.example(np.random.default_rng(0))
    (got,) = check("layernorm", [x, None, None, epsilon, rms, out], isa, close(3e-6, 3e-6))
    np.testing.assert_allclose([got.mean(1), got.std(1)], [[0] * 5, [1] * 5], atol=1e-4)


@isas("layernorm")
@pytest.mark.parametrize("rms", [0, 1])
@pytest.mark.parametrize("size", [1e-30, 1e-18, 1e15, 1e20, 1e37])
def test_numbers_whose_squares_float_does_not_hold(isa, rms, size):
    x, scale, bias, _, _, out = ref.example(np.random.default_rng(0))
    check("layernorm", [x * np.float32(size), scale, bias, np.zeros(1, np.float32), rms, out], isa, close(1e-5, 1e-5))
