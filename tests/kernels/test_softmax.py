"""softmax against its reference in float64."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
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
