"""sgemm against its reference and against float64."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("sgemm")
SIZES = [(1, 1, 1), (2, 16, 4), (5, 15, 3), (6, 17, 5), (7, 40, 64), (13, 33, 7), (64, 16, 33), (65, 31, 130)]
TILES = [(m, n, 5) for m in (1, 2, 3, 4, 5, 6, 7, 11, 97) for n in (8, 16, 24, 56, 64, 72, 129)]
WIDE = [(9, 48, 130), (11, 64, 7), (12, 16, 9), (19, 80, 131), (26, 33, 129), (25, 100, 33)]
NARROW = [(m, n, k) for n in range(1, 9) for m, k in ((3, 5), (26, 8), (100, 29), (9, 1030))]
EMPTY = [(0, 5, 3), (3, 0, 3), (3, 17, 0), (0, 0, 0)]


def example(m, n, k, act=0, bias=True, residual=True):
    a, w, b, _, params, r, out = ref.example(np.random.default_rng(m + n), m, n, k)
    return [a, w, b if bias else None, act, params, r if residual else None, out]


def test_reference_means_matmul():
    a, w, bias, _, params, residual, out = example(5, 17, 9)
    ref.sgemm(a, w, bias, 0, params, residual, out)
    dense = w.transpose(0, 2, 1).reshape(-1, 9)[:17]
    np.testing.assert_allclose(out, a @ dense.T + bias + residual, rtol=1e-5, atol=1e-5)


@isas("sgemm")
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_float64_within_its_bound(isa, m, n, k):
    values = example(m, n, k)
    a, w, bias, _, _, residual, _ = values
    (out,) = run("sgemm", values, isa)
    dense = w.transpose(0, 2, 1).reshape(-1, k)[:n].astype(np.float64)
    bound = (k + 2) * 2.0**-24 * (abs(a) @ abs(dense.T) + abs(bias) + abs(residual))
    assert (abs(out - (a @ dense.T + bias + residual)) <= bound).all()


@isas("sgemm")
@pytest.mark.parametrize("m,n,k", SIZES + TILES + WIDE + NARROW + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, m, n, k):
    check("sgemm", example(m, n, k), isa, close(1e-5, 1e-5))


@isas("sgemm")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for n in (1, 2, 3, 7, 12, 16, 21, 24):
        check("sgemm", example(7, n, 9, act, bias, not bias), isa, close(1e-5, 1e-5))


@pytest.mark.parametrize("isa", [isa for isa in native.sgemm.impls() if isa.startswith("avx")])
@pytest.mark.parametrize("m,n,k", WIDE + [(7, 3, 30), (13, 21, 4500), (50, 72, 20)])
def test_every_length_of_vectors_gives_the_same_bytes(isa, m, n, k):
    for act in range(len(ACTS)):
        for residual in (False, True):
            values = example(m, n, k, act, not residual, residual)
            assert run("sgemm", values, isa)[0].tobytes() == run("sgemm", values, "avx2")[0].tobytes()


@isas("sgemm")
@pytest.mark.parametrize("n", (1, 2, 3, 4, 6, 8, 13, 16, 40, 72))
def test_a_row_has_the_same_bytes_whatever_rows_are_beside_it(isa, n):
    a, w, bias, act, params, residual, out = example(31, n, 19)
    (want,) = run("sgemm", [a, w, bias, act, params, residual, out], isa)
    for m in (1, 2, 3, 5, 13):
        (some,) = run("sgemm", [a[:m], w, bias, act, params, residual[:m], out[:m].copy()], isa)
        assert some.tobytes() == want[:m].tobytes()


@isas("sgemm")
def test_many_panels_are_split_for_a_single_row(isa):
    values = example(1, 1000, 600)
    check("sgemm", values, isa, close(1e-4, 1e-4))
    slots, _ = native.sgemm.pack(dict(zip(native.sgemm.spec.by_name, values)))
    assert native.sgemm.impl("avx2").units(slots) > 2 if isa == "avx2" else True


@isas("sgemm")
def test_rows_may_be_far_apart_and_panels_the_same_memory(isa):
    rng = np.random.default_rng(0)
    a, w, bias, _, params, residual, out = example(9, 40, 7)
    wide = [np.pad(x, ((0, 0), (0, 3)))[:, : x.shape[1]] for x in (a, residual, out)]
    one = np.broadcast_to(ref.pack(rng.standard_normal((1, 7), np.float32)), (3, 7, 16))
    for panels in (w, one, ref.pack(np.broadcast_to(np.ones((1, 7), np.float32), (40, 7)))):
        check("sgemm", [wide[0], panels, bias, 2, params, wide[1], wide[2]], isa, close(1e-5, 1e-5))


@isas("sgemm")
def test_nothing_beside_the_output_is_written(isa):
    for n in (1, 2, 3, 4, 7, 13, 16, 24, 27):
        values = example(8, n, 5)
        wide = np.full((8, n + 5), 7, np.float32)
        values[-1] = wide[:, :n]
        native.sgemm(*values, isa=isa)
        assert (wide[:, n:] == 7).all() and not (wide[:, :n] == 7).any()


@isas("sgemm")
@pytest.mark.parametrize("act", (0, 1, 2))
def test_nan_and_infinity_pass(isa, act):
    a, w, bias, _, params, _, out = example(7, 24, 3)
    bias[:] = 0
    bias[[0, 9, 20]] = np.nan, np.inf, -np.inf
    native.sgemm(a, w, bias, act, params, None, out, isa=isa)
    assert np.isnan(out[:, 0]).all()
    assert (out[:, 9] == (1 if act == 2 else np.inf)).all()
    assert (out[:, 20] == (-np.inf, 0, -1)[act]).all()


@isas("sgemm")
@pytest.mark.parametrize("name", ["sgemm", "hgemm"])
@pytest.mark.parametrize("m, n", [(1, 16), (1, 70), (3, 40), (5, 3), (7, 33), (30, 24)])
@pytest.mark.parametrize("k", [4095, 4096, 4097, 8192, 3 * 4096 + 5])
def test_long_sums_are_made_of_parts(isa, name, m, n, k):
    rng = np.random.default_rng(k)
    a, W = rng.random((m, k), np.float32), rng.random((n, k), np.float32)
    W = W.astype(np.float16) if name == "hgemm" else W
    params, bias = np.zeros(2, np.float32), np.ones(n, np.float32)
    want = a.astype(np.float64) @ W.astype(np.float64).T + 1
    out = np.empty((m, n), np.float32)
    getattr(native, name)(a, module(name).pack(W), bias, 0, params, None, out, isa=isa)
    np.testing.assert_allclose(out, want, 2e-5)


@pytest.mark.parametrize("name", ["sgemm", "hgemm"])
def test_a_million_products_keep_six_digits(name):
    rng = np.random.default_rng(0)
    a, all_w = rng.random((2, 1 << 20), np.float32), rng.random((17, 1 << 20), np.float32)
    all_w = all_w.astype(np.float16) if name == "hgemm" else all_w
    for isa in getattr(native, name).impls():
        for W in (all_w, all_w[:2]):
            out = np.empty((2, len(W)), np.float32)
            getattr(native, name)(a, module(name).pack(W), None, 0, np.zeros(2, np.float32), None, out, isa=isa)
            np.testing.assert_allclose(out, a.astype(np.float64) @ W.astype(np.float64).T, 5e-6)


@isas("sconv")
@pytest.mark.parametrize("n", (3, 20))
def test_windows_of_many_channels_are_summed_in_parts(isa, n):
    rng = np.random.default_rng(0)
    x, W = rng.random((1, 4, 4, 9000), np.float32), rng.random((n, 3, 3, 9000), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.float64), (3, 3), (0, 1))
    want = np.einsum("yxcij,nijc->yxn", windows, W.astype(np.float64))
    out = np.empty((1, 2, 2, n), np.float32)
    geometry = dict(kh=3, kw=3, sh=1, sw=1, dh=1, dw=1, pt=0, pl=0)
    native.sconv(x, module("sconv").pack(W), **geometry, act_params=np.zeros(2, np.float32), out=out, isa=isa)
    np.testing.assert_allclose(out[0], want, 5e-6)


@isas("lowrank")
def test_the_factors_of_a_product_of_low_rank_are_summed_in_parts(isa):
    rng = np.random.default_rng(0)
    a, U, V = (rng.random(s, np.float32) for s in ((5, 50000), (3, 50000), (18, 3)))
    want = a.astype(np.float64) @ U.astype(np.float64).T @ V.astype(np.float64).T
    pack, none = module("sgemm").pack, np.zeros(2, np.float32)
    out = np.empty((5, 18), np.float32)
    native.lowrank(a, pack(U), None, 0, none, pack(V), None, 0, none, None, out, isa=isa)
    np.testing.assert_allclose(out, want, 5e-6)
