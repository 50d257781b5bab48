"""softmax against its reference in float64."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress import native
from pycompress.kernels import module

ref = module("softmax")
SHAPES = [
    (2, 50, 1),
    (3, 1000, 1),
    (2, 7, 5),
    (1, 3, 70),
    (4, 1, 1),
    (2, 32, 1),
    (0, 3, 1),
    (2, 0, 3),
    (70, 2, 1),
    (33, 33, 1),
    (3, 47, 1),
    (2, 64, 1),
    (2, 71, 1),
    (5, 0, 1),
    (40, 8, 1),
    (7, 17, 1),
    (7, 31, 1),
]


@isas("softmax")
@pytest.mark.parametrize("log", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_reference(isa, shape, log):
    values = ref.example(np.random.default_rng(0), *shape, log)
    check("softmax", values, isa, close(2e-6, 1e-6 if log else 1e-30))
    same_everywhere("softmax", values)


@isas("softmax")
@pytest.mark.parametrize("inner", [1, 2])
def test_large_logits_do_not_overflow(isa, inner):
    x = np.zeros((1, 40, inner), np.float32)
    x[0, :4] = np.array([[1e30], [-1e30], [-np.inf], [1e30]])
    check("softmax", [x, 0, np.zeros_like(x)], isa, close(1e-6, 1e-37))


@isas("softmax")
@pytest.mark.parametrize("log", [0, 1])
@pytest.mark.parametrize("shape", [(40, 3, 1), (40, 8, 1), (20, 31, 1), (20, 100, 1), (2, 5000, 1), (2, 100, 9)])
def test_errors_are_within_the_stated_bounds(isa, shape, log):
    rng = np.random.default_rng(2)
    x = (rng.standard_normal(shape) * rng.choice([1e-3, 1, 30], (shape[0], 1, 1))).astype(np.float32)
    got = np.empty_like(x)
    native.softmax(x, log, got, isa=isa)
    down = x.max(1, keepdims=True) - x.astype(np.float64)
    total = np.exp(-down).sum(1, keepdims=True)
    if log:
        want, bound = -down - np.log(total), (2 * down + 4 * np.log(shape[1]) + shape[1] / 32 + 11) * 2.0**-24
    else:
        want = np.exp(-down) / total
        bound = (down + np.log(shape[1]) + shape[1] / 32 + 11) * 2.0**-24 * want + 2.0**-126
    assert (abs(got - want) <= bound).all()


@isas("softmax")
@pytest.mark.parametrize("r", [5, 20, 70])
def test_masked_elements_are_zero_and_nan_spreads_over_its_row_only(isa, r):
    x = np.random.default_rng(3).standard_normal((4, r, 1)).astype(np.float32)
    x[0, ::2], x[1, 1], x[2, r - 1] = -np.inf, np.nan, -200
    got = np.empty_like(x)
    native.softmax(x, 0, got, isa=isa)
    assert not got[0, ::2].any() and got[0, 1::2].all() and got[2, r - 1] == 0
    assert np.isnan(got[1]).all() and np.isfinite(got[[0, 2, 3]]).all()
