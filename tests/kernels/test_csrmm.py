"""csrmm against its reference, SciPy and float64."""

import numpy as np
import pytest
import scipy.sparse

from cases import check, close, fenced_view, isas, run
from fence import fenced
from pycompress import native
from pycompress.kernels import module

ref = module("csrmm")
TYPES = pytest.mark.parametrize("dtype", (np.float32, np.float64))
COLUMNS = [(21, 11, m) for m in (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 49, 63, 64, 65, 72, 130)]
SIZES = [(n, k, 10) for n, k in ((1, 1), (2, 9), (9, 1), (64, 7), (65, 8), (130, 100))]
DEEP = [(5, 700, m) for m in (3, 9, 20, 49, 100, 130)] + [(261, 300, 35)]  # of k, which slices may cut
EMPTY = [(0, 3, 5), (3, 0, 5), (3, 17, 0), (0, 0, 0)]


def example(n, k, m, zeros=0.8, dtype=np.float32, order="C"):
    return ref.example(np.random.default_rng(n + k + m), n, k, m, zeros, dtype, order)


def matrix(values):
    rows, index, w, x, _ = values
    return scipy.sparse.csr_matrix((w, index, rows), (len(rows) - 1, len(x)))


@TYPES
def test_reference_means_what_scipy_does(dtype):
    values = example(20, 30, 7, 0.5, dtype)
    ref.csrmm(*values)
    np.testing.assert_allclose(values[-1], matrix(values) @ values[3], rtol=1e-5, atol=1e-5)


@isas("csrmm")
@TYPES
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("n,k,m", COLUMNS + SIZES + DEEP + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, n, k, m, order, dtype):
    check("csrmm", example(n, k, m, 0.8, dtype, order), isa, close(1e-5, 1e-5))


@isas("csrmm")
@TYPES
@pytest.mark.parametrize("n,k,m", [(9, 400, 1), (33, 500, 49), (17, 97, 65)])
def test_equals_float64_within_its_bound(isa, n, k, m, dtype):
    values = example(n, k, m, 0.5, dtype)
    w, x = matrix(values).astype(np.longdouble).toarray(), values[3].astype(np.longdouble)
    (out,) = run("csrmm", values, isa)
    nonzeros = np.diff(values[0])[:, None]
    bound = nonzeros * (2.0**-24 if dtype == np.float32 else 2.0**-53) * (abs(w) @ abs(x))
    assert (abs(out - w @ x) <= bound).all()


@isas("csrmm")
@TYPES
def test_indices_in_any_order_and_duplicates_are_summed_as_they_stand(isa, dtype):
    rng = np.random.default_rng(1)
    rows = np.array([0, 5, 5, 45, 60], np.int32)
    index = rng.integers(0, 12, 60).astype(np.int32)
    values = [rows, index, rng.standard_normal(60).astype(dtype), rng.standard_normal((12, 19)).astype(dtype), None]
    values[-1] = np.full((4, 19), np.nan, dtype)
    (out,) = check("csrmm", values, isa, close(1e-5, 1e-5))
    np.testing.assert_allclose(out, matrix(values) @ values[3], rtol=1e-5, atol=1e-5)


@isas("csrmm")
@TYPES
@pytest.mark.parametrize("order", ["falling", "any", "the last first"])
def test_sums_run_in_the_order_of_the_values_whatever_slices_of_k_there_are(isa, order, dtype):
    rows, index, w, x, out = example(7, 900, 100, 0.5, dtype)
    rng = np.random.default_rng(0)
    for begin, end in zip(rows, rows[1:]):
        if order == "falling":
            index[begin:end] = index[begin:end][::-1]
        elif order == "any":
            rng.shuffle(index[begin:end])
        else:
            index[begin] = 899
    (found,) = check("csrmm", [rows, index, w, x, out], isa, close(1e-4, 1e-4))
    one = np.empty((7, 2), dtype)
    for at in (0, 50, 98):
        native.csrmm(rows, index, w, np.ascontiguousarray(x[:, at : at + 2]), one, isa=isa)
        assert np.array_equal(one, found[:, at : at + 2])


@isas("csrmm")
@TYPES
@pytest.mark.parametrize("zeros", (0, 0.99, 1))
def test_rows_may_be_full_and_empty(isa, zeros, dtype):
    for m in (1, 9, 70):
        check("csrmm", example(70, 130, m, zeros, dtype), isa, close(1e-4, 1e-4))


@isas("csrmm")
@TYPES
def test_rows_and_columns_of_x_may_be_far_apart(isa, dtype):
    rows, index, w, x, out = example(20, 30, 9, 0.5, dtype)
    wide = np.zeros((60, 27), dtype)
    wide[::2, ::3] = x
    target = np.full((20, 14), 7, dtype)
    for view in (wide[::2, ::3], np.asfortranarray(wide)[::2, ::3], np.pad(x, ((0, 0), (0, 7)))[:, :9]):
        target[:] = 7
        check("csrmm", [rows, index, w, view, target[:, :9]], isa, close(1e-5, 1e-5))
        native.csrmm(rows, index, w, view, target[:, :9], isa=isa)
        assert (target[:, 9:] == 7).all() and not (target[:, :9] == 7).any()


