"""sgemm against its reference and against float64."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("sgemm")
isas = pytest.mark.parametrize("isa", native.sgemm.impls())
SIZES = [(1, 1, 1), (2, 16, 4), (5, 15, 3), (6, 17, 5), (7, 40, 64), (13, 33, 7), (64, 16, 33), (65, 31, 130)]


def test_reference_means_matmul():
    a, w, bias, act, params, residual, out = ref.example(np.random.default_rng(0), 5, 17, 9)
    ref.sgemm(a, w, bias, 0, params, residual, out)
    dense = w.transpose(0, 2, 1).reshape(-1, 9)[:17]
    np.testing.assert_allclose(out, a @ dense.T + bias + residual, rtol=1e-5, atol=1e-5)


@isas
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_reference_within_its_bound(isa, m, n, k):
    a, w, bias, act, params, residual, out = fenced_all(ref.example(np.random.default_rng(m), m, n, k))
    dense = w.transpose(0, 2, 1).reshape(-1, k)[:n].astype(np.float64)
    native.sgemm(a, w, bias, 0, params, residual, out, isa=isa)
    bound = (k + 2) * 2.0**-24 * (abs(a) @ abs(dense.T) + abs(bias) + abs(residual))
    assert (abs(out - (a @ dense.T + bias + residual)) <= bound).all()
