"""sconv against its reference and against float64."""

import numpy as np
import pytest

from cases import check, close, isas, run, run_directly
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("sconv")
SIZES = [  # b, ih, iw, c, n, kernel, stride, dilation, pads
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 9, 11, 3, 16, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),  # the RGB stem
    (1, 10, 21, 3, 33, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 7, 7, 8, 24, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (2, 5, 6, 5, 7, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    (1, 9, 13, 2, 40, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (1, 2, 3, 4, 17, (5, 5), (1, 1), (1, 1), (4, 4, 4, 4)),  # pads larger than the image
    (1, 8, 9, 3, 1, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 6, 7, 70, 3, (3, 3), (1, 1), (2, 1), (2, 1, 2, 1)),  # more runs than are summed at once
    (1, 3, 3, 2, 8, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
]
EPILOGUES = [SIZES[1], SIZES[2], SIZES[4], (1, 6, 5, 2, 24, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def in_float64(x, w, kh, kw, sh, sw, dh, dw, pt, pl, shape):
    """The convolution and the sum of its absolute products, by shifted views."""
    b, oh, ow, n = shape
    ih, iw, c = x.shape[1:]
    dense = w.transpose(0, 2, 1).reshape(-1, kh, kw, c)[:n].astype(np.float64)
    pads = ((0, 0), (pt, max(0, oh * sh + kh * dh - ih)), (pl, max(0, ow * sw + kw * dw - iw)), (0, 0))
    padded = np.pad(x.astype(np.float64), pads)
    total, bound = np.zeros(shape), np.zeros(shape)
    for ky in range(kh):
        for kx in range(kw):
            part = padded[:, ky * dh :, kx * dw :][:, : oh * sh : sh, : ow * sw : sw]
            total += part @ dense[:, ky, kx].T
            bound += abs(part) @ abs(dense[:, ky, kx]).T
    return total, bound


@sizes
def test_reference_means_convolution(size):
    *given, bias, _, params, residual, out = ref.example(np.random.default_rng(0), *size)
    ref.sconv(*given, bias, 0, params, residual, out)
    want, _ = in_float64(*given, out.shape)
    np.testing.assert_allclose(out, want + bias + residual.reshape(out.shape), rtol=1e-4, atol=1e-4)


def example(size, act=0, bias=True, residual=True):
    *given, b, _, params, r, out = ref.example(np.random.default_rng(1), *size)
    return [*given, b if bias else None, act, params, r if residual else None, out]


@isas("sconv")
@sizes
def test_equals_float64_within_its_bound(isa, size):
    values = example(size)
    *given, bias, _, _, residual, out = values
    want, bound = in_float64(*given, out.shape)
    residual, terms = residual.reshape(out.shape), given[1].shape[1] + 2
    error = abs(run("sconv", values, isa)[0] - (want + bias + residual))
    assert (error <= terms * 2.0**-24 * (bound + abs(bias) + abs(residual))).all()


@isas("sconv")
@sizes
def test_equals_reference_whole_and_in_pieces(isa, size):
    check("sconv", example(size), isa, close(1e-4, 1e-4))


@isas("sconv")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for size in EPILOGUES:
        check("sconv", example(size, act, bias, not bias), isa, close(1e-4, 1e-4))


def zeros(b, ih, iw, oh, ow, kernel, stride, dilation, pads, c=3, n=5):
    """Ones as an image and weights, zeros as the output, of any extents."""
    x, out = np.ones((b, ih, iw, c), np.float32), np.zeros((b, oh, ow, n), np.float32)
    w = np.ones((-(-n // 16), kernel[0] * kernel[1] * c, 16), np.float32)
    return [x, w, *kernel, *stride, *dilation, *pads, None, 0, np.zeros(2, np.float32), None, out]


@isas("sconv")
@pytest.mark.parametrize(
    "b,ih,iw,oh,ow", [(0, 4, 4, 4, 4), (1, 0, 4, 2, 3), (1, 4, 0, 2, 3), (1, 4, 4, 0, 3), (2, 4, 4, 3, 0)]
)
def test_images_may_be_empty(isa, b, ih, iw, oh, ow):
    values = zeros(b, ih, iw, oh, ow, (3, 3), (1, 1), (1, 1), (1, 1))
    (out,) = check("sconv", values, isa)
    assert (out == 0).all()


@isas("sconv")
def test_channels_may_be_missing(isa):
    for c, n in ((0, 5), (3, 0), (0, 0)):
        (out,) = check("sconv", zeros(1, 4, 4, 4, 4, (3, 3), (1, 1), (1, 1), (1, 1), c, n), isa)
        assert (out == 0).all()
    huge = 2**31 - 1, 2**31 - 1
    values = zeros(1, 4, 4, 4, 4, (0, 0), (1, 1), (1, 1), (1, 1), 0)
    values[2:4] = huge  # windows without end of nothing
    assert (run("sconv", values, isa)[0] == 0).all()


@isas("sconv")
@pytest.mark.parametrize("far", ("stride", "dilation", "pads"))
def test_the_largest_geometry_is_harmless(isa, far):
    huge = 2**31 - 1
    geometry = {"stride": (1, 1), "dilation": (1, 1), "pads": (0, 0)} | {far: (huge, huge)}
    for kernel in ((3, 3), (2, 4)):
        values = zeros(2, 5, 6, 3, 4, kernel, *geometry.values())
        check("sconv", values, isa, close())


@isas("sconv")
def test_pixels_may_be_far_apart(isa):
    values = example(SIZES[3])
    for i in (0, -1, -2):
        x = values[i]
        values[i] = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 5)])[..., : x.shape[-1]]
    check("sconv", values, isa, close(1e-4, 1e-4))


@isas("sconv")
def test_nothing_beside_the_output_is_written(isa):
    for size in EPILOGUES:
        values = example(size)
        n = values[-1].shape[-1]
        wide = np.full((*values[-1].shape[:3], n + 3), 7, np.float32)
        values[-1] = wide[..., :n]
        native.sconv(*values, isa=isa)
        assert (wide[..., n:] == 7).all() and not (wide[..., :n] == 7).any()


@isas("sconv")
@pytest.mark.parametrize("act", [0, 1, 6])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (0, 3, 0, 2)], ids=["inside", "padded"])
def test_runs_of_many_products_are_summed_in_parts_for_all_rows(isa, act, pads):
    for n in (70, 90, 5):
        values = ref.example(np.random.default_rng(5), 2, 1, 20, 1700, n, (1, 5), (1, 1), (1, 1), pads)
        *given, bias, _, params, residual, out = values
        want, bound = in_float64(*given, out.shape)
        want = want + bias + residual.reshape(out.shape)
        (got,) = run("sconv", [*given, bias, act, params, residual, out], isa)
        error = (8500 / 4 + 16) * 2.0**-24 * (bound + abs(bias) + abs(residual.reshape(out.shape)))
        exact = {0: want, 1: want.clip(0), 6: 1 / (1 + np.exp(-want))}[act]
        assert (abs(got - exact) <= error).all()
        pieces = [run_directly("sconv", [*given, bias, act, params, residual, out], isa, cut) for cut in (True, False)]
        assert pieces[0][0].tobytes() == pieces[1][0].tobytes()
