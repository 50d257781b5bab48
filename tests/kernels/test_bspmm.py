"""bspmm against its reference, against float64 and against sgemm."""

import numpy as np
import pytest

from cases import PORTABLE, check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("bspmm")
SIZES = [(1, 1, 1), (2, 16, 4), (5, 15, 3), (6, 17, 5), (7, 40, 64), (13, 33, 7), (64, 16, 33), (65, 31, 130)]
TILES = [(m, n, 9) for m in (1, 2, 3, 4, 5, 6, 7, 11, 15, 17, 97) for n in (8, 16, 24, 56, 64, 72, 129)]
EMPTY = [(0, 5, 3), (3, 0, 3), (3, 17, 0), (0, 0, 0)]


def example(m, n, k, act=0, bias=True, residual=True, sparsity=0.6):
    values = ref.example(np.random.default_rng(m + n), m, n, k, sparsity)
    values[4] = values[4] if bias else None
    values[5] = act
    values[7] = values[7] if residual else None
    return values


def dense(rows, index, w, n, k):
    """The weights f32[n,k] that the blocks stand for."""
    full = np.zeros((len(rows) - 1, k, 16), np.float32)
    for panel, (begin, end) in enumerate(zip(rows[:-1], rows[1:])):
        full[panel, index[begin:end]] = w[begin:end]
    return full.transpose(0, 2, 1).reshape(16 * len(full), k)[:n]


@pytest.mark.parametrize("m,n,k", SIZES + EMPTY)
def test_packed_weights_stand_for_the_dense_ones(m, n, k):
    rng = np.random.default_rng(n)
    w = rng.standard_normal((n, k), np.float32) * (rng.random((n, k)) < 0.1)
    packed = ref.pack(w)
    np.testing.assert_array_equal(dense(packed.rows, packed.index, packed.w, n, k), w)
    assert (packed.w != 0).any(1).all()
    assert packed.rows.dtype == np.int32 and packed.index.dtype == np.uint16 and packed.w.dtype == np.float32


def test_no_block_that_holds_a_nan_is_left_out_and_none_of_negative_zeros_is_kept():
    w = np.zeros((20, 5), np.float32)
    w[3, 2] = np.nan
    w[17] = -0.0
    packed = ref.pack(w)
    assert packed.rows.tolist() == [0, 1, 1] and packed.index.tolist() == [2]


def test_a_k_that_no_index_reaches_is_refused():
    with pytest.raises(ValueError, match="bspmm: k must be at most 65536, got 65537"):
        ref.pack(np.zeros((1, 65537), np.float32))
    assert ref.pack(np.ones((1, 65536), np.float32)).index[-1] == 65535


@isas("bspmm")
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_float64_within_its_bound(isa, m, n, k):
    values = example(m, n, k)
    a, rows, index, w, bias, _, _, residual, _ = values
    (out,) = run("bspmm", values, isa)
    full = dense(rows, index, w, n, k).astype(np.float64)
    count = np.repeat(np.diff(rows), 16)[:n]
    bound = (count + 2) * 2.0**-24 * (abs(a) @ abs(full.T) + abs(bias) + abs(residual))
    assert (abs(out - (a @ full.T + bias + residual)) <= bound).all()


@isas("bspmm")
@pytest.mark.parametrize("m,n,k", SIZES + TILES + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, m, n, k):
    check("bspmm", example(m, n, k), isa, close(1e-5, 1e-5))


@isas("bspmm")
@pytest.mark.parametrize("sparsity", (0, 0.9, 1))
def test_panels_may_be_full_and_empty(isa, sparsity):
    check("bspmm", example(13, 72, 37, sparsity=sparsity), isa, close(1e-5, 1e-5))


@isas("bspmm")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for n in (16, 21, 24):
        check("bspmm", example(7, n, 9, act, bias, not bias), isa, close(1e-5, 1e-5))


