"""qpool is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("qpool")
GEOMETRY = [
    {},
    {"k": (3, 3), "s": (2, 2), "pads": (0, 0, 1, 1), "c": 65},
    {"k": (7, 6), "s": (1, 1), "pads": (0, 0, 0, 0), "c": 130},
    {"k": (2, 2), "s": (2, 2), "d": (2, 3), "pads": (2, 1, 2, 1)},
    {"k": (3, 3), "s": (2, 2), "pads": (1, 1, 1, 1), "o": (5, 4)},
    {"k": (1, 1), "s": (5, 5), "pads": (3, 3, 3, 3)},
    {"b": 1, "ih": 24, "iw": 25, "k": (23, 24), "pads": (0, 0, 0, 0), "c": 70},  # more than 16 bits can sum up
    {"b": 0},
    {"c": 0},
]


@isas("qpool")
@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize("geometry", GEOMETRY)
def test_equals_reference(isa, mode, geometry):
    check("qpool", ref.example(np.random.default_rng(0), mode=mode, **geometry), isa)


@isas("qpool")
def test_counted_pads_have_the_value_of_the_zero_point(isa):
    x = np.full((1, 2, 2, 3), 100, np.uint8)
    quant = [np.array([20], np.int32), np.ones(1, np.float32), np.array([7, 0, 255], np.int32)]
    values = [x, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, *quant, np.zeros((1, 2, 2, 3), np.uint8)]
    assert (check("qpool", values, isa)[0] == (100 + 3 * 20) / 4 - 20 + 7).all()


@isas("qpool")
@pytest.mark.parametrize("mode", range(3))
def test_any_zero_points_and_scale(isa, mode):
    values = ref.example(np.random.default_rng(0), mode=mode)
    for scale in (1e30, np.inf, np.nan, -1):
        values[12:15] = [np.array([-(2**31)], np.int32), np.array([scale], np.float32), np.full(3, 2**31 - 1, np.int32)]
        check("qpool", values, isa)
