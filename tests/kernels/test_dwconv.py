"""dwconv against its reference and against float64."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("dwconv")
isas = pytest.mark.parametrize("isa", native.dwconv.impls())
SIZES = [  # b, ih, iw, c, kernel, stride, dilation, pads
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 9, 11, 16, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 5, 22, 24, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (2, 7, 7, 19, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 8, 31, 40, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    (1, 9, 30, 8, (5, 5), (2, 2), (1, 1), (1, 1, 2, 2)),
    (1, 8, 12, 7, (5, 3), (2, 1), (2, 1), (3, 1, 3, 1)),
    (1, 9, 13, 33, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (1, 2, 3, 20, (5, 5), (1, 1), (1, 1), (4, 4, 4, 4)),  # pads larger than the image
    (1, 3, 3, 9, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
    (1, 1, 1, 8, (3, 3), (1, 1), (1, 1), (9, 9, 9, 9)),
    (2, 11, 10, 512, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),  # pixels in few sets of the cache
    (1, 5, 9, 1024, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 3, 4, 512, (5, 5), (1, 1), (2, 2), (9, 9, 9, 9)),
]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def in_float64(x, w, kh, kw, sh, sw, dh, dw, pt, pl, shape):
    """The convolution and the sum of its absolute products, by shifted views."""
    b, oh, ow, c = shape
    ih, iw = x.shape[1:3]
    room = ((0, 0), (pt, max(0, oh * sh + kh * dh - ih)), (pl, max(0, ow * sw + kw * dw - iw)), (0, 0))
    padded = np.pad(x.astype(np.float64), room)
    total, bound = np.zeros(shape), np.zeros(shape)
    for ky in range(kh):
        for kx in range(kw):
            part = padded[:, ky * dh :, kx * dw :][:, : oh * sh : sh, : ow * sw : sw] * w[ky * kw + kx]
            total += part
            bound += abs(part)
    return total, bound


@sizes
def test_reference_means_depthwise_convolution(size):
    *given, bias, _, params, residual, out = ref.example(np.random.default_rng(0), *size)
    ref.dwconv(*given, bias, 0, params, residual, out)
    want, _ = in_float64(*given, out.shape)
    np.testing.assert_allclose(out, want + bias + residual.reshape(out.shape), rtol=1e-4, atol=1e-4)


@isas
@sizes
def test_equals_float64_within_its_bound(isa, size):
    *given, bias, _, params, residual, out = fenced_all(ref.example(np.random.default_rng(1), *size))
    native.dwconv(*given, bias, 0, params, residual, out, isa=isa)
    want, bound = in_float64(*given, out.shape)
    residual = residual.reshape(out.shape)
    terms = given[1].shape[0] + 2
    assert (abs(out - (want + bias + residual)) <= terms * 2.0**-24 * (bound + abs(bias) + abs(residual))).all()
