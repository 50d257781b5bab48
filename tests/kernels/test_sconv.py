"""sconv against its reference and against float64."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("sconv")
isas = pytest.mark.parametrize("isa", native.sconv.impls())
SIZES = [  # b, ih, iw, c, n, kernel, stride, dilation, pads
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 9, 11, 3, 16, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),  # the RGB stem
    (1, 10, 21, 3, 33, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 7, 7, 8, 24, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (2, 5, 6, 5, 7, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    (1, 9, 13, 2, 40, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (1, 2, 3, 4, 17, (5, 5), (1, 1), (1, 1), (4, 4, 4, 4)),  # pads larger than the image
    (1, 3, 3, 2, 8, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def in_float64(x, w, kh, kw, sh, sw, dh, dw, pt, pl, shape):
    """The convolution and the sum of its absolute products, by shifted views."""
    b, oh, ow, n = shape
    ih, iw, c = x.shape[1:]
    dense = w.transpose(0, 2, 1).reshape(-1, kh, kw, c)[:n].astype(np.float64)
    room = ((0, 0), (pt, max(0, oh * sh + kh * dh - ih)), (pl, max(0, ow * sw + kw * dw - iw)), (0, 0))
    padded = np.pad(x.astype(np.float64), room)
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


@isas
@sizes
def test_equals_float64_within_its_bound(isa, size):
    *given, bias, _, params, residual, out = fenced_all(ref.example(np.random.default_rng(1), *size))
    native.sconv(*given, bias, 0, params, residual, out, isa=isa)
    want, bound = in_float64(*given, out.shape)
    residual = residual.reshape(out.shape)
    k = given[1].shape[1]
    assert (abs(out - (want + bias + residual)) <= (k + 2) * 2.0**-24 * (bound + abs(bias) + abs(residual))).all()
