"""pdwconv against its reference and against dwconv."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress.kernels import module

ref = module("pdwconv")
SIZES = [  # ih, iw, c, kernel, stride, pads
    (1, 1, 2, (1, 1), (1, 1), (0, 0, 0, 0)),
    (7, 7, 5, (3, 3), (1, 1), (1, 1, 1, 1)),
    (14, 14, 3, (3, 3), (2, 2), (1, 1, 1, 1)),
    (14, 14, 3, (3, 3), (2, 2), (0, 0, 1, 1)),
    (15, 13, 3, (3, 3), (2, 2), (1, 1, 1, 1)),
    (28, 28, 2, (5, 5), (1, 1), (2, 2, 2, 2)),
    (28, 27, 2, (5, 5), (2, 2), (1, 1, 2, 2)),
    (3, 40, 2, (3, 3), (1, 1), (1, 1, 1, 1)),
    (60, 112, 2, (3, 3), (1, 1), (1, 1, 1, 1)),  # several parts
    (61, 113, 2, (3, 3), (2, 2), (1, 1, 1, 1)),
    (70, 230, 1, (5, 5), (1, 1), (2, 2, 2, 2)),
    (2, 3, 2, (5, 5), (1, 1), (4, 4, 4, 4)),  # pads larger than the image
    (5, 17, 2, (3, 3), (1, 1), (0, 0, 0, 0)),
    (5, 9, 2, (3, 3), (1, 1), (1, 0, 1, 2)),
    (9, 9, 2, (3, 3), (2, 1), (1, 1, 1, 1)),
    (9, 9, 2, (3, 2), (1, 1), (1, 1, 1, 1)),
    (9, 9, 2, (7, 7), (1, 1), (3, 3, 3, 3)),
    (9, 9, 2, (3, 3), (1, 1), (5, 5, 5, 5)),  # pads larger than the window
]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def example(size, act=0, bias=True):
    values = ref.example(np.random.default_rng(0), *size)
    values[8:10] = [values[8] if bias else None, act]
    return values


@sizes
def test_reference_means_the_same_as_dwconv(size):
    x, w, *geometry, bias, _, params, out = example(size)
    kh, kw, sh, sw, pt, pl = geometry
    ref.pdwconv(x, w, *geometry, bias, 0, params, out)
    other = np.empty((1, *out.shape[1:], len(x)), np.float32)
    image = np.ascontiguousarray(x.transpose(1, 2, 0))[None]
    taps = np.ascontiguousarray(w.T)
    module("dwconv").dwconv(image, taps, kh, kw, sh, sw, 1, 1, pt, pl, bias, 0, params, None, other)
    np.testing.assert_allclose(out, other[0].transpose(2, 0, 1), rtol=1e-4, atol=1e-5)


@isas("pdwconv")
@sizes
@pytest.mark.parametrize("act", (0, 2))
@pytest.mark.parametrize("bias", (True, False))
def test_equals_reference(isa, size, act, bias):
    check("pdwconv", example(size, act, bias), isa, close)


@isas("pdwconv")
@pytest.mark.parametrize("act", range(9))
def test_every_activation(isa, act):
    check("pdwconv", example(SIZES[1], act), isa, close)


@isas("pdwconv")
def test_an_infinity_stays_where_it_belongs(isa):
    values = example(SIZES[8])
    values[0][0, 30, 50] = np.inf
    out = run("pdwconv", values, isa)[0]
    assert np.isfinite(out[1]).all() and (~np.isfinite(out[0])).sum() == 9


@isas("pdwconv")
@pytest.mark.parametrize("size", [(5, 5, 0, (3, 3), (1, 1), (1, 1, 1, 1)), (2, 5, 3, (3, 3), (1, 1), (0, 0, 0, 0))])
def test_nothing(isa, size):
    check("pdwconv", example(size), isa, close)
