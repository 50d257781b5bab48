"""pdwconv against its reference and against float64."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("pdwconv")
ONE, TWO = (1, 1), (2, 2)
SIZES = [  # ih, iw, c, kernel, stride, dilation, pads
    (1, 1, 1, (1, 1), ONE, ONE, (0, 0, 0, 0)),
    (7, 7, 3, (3, 3), ONE, ONE, (1, 1, 1, 1)),
    (7, 7, 40, (5, 5), ONE, ONE, (2, 2, 2, 2)),
    (14, 14, 3, (3, 3), TWO, ONE, (1, 1, 1, 1)),
    (14, 14, 3, (5, 5), TWO, ONE, (1, 1, 2, 2)),
    (28, 28, 2, (3, 3), ONE, ONE, (1, 1, 1, 1)),
    (29, 37, 2, (3, 3), ONE, ONE, (1, 1, 1, 1)),
    (31, 43, 2, (3, 3), TWO, ONE, (0, 0, 1, 1)),
    (27, 30, 2, (5, 5), ONE, ONE, (2, 2, 2, 2)),
    (35, 51, 2, (5, 5), TWO, ONE, (2, 2, 2, 2)),
    (5, 6, 70, (3, 3), ONE, ONE, (1, 1, 1, 1)),  # two planes a unit, and a unit of fewer
    (10, 9, 2, (3, 3), ONE, ONE, (0, 0, 0, 0)),
    (2, 3, 4, (5, 5), ONE, ONE, (4, 4, 4, 4)),  # pads larger than the image
    (9, 1, 2, (3, 3), ONE, ONE, (1, 1, 1, 1)),
    (1, 70, 2, (3, 3), TWO, ONE, (1, 1, 1, 1)),
    (9, 8, 2, (3, 3), ONE, ONE, (40, 40, 40, 40)),  # most windows beyond the image
    (1, 1, 8, (5, 5), TWO, ONE, (9, 9, 9, 9)),
    (8, 12, 3, (5, 3), (2, 1), (2, 1), (3, 1, 3, 1)),
    (9, 33, 3, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (9, 33, 3, (3, 3), (1, 2), ONE, (1, 1, 1, 1)),
    (12, 21, 3, (7, 7), ONE, ONE, (3, 3, 3, 3)),
    (12, 21, 3, (3, 3), ONE, TWO, (2, 2, 2, 2)),
    (3, 3, 9, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
]
EPILOGUES = [(8, n, 5, (k, k), ONE, (d, d), (1, 1, 1, 1)) for n in (5, 21) for k, d in ((3, 1), (5, 1), (2, 2))]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def in_float64(x, w, kh, kw, sh, sw, dh, dw, pt, pl, shape):
    """The convolution and the sum of its absolute products, by shifted views."""
    c, oh, ow = shape
    ih, iw = x.shape[1:]
    room = ((0, 0), (pt, max(0, oh * sh + kh * dh - ih)), (pl, max(0, ow * sw + kw * dw - iw)))
    padded = np.pad(x.astype(np.float64), room)
    total, bound = np.zeros(shape), np.zeros(shape)
    for ky in range(kh):
        for kx in range(kw):
            view = padded[:, ky * dh :, kx * dw :][:, : oh * sh : sh, : ow * sw : sw]
            part = view * w[:, ky * kw + kx, None, None]
            total += part
            bound += abs(part)
    return total, bound


def example(size, act=0, bias=True, residual=True):
    *given, b, _, params, r, out = ref.example(np.random.default_rng(1), *size)
    return [*given, b if bias else None, act, params, r if residual else None, out]


@sizes
def test_reference_means_depthwise_convolution(size):
    *given, bias, _, params, residual, out = ref.example(np.random.default_rng(0), *size)
    ref.pdwconv(*given, bias, 0, params, residual, out)
    want, _ = in_float64(*given, out.shape)
    np.testing.assert_allclose(out, want + bias[:, None, None] + residual, rtol=1e-4, atol=1e-4)


def test_reference_equals_dwconv_of_the_transposed_image():
    size = (9, 13, 5, (3, 3), TWO, ONE, (1, 1, 1, 1))
    x, w, *sizes, bias, act, params, residual, out = ref.example(np.random.default_rng(2), *size)
    ref.pdwconv(x, w, *sizes, bias, act, params, residual, out)
    nhwc = [np.ascontiguousarray(v.transpose(1, 2, 0)) for v in (x, residual, out)]
    want = nhwc[2][None]
    rows = nhwc[1].reshape(-1, len(x))
    native.dwconv(nhwc[0][None], np.ascontiguousarray(w.T), *sizes, bias, act, params, rows, want)
    np.testing.assert_allclose(out, want[0].transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


@isas("pdwconv")
@sizes
def test_equals_float64_within_its_bound(isa, size):
    values = example(size)
    *given, bias, _, _, residual, out = values
    want, bound = in_float64(*given, out.shape)
    bias, terms = bias[:, None, None], given[1].shape[1] + 2
    error = abs(run("pdwconv", values, isa)[0] - (want + bias + residual))
    assert (error <= terms * 2.0**-24 * (bound + abs(bias) + abs(residual))).all()


@isas("pdwconv")
@sizes
def test_equals_reference_whole_and_in_pieces(isa, size):
    check("pdwconv", example(size), isa, close(1e-4, 1e-4))


@isas("pdwconv")
@pytest.mark.parametrize("n", range(1, 31))
def test_lines_of_any_length_and_number(isa, n):
    for kernel in (3, 5):
        for stride in (1, 2):
            pad = kernel // 2
            size = (33 - n, n, 2, (kernel, kernel), (stride, stride), ONE, (pad, pad, pad, pad))
            check("pdwconv", example(size, 2), isa, close(1e-4, 1e-4))


@isas("pdwconv")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for size in EPILOGUES:
        check("pdwconv", example(size, act, bias, not bias), isa, close(1e-4, 1e-4))


@isas("pdwconv")
@pytest.mark.parametrize("kernel", (2, 3, 5))
@pytest.mark.parametrize("stride", (1, 2))
def test_nan_stays_where_windows_hold_it(isa, kernel, stride):
    values = example((17, 19, 3, (kernel, kernel), (stride, stride), ONE, (1, 1, 1, 1)), 2, residual=False)
    values[0][1, 8, 9] = np.nan
    (out,) = run("pdwconv", values, isa)
    want, _ = in_float64(*values[:10], out.shape)
    assert (np.isnan(out) == np.isnan(want)).all() and np.isnan(out).any()


def zeros(ih, iw, oh, ow, kernel, stride, dilation, pads, c=11):
    """Ones as an image and weights, zeros as the output, of any extents."""
    x, out = np.ones((c, ih, iw), np.float32), np.zeros((c, oh, ow), np.float32)
    w = np.ones((c, kernel[0] * kernel[1]), np.float32)
    return [x, w, *kernel, *stride, *dilation, *pads, None, 0, np.zeros(2, np.float32), None, out]


@isas("pdwconv")
@pytest.mark.parametrize("ih,iw,oh,ow", [(0, 4, 2, 3), (4, 0, 2, 3), (0, 9, 9, 9), (4, 4, 0, 3), (4, 4, 3, 0)])
def test_images_may_be_empty(isa, ih, iw, oh, ow):
    (out,) = check("pdwconv", zeros(ih, iw, oh, ow, (3, 3), ONE, ONE, ONE), isa)
    assert (out == 0).all()


@isas("pdwconv")
def test_channels_may_be_missing(isa):
    check("pdwconv", zeros(4, 4, 4, 4, (3, 3), ONE, ONE, ONE, 0), isa)


@isas("pdwconv")
@pytest.mark.parametrize("far", ("stride", "dilation", "pads"))
def test_the_largest_geometry_is_harmless(isa, far):
    huge = 2**31 - 1
    geometry = {"stride": ONE, "dilation": ONE, "pads": (0, 0)} | {far: (huge, huge)}
    for kernel in ((3, 3), (5, 5), (2, 4)):
        check("pdwconv", zeros(5, 6, 3, 4, kernel, *geometry.values()), isa, close())


@isas("pdwconv")
@pytest.mark.parametrize("shape", [(9, 30, 8, 9), (3, 3, 30, 40)])
@pytest.mark.parametrize("stride", (1, 2))
def test_outputs_need_not_follow_from_the_image(isa, shape, stride):
    """A plan may claim any extents."""
    for kernel in (3, 5):
        values = zeros(*shape, (kernel, kernel), (stride, stride), ONE, ONE, 3)
        values[0][...] = np.random.default_rng(0).random(values[0].shape)
        check("pdwconv", values, isa, close(1e-5, 1e-5))


@isas("pdwconv")
def test_planes_may_be_far_apart_and_nothing_between_is_written(isa):
    for size in EPILOGUES:
        values = example(size, 2)
        for i in (0, -2, -1):
            c, h, w = values[i].shape
            room = np.full((c, h * w + 5), 7, np.float32)
            room[:, : h * w] = values[i].reshape(c, -1)
            values[i] = room[:, : h * w].reshape(c, h, w)
        check("pdwconv", values, isa, close(1e-4, 1e-4))
        native.pdwconv(*values, isa=isa)
        assert (room[:, -5:] == 7).all() and not np.isnan(room).any()
