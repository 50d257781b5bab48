"""reduce against its reference in float64."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress.kernels import module

ref = module("reduce")
SHAPES = [(2, 50, 3), (3, 200, 1), (2, 7, 1), (1, 49, 130), (2, 1, 5), (2, 3000, 65), (0, 3, 4), (2, 3, 0)]


@isas("reduce")
@pytest.mark.parametrize("mode", ref.MODES)
def test_modes(isa, mode):
    for outer, r, inner in SHAPES[:5]:
        values = ref.example(np.random.default_rng(r), outer, r, inner, ref.MODES.index(mode))
        exact = mode in ("max", "min")
        check("reduce", values, isa, np.testing.assert_array_equal if exact else close(2e-6, 2e-6))
        same_everywhere("reduce", values)


@isas("reduce")
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(isa, shape):
    check("reduce", ref.example(np.random.default_rng(0), *shape), isa, close(1e-6, 1e-7))


@isas("reduce")
@pytest.mark.parametrize("inner", [1, 3])
def test_a_long_mean_is_accurate(isa, inner):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (1, 300_000, inner)).astype(np.float32)
    check("reduce", [x, 1, np.zeros((1, inner), np.float32)], isa, close(2e-7, 0))


@isas("reduce")
@pytest.mark.parametrize("inner", [1, 3])
def test_of_nothing_and_of_infinities(isa, inner):
    empty = np.zeros((2, 0, inner), np.float32)
    for mode in range(10):
        if mode != 1:
            check("reduce", [empty, mode, np.zeros((2, inner), np.float32)], isa)
    x = np.zeros((3, 70, inner), np.float32)
    x[0] = -np.inf
    x[1, 5] = np.inf
    x[2, 6] = np.nan
    for mode in (2, 3, 9):
        check("reduce", [x, mode, np.zeros((3, inner), np.float32)], isa)
