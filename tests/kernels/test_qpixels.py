"""qpixels is exact, although it does not divide."""

import numpy as np
import pytest

from cases import check, isas, reference
from pycompress import native
from pycompress.kernels import module

ref = module("qpixels")


@isas("qpixels")
@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("c", range(5))
@pytest.mark.parametrize("iw", [1, 3, 4, 7, 8, 17, 40])
def test_equals_reference(isa, nhwc, c, iw):
    check("qpixels", ref.example(np.random.default_rng(iw), 2, c, 3, iw, (1, 2, 0, 3), nhwc), isa)


@isas("qpixels")
@pytest.mark.parametrize("shape", [(1, 3, 70, 100), (3, 3, 0, 4), (0, 3, 2, 2), (1, 3, 2, 0), (1, 1, 1, 1)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (3, 3, 3, 3), (0, 0, 1, 1)])
def test_sizes_and_borders(isa, shape, pads):
    check("qpixels", ref.example(np.random.default_rng(0), *shape, pads), isa)


@isas("qpixels")
@pytest.mark.parametrize("strides", [(1, 2), (1, 3), (1, 5), (2, 1), (2, 6), (0, 0), (0, 1), (1, 0)])
def test_any_strides(isa, strides):
    """Channels and pixels lie so many floats apart; they may overlap."""
    x, *rest = ref.example(np.random.default_rng(0), 1, 3, 4, 19)
    floats = np.random.default_rng(1).standard_normal(1000).astype(np.float32) * 100
    xc, xw = strides
    x = np.lib.stride_tricks.as_strided(floats, x.shape, (0, 4 * xc, 4 * 130, 4 * xw))
    check("qpixels", [x, *rest], isa)


@isas("qpixels")
@pytest.mark.parametrize("nhwc", [False, True])
def test_ties_limits_and_what_is_no_number(isa, nhwc):
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-37, 3e38], np.float32)
    x = x.reshape((1, 1, 4, 3) if nhwc else (1, 3, 1, 4))
    x = x.transpose(0, 3, 1, 2) if nhwc else x
    for limits in ([0, 255], [3, 250], [-70, 300], [9, 2]):
        given = [x, np.ones(1, np.float32), np.array([3], np.int32), np.array(limits, np.int32), 0, 0]
        check("qpixels", [*given, np.zeros((1, 1, 4, 4), np.uint8)], isa)


@isas("qpixels")
@pytest.mark.parametrize("zero", [0, 255, -5, 300, 1 << 20, -(2**31), 2**31 - 1])
@pytest.mark.parametrize("scale", [1, 0, -1, 2e-38, 1e-30, 1e30, np.inf, np.nan])
def test_any_zero_point_and_scale(isa, zero, scale):
    x, _, _, clamp, *rest = ref.example(np.random.default_rng(0), 1, 3, 2, 24)
    x[0, 0, 0, :6] = 0, np.inf, -np.inf, np.nan, 3e38, -3e38
    check("qpixels", [x, np.array([scale], np.float32), np.array([zero], np.int32), clamp, *rest], isa)


@isas("qpixels")
def test_quotients_near_ties_are_rounded_as_a_division_rounds_them(isa):
    """Floats next to (k + 1/2) scale, for scales of all mantissas: what a product with 1 / scale gets wrong."""
    rng, zero, limits = np.random.default_rng(0), np.array([128], np.int32), np.array([0, 255], np.int32)
    wrong = 0
    for _ in range(300):
        scale = np.exp2(rng.uniform(-20, 20, 1)).astype(np.float32)
        ties = ((np.arange(-130, 130) + 0.5) * np.float64(scale)).astype(np.float32).view(np.int32)
        x = (ties[:, None] + np.arange(-3, 4, dtype=np.int32)).view(np.float32).reshape(1, 1, 1, -1)
        out = np.zeros((1, 1, x.size, 4), np.uint8)
        native.qpixels(x, scale, zero, limits, 0, 0, out, isa=isa)
        want = np.clip(np.rint(x / scale) + 128, 0, 255).ravel()
        np.testing.assert_array_equal(out[0, 0, :, 0], want)
        wrong += (np.clip(np.rint(x * (np.float32(1) / scale)) + 128, 0, 255).ravel() != want).sum()
    assert wrong > 1000  # of the quotients that a product would give


def test_the_pixels_are_those_of_quantize_in_another_order():
    x, scale, zero, clamp, *rest = ref.example(np.random.default_rng(0), 2, 3, 5, 7, pads=(0, 0, 0, 0))
    (pixels,) = reference("qpixels", [x, scale, zero, clamp, *rest])
    codes = np.zeros((2, 3, 35), np.uint8)
    given = [x.reshape(2, 3, 35), np.repeat(scale, 3), np.repeat(zero, 3), clamp, codes]
    (codes,) = reference("quantize", given)
    np.testing.assert_array_equal(pixels[..., :3].transpose(0, 3, 1, 2).reshape(2, 3, 35), codes)