@isas("csrmm")
def test_one_column_of_x_may_stand_for_all(isa):
    rows, index, w, x, out = example(20, 30, 9)
    check("csrmm", [rows, index, w, np.broadcast_to(x[:, :1], x.shape), out], isa, close(1e-5, 1e-5))


@isas("csrmm")
@TYPES
def test_rows_of_x_may_be_too_many_for_a_panel(isa, dtype):
    rows, index, w, x, out = example(3, 9, 5, 0.5, dtype)
    index = index * np.int32(500_000)
    check("csrmm", [rows, index, w, np.broadcast_to(x[:1], (2**22 + 1, 5)), out], isa, close(1e-5, 1e-5))


@isas("csrmm")
@TYPES
def test_a_single_column_meets_rows_of_any_length(isa, dtype):
    lengths = [*range(40), 0, 63, 64, 65, 0]
    rows = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    rng = np.random.default_rng(0)
    index = rng.integers(0, 9, rows[-1]).astype(np.int32)
    w, x = rng.standard_normal(rows[-1]).astype(dtype), rng.standard_normal((9, 2)).astype(dtype)
    target = np.full((len(lengths), 3), 7, dtype)
    for column in (np.ascontiguousarray(x[:, :1]), x[:, :1]):
        check("csrmm", [rows, index, w, column, np.empty((len(lengths), 1), dtype)], isa, close(1e-5, 1e-5))
        check("csrmm", [rows, index, w, column, target[:, :1]], isa, close(1e-5, 1e-5))
    column = np.zeros((2**22 + 1, 1), dtype)  # more than a panel holds
    column[-1] = 3
    values = [
        np.array([0, 9], np.int32),
        np.full(9, 2**22, np.int32),
        np.ones(9, dtype),
        column,
        np.empty((1, 1), dtype),
    ]
    assert run("csrmm", values, isa)[0][0, 0] == 27


@isas("csrmm")
def test_infinity_reaches_only_what_multiplies_it(isa):
    rows, index = np.array([0, 1, 2, 2], np.int32), np.array([0, 1], np.int32)
    x = np.ones((3, 11), np.float32)
    x[1], x[2] = np.inf, np.nan
    out = np.empty((3, 11), np.float32)
    native.csrmm(rows, index, np.array([2, 0], np.float32), x, out, isa=isa)
    assert (out[0] == 2).all() and np.isnan(out[1]).all() and not out[2].any()


@isas("csrmm")
@TYPES
def test_row_ends_out_of_order_stay_inside_the_arrays(isa, dtype):
    for k, m in ((100, 1), (100, 20), (700, 100)):
        values = example(40, k, m, 0.8, dtype)
        values[0] = np.random.default_rng(0).integers(0, values[2].size + 1, 41).astype(np.int32)
        run("csrmm", values, isa)


@isas("csrmm")
@TYPES
def test_columns_that_change_after_the_check_stay_inside_the_arrays(isa, dtype):
    impl = native.csrmm.impl(isa)
    for k, m in ((100, 1), (100, 20), (700, 100)):
        values = [fenced_view(x) for x in example(40, k, m, 0.8, dtype)]
        slots, keep = native.csrmm.pack(dict(zip(native.csrmm.spec.by_name, values)))
        changed = [x for x in keep if x.dtype == np.int32 and x.size == values[1].size]
        assert changed
        for x in changed:
            x[:] = np.random.default_rng(0).integers(-(2**31), 2**31, x.size)
        scratch = fenced(np.zeros(impl.scratch(slots) if impl.scratch else 0, np.uint8))
        impl.run(slots, 0, impl.units(slots), native.ffi.from_buffer(scratch))


@isas("csrmm")
def test_work_is_split_though_there_is_one_panel_of_columns(isa):
    values = example(1000, 1000, 49)
    slots, _ = native.csrmm.pack(dict(zip(native.csrmm.spec.by_name, values)))
    assert native.csrmm.impl(isa).units(slots) >= 16


def test_values_out_of_bounds_and_mixed_types_are_refused():
    values = example(3, 9, 5)
    for at, bad in ((0, values[2].size + 1), (0, -1), (1, 9), (1, -1)):
        broken = [x.copy() for x in values]
        broken[at].reshape(-1)[0] = bad
        with pytest.raises(ValueError, match="every value of"):
            native.csrmm(*broken)
    for at in (2, 3, 4):
        broken = list(values)
        broken[at] = broken[at].astype(np.float64)
        with pytest.raises(ValueError, match="csrmm: .* must be"):
            native.csrmm(*broken)