@isas("bspmm")
@pytest.mark.parametrize("m", (1, 3, 6, 49, 100))
def test_without_zeros_it_is_sgemm_to_the_byte(isa, m):
    a, *blocks, bias, act, params, residual, out = example(m, 40, 33, 2, sparsity=0)
    w = module("sgemm").pack(dense(*blocks, 40, 33))
    native.sgemm(a, w, bias, act, params, residual, out, isa=isa if isa in PORTABLE else "avx2")
    (got,) = run("bspmm", [a, *blocks, bias, act, params, residual, np.empty_like(out)], isa)
    assert got.tobytes() == out.tobytes()


@isas("bspmm")
def test_many_panels_are_split_for_a_single_row(isa):
    values = example(1, 1000, 600)
    check("bspmm", values, isa, close(1e-4, 1e-4))
    slots, _ = native.bspmm.pack(dict(zip(native.bspmm.spec.by_name, values)))
    assert native.bspmm.impl(isa).units(slots) > 2 if isa == "avx2" else True


@isas("bspmm")
def test_rows_may_be_far_apart(isa):
    values = example(9, 40, 7)
    for i in (0, 7, 8):
        x = values[i]
        values[i] = np.pad(x, ((0, 0), (0, 3)))[:, : x.shape[1]]
    check("bspmm", values, isa, close(1e-5, 1e-5))


@isas("bspmm")
def test_the_last_index_reads_the_last_of_a_row(isa):
    k = 65536
    w = np.zeros((16, k), np.float32)
    w[:, [0, 255, 256, 32767, 32768, k - 1]] = 1
    packed = ref.pack(w)
    a = np.arange(2 * k, dtype=np.float32).reshape(2, k) % 7
    out = np.empty((2, 16), np.float32)
    run_values = [a, packed.rows, packed.index, packed.w, None, 0, np.zeros(2, np.float32), None, out]
    (out,) = run("bspmm", run_values, isa)
    np.testing.assert_array_equal(out, np.repeat((a @ w[0])[:, None], 16, 1))


@isas("bspmm")
def test_starts_in_any_order_stay_inside_the_blocks(isa):
    values = example(7, 129, 20)
    blocks = len(values[2])
    for rows in ([blocks, 0] * 5, [0, blocks] * 5, [0] * 10, [blocks] * 10, list(range(10))[::-1]):
        values[1] = np.array(rows[:10], np.int32)
        check("bspmm", values, isa, close(1e-4, 1e-4))


@isas("bspmm")
def test_nothing_beside_the_output_is_written(isa):
    for n in (7, 16, 24, 27):
        values = example(8, n, 5)
        wide = np.full((8, n + 5), 7, np.float32)
        values[-1] = wide[:, :n]
        native.bspmm(*values, isa=isa)
        assert (wide[:, n:] == 7).all() and not (wide[:, :n] == 7).any()


@isas("bspmm")
@pytest.mark.parametrize("act", (0, 1, 2))
def test_nan_and_infinity_pass_and_meet_listed_blocks_only(isa, act):
    w = np.zeros((24, 3), np.float32)
    w[:16, 1] = 1
    packed = ref.pack(w)
    a = np.full((7, 3), np.nan, np.float32)
    a[:, 1] = 1
    bias = np.zeros(24, np.float32)
    bias[[0, 9, 20]] = np.nan, np.inf, -np.inf
    out = np.empty((7, 24), np.float32)
    params = np.array([-1, 1], np.float32)
    native.bspmm(a, packed.rows, packed.index, packed.w, bias, act, params, None, out, isa=isa)
    assert np.isnan(out[:, 0]).all()
    assert (out[:, 9] == (1 if act == 2 else np.inf)).all()
    assert (out[:, 20] == (-np.inf, 0, -1)[act]).all()
    assert (out[:, 1:9] == 1).all() and (out[:, 21:] == 0).all()


def test_indices_beyond_k_and_starts_beyond_the_blocks_are_refused():
    values = example(2, 16, 4, sparsity=0)
    values[2] = np.array([0, 1, 2, 4], np.uint16)
    with pytest.raises(ValueError, match=r"bspmm: every value of index must be in \[0, 4\)"):
        native.bspmm(*values)
    values = example(2, 16, 4, sparsity=0)
    values[1] = np.array([0, 5], np.int32)
    with pytest.raises(ValueError, match=r"bspmm: every value of rows must be in \[0, 5\)"):
        native.bspmm(*values)
