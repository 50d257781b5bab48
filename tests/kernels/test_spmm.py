"""spmm against its reference, against float64 and against the dense product."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("spmm")
PIXELS = [(m, 21, 11) for m in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 49, 63, 64, 65, 72, 127, 128, 130)]
PIXELS += [(m, 9, 70) for m in (16, 33, 65)]  # AVX-512 has panels of 128 pixels above, and of 64 here
ROWS = [(10, n, 13) for n in (1, 7, 8, 9, 15, 16, 17, 24, 63, 64, 65, 129)]
COLUMNS = [(10, 9, k) for k in (1, 2, 7, 8, 9, 99, 100, 101, 201)]
EMPTY = [(0, 5, 3), (3, 0, 3), (3, 17, 0), (0, 0, 0)]


def example(m, n, k, zeros=0.8, act=0, bias=True, residual=True, columns=100):
    a, rows, index, w, b, _, params, r, out = ref.example(np.random.default_rng(m + n + k), m, n, k, zeros, columns)
    return [a, rows, index, w, b if bias else None, act, params, r if residual else None, out]


def dense(values):
    """Their weights as a matrix of float64."""
    return ref.dense(ref.Packed(*values[1:4]), values[0].shape[1]).astype(np.float64)


@pytest.mark.parametrize("k", (0, 1, 5, 95, 96, 97, 1000))
@pytest.mark.parametrize("zeros", (0, 0.5, 1))
def test_pack_keeps_every_weight(k, zeros):
    rng = np.random.default_rng(k)
    w = rng.standard_normal((7, k), np.float32) * (rng.random((7, k)) >= zeros)
    packed = ref.pack(w, columns=96)
    np.testing.assert_array_equal(ref.dense(packed, k), w)
    assert packed.w.size == np.count_nonzero(w)
    starts = packed.rows.reshape(-1)
    assert (np.diff(starts.astype(np.int64)) >= 0).all() and not starts.size or starts[-1] == packed.w.size
    width = -(-k // max(len(packed.rows), 1))
    for s, row in enumerate(packed.rows):
        mine = packed.index[row[0] : row[-1]]
        assert width <= 96 and ((mine >= s * width) & (mine < (s + 1) * width)).all()


def test_pack_refuses_more_columns_than_an_index_can_name():
    assert ref.pack(np.ones((1, 65536), np.float32)).index.max() == 65535
    with pytest.raises(ValueError, match="65536"):
        ref.pack(np.ones((1, 65537), np.float32))


def test_slices_are_wider_the_sparser_the_weights_and_few_pixels_need_none():
    w = np.zeros((20, 1000), np.float32)
    assert len(ref.pack(w).rows) == 2
    w[:, ::10] = 1
    assert len(ref.pack(w).rows) == 5 and len(ref.pack(w, m=8).rows) == 1
    assert len(ref.pack(np.ones_like(w)).rows) == 8


def test_reference_means_matmul():
    values = example(5, 17, 200)
    ref.spmm(*values)
    expected = values[0] @ dense(values).T + values[4] + values[7]
    np.testing.assert_allclose(values[-1], expected, rtol=1e-5, atol=1e-5)


@isas("spmm")
@pytest.mark.parametrize("m,n,k", [(1, 9, 400), (4, 9, 400), (49, 33, 500), (65, 17, 101)])
def test_equals_float64_within_its_bound(isa, m, n, k):
    values = example(m, n, k)
    a, bias, residual, w = values[0], values[4], values[7], dense(values)
    (out,) = run("spmm", values, isa)
    nonzeros = np.count_nonzero(w, 1)
    bound = (nonzeros + 2) * 2.0**-24 * (abs(a) @ abs(w.T) + abs(bias) + abs(residual))
    assert (abs(out - (a @ w.T + bias + residual)) <= bound).all()


@isas("spmm")
@pytest.mark.parametrize("m,n,k", PIXELS + ROWS + COLUMNS + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, m, n, k):
    check("spmm", example(m, n, k), isa, close(1e-5, 1e-5))


@isas("spmm")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for m, n in ((7, 16), (9, 21), (2, 11)):
        check("spmm", example(m, n, 9, 0.5, act, bias, not bias), isa, close(1e-5, 1e-5))


@isas("spmm")
@pytest.mark.parametrize("m", (1, 2, 5, 21))
@pytest.mark.parametrize("zeros", (0, 0.99, 1))
def test_rows_may_be_full_and_empty(isa, m, zeros):
    for n, k in ((5, 3), (70, 130)):
        check("spmm", example(m, n, k, zeros), isa, close(1e-4, 1e-4))


@isas("spmm")
@pytest.mark.parametrize("m", (1, 3, 12))
def test_slices_change_no_byte(isa, m):
    """Each sum runs along k, however it is sliced."""
    whole = run("spmm", example(m, 9, 300, columns=300), isa)[0]
    for columns in (1, 7, 96, 299, None):
        assert run("spmm", example(m, 9, 300, columns=columns), isa)[0].tobytes() == whole.tobytes()


@isas("spmm")
def test_work_is_split_though_there_is_one_panel_of_pixels(isa):
    for m in (1, 49):
        values = example(m, 1000, 1000, 0.5)
        slots, _ = native.spmm.pack(dict(zip(native.spmm.spec.by_name, values)))
        assert native.spmm.impl("avx2").units(slots) >= 4 if isa == "avx2" else True
        check("spmm", values, isa, close(1e-3, 1e-3))


@isas("spmm")
def test_what_an_l2_cache_does_not_hold(isa):
    check("spmm", example(601, 301, 150, 0.9), isa, close(1e-4, 1e-4))


@isas("spmm")
def test_rows_of_pixels_may_be_far_apart(isa):
    values = example(9, 40, 70)
    for at in (0, 7, 8):
        values[at] = np.pad(values[at], ((0, 0), (0, 3)))[:, : values[at].shape[1]]
    check("spmm", values, isa, close(1e-5, 1e-5))


@isas("spmm")
def test_nothing_beside_the_output_is_written(isa):
    for m, n in ((8, 7), (8, 16), (3, 24), (1, 27)):
        values = example(m, n, 5)
        wide = np.full((m, n + 5), 7, np.float32)
        values[-1] = wide[:, :n]
        native.spmm(*values, isa=isa)
        assert (wide[:, n:] == 7).all() and not (wide[:, :n] == 7).any()


@isas("spmm")
@pytest.mark.parametrize("act", (0, 1, 2))
def test_nan_and_infinity_reach_only_what_multiplies_them(isa, act):
    w = np.zeros((24, 20), np.float32)
    w[3, 2], w[4, 5], w[20, 5], w[21, 6] = 1, 1, -1, 2
    for m in (1, 2, 10):
        a = np.ones((m, 20), np.float32)
        a[:, 2], a[:, 5], a[:, 19] = np.nan, np.inf, np.nan
        p, out = ref.pack(w), np.zeros((m, 24), np.float32)
        params = np.array([-1, 1], np.float32)
        native.spmm(a, p.rows, p.index, p.w, None, act, params, None, out, isa=isa)
        assert np.isnan(out[:, 3]).all()
        assert (out[:, 4] == (1 if act == 2 else np.inf)).all()
        assert (out[:, 20] == (-np.inf, 0, -1)[act]).all()
        assert (out[:, 21] == (2, 2, 1)[act]).all()
        assert not out[:, [0, 1, 2, *range(5, 20), 22, 23]].any()


@isas("spmm")
def test_row_ends_out_of_order_stay_inside_the_arrays(isa):
    for m in (1, 4, 20):
        values = example(m, 40, 100)
        nnz = values[3].size
        values[1] = np.random.default_rng(0).integers(0, nnz + 1, values[1].shape).astype(np.int32)
        run("spmm", values, isa)


def test_values_out_of_bounds_are_refused():
    values = example(3, 9, 5)
    for at, bad in ((1, values[3].size + 1), (1, -1), (2, 5)):
        broken = [x.copy() if isinstance(x, np.ndarray) else x for x in values]
        broken[at].reshape(-1)[0] = bad
        with pytest.raises(ValueError, match="every value of"):
            native.spmm(*broken)


@isas("spmm")
@pytest.mark.parametrize("act", (0, 1, 2, 6))
@pytest.mark.parametrize("residual", (True, False))
@pytest.mark.parametrize("m, n, k", [*PIXELS[::3], (49, 70, 150), (3, 17, 0), (40, 16, 1), (128, 3, 70)])
def test_images_may_lie_in_planes_each_as_it_likes(isa, m, n, k, residual, act):
    values = example(m, n, k, act=act, residual=residual, columns=64)
    usual = run("spmm", values, isa)[0]
    for which in range(8):
        turned = [*values]
        for i, at in enumerate((0, 7, 8)):
            if which >> i & 1 and values[at] is not None:
                turned[at] = ref.channel_first(values[at])
        check("spmm", turned, isa, close)
        np.testing.assert_array_equal(run("spmm", turned, isa)[0], usual)
