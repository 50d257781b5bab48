"""pool against its reference, and that against ONNX's words."""

import numpy as np
import pytest

from cases import check, close, isas, reference, same_everywhere
from pycompress.kernels import module

ref = module("pool")
GEOMETRY = [
    {},
    {"k": (3, 3), "s": (2, 2), "pads": (0, 0, 1, 1), "c": 33},
    {"k": (7, 6), "s": (1, 1), "pads": (0, 0, 0, 0), "c": 70},
    {"k": (2, 2), "s": (2, 2), "d": (2, 3), "pads": (2, 1, 2, 1)},
    {"k": (3, 3), "s": (2, 2), "pads": (1, 1, 1, 1), "o": (5, 4)},
    {"k": (1, 1), "s": (5, 5), "pads": (3, 3, 3, 3)},
    {"b": 0},
    {"c": 0},
]


@isas("pool")
@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize("geometry", GEOMETRY)
def test_equals_reference(isa, mode, geometry):
    values = ref.example(np.random.default_rng(0), mode=mode, **geometry)
    check("pool", values, isa, close() if mode else np.testing.assert_array_equal)
    same_everywhere("pool", values)


def test_ceil_mode_counts_pads_but_nothing_beyond():
    x = np.ones((1, 4, 4, 1), np.float32)
    values = [x, 2, 3, 3, 2, 2, 1, 1, 1, 1, 0, 0, np.zeros((1, 3, 3, 1), np.float32)]
    (out,) = reference("pool", values)
    np.testing.assert_allclose(out[0, :, :, 0], np.outer([2 / 3, 1, 1], [2 / 3, 1, 1]), rtol=1e-6)


@isas("pool")
def test_windows_far_outside_are_empty(isa):
    x = np.ones((1, 2, 2, 3), np.float32)
    for mode, expected in enumerate([-np.inf, 0, 0]):
        values = [x, mode, 2, 2, 1 << 40, 1 << 62, 1 << 19, 1, 5, 1 << 50, 0, 0, np.zeros((1, 2, 2, 3), np.float32)]
        assert (check("pool", values, isa)[0] == expected).all()


@isas("pool")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_nan_is_the_maximum_wherever_it_is(isa, k):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 6, 6, 41)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    values = [x, 0, k, k, 1, 1, 1, 1, 0, 0, 0, 0, np.zeros((1, 7 - k, 7 - k, 41), np.float32)]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), (1, 2))
    np.testing.assert_array_equal(check("pool", values, isa)[0], windows.max((-2, -1)))
