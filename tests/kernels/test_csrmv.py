"""csrmv against its reference and against float64."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("csrmv")
SIZES = [(1, 1), (3, 4), (17, 5), (40, 64), (33, 7), (65, 130), (130, 33), (500, 300)]
EMPTY = [(5, 0), (0, 3), (0, 0)]


def example(n, k, act=0, bias=True, residual=True, sparsity=0.5):
    values = ref.example(np.random.default_rng(n + k), n, k, sparsity)
    values[4] = values[4] if bias else None
    values[5] = act
    values[7] = values[7] if residual else None
    return values


def dense(rows, index, w, k):
    full = np.zeros((len(rows) - 1, k))
    np.add.at(full, (np.repeat(np.arange(len(rows) - 1), np.diff(rows)), index), w)
    return full


@pytest.mark.parametrize("n,k", SIZES + EMPTY)
def test_packed_weights_stand_for_the_dense_ones(n, k):
    rng = np.random.default_rng(n)
    w = rng.standard_normal((n, k), np.float32) * (rng.random((n, k)) < 0.3)
    packed = ref.pack(w)
    np.testing.assert_array_equal(dense(packed.rows, packed.index, packed.w, k), w)
    assert (packed.w != 0).all()
    assert (packed.rows.dtype, packed.index.dtype, packed.w.dtype) == (np.int32, np.uint16, np.float32)


def test_a_k_that_no_index_reaches_is_refused():
    with pytest.raises(ValueError, match="csrmv: k must be at most 65536, got 65537"):
        ref.pack(np.zeros((1, 65537), np.float32))
    assert ref.pack(np.ones((1, 65536), np.float32)).index[-1] == 65535


@isas("csrmv")
@pytest.mark.parametrize("n,k", SIZES)
def test_equals_float64_within_its_bound(isa, n, k):
    values = example(n, k)
    x, rows, index, w, bias, _, _, residual, _ = values
    (out,) = run("csrmv", values, isa)
    full = dense(rows, index, w, k)
    bound = (np.diff(rows) + 2) * 2.0**-24 * (abs(full) @ abs(x) + abs(bias) + abs(residual))
    assert (abs(out - (full @ x + bias + residual)) <= bound).all()


@isas("csrmv")
@pytest.mark.parametrize("n,k", SIZES + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, n, k):
    check("csrmv", example(n, k), isa, close(1e-5, 1e-4))


@isas("csrmv")
def test_rows_of_any_length_are_summed(isa):
    lengths = [*range(40), 0, 63, 64, 65, 0]
    rows = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    rng = np.random.default_rng(0)
    index = rng.integers(0, 9, rows[-1]).astype(np.uint16)  # unsorted, with duplicates
    w, x = rng.standard_normal(rows[-1], np.float32), rng.standard_normal(9, np.float32)
    out = np.empty(len(lengths), np.float32)
    check("csrmv", [x, rows, index, w, None, 0, np.zeros(2, np.float32), None, out], isa, close(1e-5, 1e-5))


@isas("csrmv")
@pytest.mark.parametrize("sparsity", (0, 0.9, 1))
def test_rows_may_be_full_and_empty(isa, sparsity):
    check("csrmv", example(70, 37, sparsity=sparsity), isa, close(1e-5, 1e-5))


@isas("csrmv")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for n in (7, 64, 65):
        check("csrmv", example(n, 30, act, bias, not bias), isa, close(1e-5, 1e-5))


@isas("csrmv")
def test_the_work_is_split(isa):
    values = example(1000, 600)
    check("csrmv", values, isa, close(1e-4, 1e-4))
    slots, _ = native.csrmv.pack(dict(zip(native.csrmv.spec.by_name, values)))
    assert native.csrmv.impl(isa).units(slots) > 8


@isas("csrmv")
def test_the_last_index_reads_the_last_number(isa):
    k = 65536
    index = np.array([0, 255, 256, 32767, 32768, k - 1, k - 1, k - 2, k - 1], np.uint16)
    x, w = np.arange(k, dtype=np.float32) % 7, np.arange(9, dtype=np.float32)
    params = np.zeros(2, np.float32)
    (out,) = run("csrmv", [x, np.array([0, 9], np.int32), index, w, None, 0, params, None, np.empty(1, "f4")], isa)
    assert out[0] == w @ x[index]


@isas("csrmv")
def test_starts_in_any_order_stay_inside_the_weights(isa):
    values = example(9, 20)
    nnz = len(values[2])
    for rows in ([nnz, 0] * 5, [0, nnz] * 5, [0] * 10, [nnz] * 10, list(range(10))[::-1]):
        values[1] = np.array(rows, np.int32)
        check("csrmv", values, isa, close(1e-5, 1e-5))


@isas("csrmv")
def test_infinity_and_nan_meet_listed_weights_only(isa):
    w = np.ones((4, 30), np.float32)
    w[1, 5] = w[2, 6] = w[3, 5:7] = 0
    packed = ref.pack(w)
    x = np.ones(30, np.float32)
    x[5], x[6] = np.inf, np.nan
    params, out = np.zeros(2, np.float32), np.empty(4, np.float32)
    native.csrmv(x, packed.rows, packed.index, packed.w, None, 0, params, None, out, isa=isa)
    assert np.isnan(out[[0, 1]]).all() and out[2] == np.inf and out[3] == 28


def test_indices_beyond_k_and_starts_beyond_the_weights_are_refused():
    values = example(2, 4, sparsity=0)
    values[2] = values[2] + np.uint16(1)
    with pytest.raises(ValueError, match=r"csrmv: every value of index must be in \[0, 4\)"):
        native.csrmv(*values)
    values = example(2, 4, sparsity=0)
    values[1] = np.array([0, 4, 9], np.int32)
    with pytest.raises(ValueError, match=r"csrmv: every value of rows must be in \[0, 9\)"):
        native.csrmv(*values)
