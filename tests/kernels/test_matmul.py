"""matmul against its reference, and against spack and sgemm to the byte."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module

ref = module("matmul")
SIZES = [(5, 7, 37, 9), (1, 1, 1, 1), (3, 6, 16, 64), (40, 13, 24, 5), (2, 100, 8, 33), (2, 8, 16, 8200)]
EMPTY = [(0, 2, 3, 4), (2, 0, 3, 4), (2, 3, 0, 4), (2, 3, 5, 0)]


@isas("matmul")
@pytest.mark.parametrize("g,m,n,k", SIZES + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, g, m, n, k):
    check("matmul", ref.example(np.random.default_rng(0), g, m, n, k), isa, close(1e-4, 1e-4))


@isas("matmul")
@pytest.mark.parametrize("g,m,n,k", SIZES)
def test_it_is_spack_and_sgemm_to_the_byte(isa, g, m, n, k):
    a, b, out = ref.example(np.random.default_rng(1), g, m, n, k)
    (got,) = run("matmul", [a, b, out], isa)
    panels, want = np.empty((-(-n // 16), k, 16), np.float32), np.empty((m, n), np.float32)
    for i in range(g):
        native.spack(b[i].T, panels)
        native.sgemm(a[i], panels, None, 0, np.zeros(2, np.float32), None, want, isa=isa)
        assert got[i].tobytes() == want.tobytes()


@isas("matmul")
def test_factors_may_be_turned_shared_and_lie_apart(isa):
    a, b, out = ref.example(np.random.default_rng(2), 6, 7, 20, 9)
    turned = np.ascontiguousarray(b.transpose(0, 2, 1)).transpose(0, 2, 1)
    shared = np.broadcast_to(b[:1], b.shape)
    apart = np.pad(a, ((0, 0), (0, 2), (0, 3)))[:, :7, :9]
    for left, right in ((a, turned), (a, shared), (apart, b), (np.broadcast_to(a[:1], a.shape), b)):
        check("matmul", [left, right, out], isa, close(1e-4, 1e-4))


@isas("matmul")
def test_nothing_beside_the_output_is_written(isa):
    a, b, _ = ref.example(np.random.default_rng(3), 4, 5, 11, 3)
    wide = np.full((4, 6, 15), 7, np.float32)
    native.matmul(a, b, wide[:, :5, :11], isa=isa)
    assert (wide[:, 5:] == 7).all() and (wide[..., 11:] == 7).all() and not (wide[:, :5, :11] == 7).any()
