"""topk against its reference, which sorts."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("topk")
TYPES = ["float32", "float64", "uint8", "int32", "uint32", "int64", "uint64"]
SIZES = [
    (2, 50, 3, 5),
    (3, 200, 1, 200),
    (1, 3, 130, 1),
    (2, 1, 4, 1),
    (2, 7, 3, 0),
    (2, 3, 2, 5),
    (2, 0, 3, 2),
    (0, 4, 2, 1),
]


@isas("topk")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("smallest", [0, 1])
def test_of_equal_elements_the_one_in_front_comes_first(isa, dtype, smallest):
    for outer, r, inner, k in SIZES:
        check("topk", ref.example(np.random.default_rng(0), outer, r, inner, k, smallest, dtype), isa)


@isas("topk")
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint64", "float64"])
def test_the_extremes_of_a_type_are_in_order(isa, dtype):
    limits = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    x = np.array([0, limits.max, limits.min, 1, limits.max - 1], dtype).reshape(1, -1, 1)
    values, _ = check("topk", [x, 0, np.zeros((1, 5, 1), dtype), np.zeros((1, 5, 1), np.int64)], isa)
    assert values.ravel().tolist() == sorted(x.ravel().tolist(), reverse=True)


@isas("topk")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_the_largest_and_the_zeros_are_equal(isa, dtype):
    x = np.array([-0.0, np.inf, np.nan, 0.0, -np.inf, -np.nan], dtype).reshape(1, -1, 1)
    for smallest, order in ((0, [2, 5, 1, 0, 3, 4]), (1, [4, 0, 3, 1, 2, 5])):
        _, index = check("topk", [x, smallest, np.zeros((1, 6, 1), dtype), np.zeros((1, 6, 1), np.int64)], isa)
        assert index.ravel().tolist() == order
