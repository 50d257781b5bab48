"""qgemm: exact on every ISA, whatever the weights."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("qgemm")
isas = pytest.mark.parametrize("isa", native.qgemm.impls())
depths = pytest.mark.parametrize("T", (0, 1, 2, 4, 8))
SIZES = [(1, 1, 1), (2, 16, 4), (5, 15, 3), (6, 17, 5), (7, 40, 64), (13, 33, 7), (49, 16, 33), (101, 31, 130)]
SIZES += [(19, 64, 12), (20, 77, 9)]


def run(isa, args):
    args = fenced_all(args)
    args[-1][...] = 77
    native.qgemm(*args, isa=isa)
    return args[-1]


def expected(args):
    args = [*args[:-1], args[-1].copy()]
    ref.qgemm(*args)
    return args[-1]


def plain(a, w, azp=0, kind="i32", **tail):
    """Arguments for a and w as they are, sums out."""
    m, n = a.shape[0], w.shape[0]
    packed = ref.pack(w)
    values = ref.epilogue(np.random.default_rng(0), m, n, kind) | {"bias": None} | tail
    zero = np.broadcast_to(np.array([azp], np.int32), (m,))
    return [a, zero, packed.w, packed.colsum, None, *values.values()]


def test_reference_means_matmul():
    rng = np.random.default_rng(0)
    a, w = rng.integers(0, 256, (5, 9)).astype(np.uint8), rng.integers(-128, 128, (17, 9)).astype(np.int8)
    np.testing.assert_array_equal(expected(plain(a, w, 7)), (a.astype(int) - 7) @ w.T.astype(int))


@isas
@depths
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_reference(isa, m, n, k, T):
    args = ref.example(np.random.default_rng(m), m, n, k, T)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
def test_a_table_answers_every_byte(isa):
    """Sums that run through all bytes: 16 of each in a row."""
    values = np.arange(256, dtype=np.uint8)[:, None]
    tail = dict(scale=np.ones(16, np.float32), clamp=np.array([0, 0, 255], np.int32))
    for lut in (np.random.default_rng(0).permutation(256).astype(np.uint8), values[:, 0], 255 - values[:, 0]):
        args = plain(values, np.ones((16, 1), np.int8), kind="u8", lut=lut, **tail)
        np.testing.assert_array_equal(run(isa, args), np.broadcast_to(lut[:, None], (256, 16)))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 1, 0), ("u8", 0, 1), ("u8", 1, 1), ("i32", 0, 0), ("f32", 0, 0)])
@pytest.mark.parametrize("m,n", [(1, 3), (7, 16), (13, 35), (14, 24), (11, 61), (35, 9)])
def test_every_epilogue_equals_reference(isa, kind, lut, residual, m, n):
    args = ref.example(np.random.default_rng(n), m, n, 21, kind=kind, lut=lut, residual=residual)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("lut,residual", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_any_number_of_columns_equals_reference_and_nothing_beside_them_is_written(isa, lut, residual):
    for n in range(1, 17):
        args = ref.example(np.random.default_rng(n), 15, n, 9, lut=lut, residual=residual)
        beside = np.full((15, n + 3), 77, np.uint8)
        native.qgemm(*args[:-1], beside[:, :n], isa=isa)
        np.testing.assert_array_equal(beside[:, :n], expected(args))
        assert (beside[:, n:] == 77).all()
        np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 0, 0), ("u8", 1, 1), ("i32", 0, 0), ("f32", 0, 0)])
@pytest.mark.parametrize("n", (1, 2, 3, 4))
def test_few_columns_of_many_rows_equal_reference(isa, n, kind, lut, residual):
    for m, k in [(16, 4), (33, 15), (50, 16), (40, 24), (17, 32), (100, 33), (31, 64), (48, 130), (16, 2052)]:
        args = ref.example(np.random.default_rng(k), m, n, k, kind=kind, lut=lut, residual=residual)
        np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("n", (10, 16, 27, 32, 48, 51))
def test_any_number_of_rows_equals_reference(isa, n):
    for m in range(1, 30):
        args = ref.example(np.random.default_rng(m), m, n, 9)
        np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize(
    "m,n,k", [(17, 48, 64), (33, 33, 68), (48, 16, 184), (65, 80, 96), (31, 20, 67), (35, 40, 53), (8, 31, 260)]
)
def test_rows_and_k_of_more_than_one_tile_equal_reference(isa, m, n, k):
    args = ref.example(np.random.default_rng(m), m, n, k)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("clamp", ([0, 0, 255], [100, 0, 255], [0, 3, 250], [255, 20, 10]))
@pytest.mark.parametrize("m,n", [(5, 16), (3, 24), (2, 64)])
def test_scales_of_any_size_round_and_saturate_as_in_scalar(isa, clamp, m, n):
    scale = np.resize(np.array([0.5, 1, 2, 1e-3, 1e30, -1e30, 0, np.inf, -np.inf, np.nan], np.float32), n)
    for scales in (scale, np.full(n, 0.5, np.float32)):
        args = ref.example(np.random.default_rng(n), m, n, 7)
        args[6], args[7] = scales, np.array(clamp, np.int32)
        np.testing.assert_array_equal(run(isa, args), run("scalar", args))


@isas
@pytest.mark.parametrize("act", range(9))
@pytest.mark.parametrize("m,n", [(5, 3), (2, 40)])
def test_activations_of_float_outputs_equal_scalar(isa, act, m, n):
    args = ref.example(np.random.default_rng(n), m, n, 7, kind="f32")
    args[6] = np.resize(np.array([1e-3, -1e-3, -0.0, np.inf, np.nan, 1e-5], np.float32), n)
    args[12], args[13] = act, np.array([-0.25, 0.5], np.float32)
    got, want = run(isa, args), run("scalar", args)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))


@isas
@depths
@pytest.mark.parametrize("by_row", (False, True))
@pytest.mark.parametrize("m,n", [(15, 18), (26, 10), (8, 55)])
def test_zero_points_of_rows_and_columns(isa, by_row, T, m, n):
    rng = np.random.default_rng(T)
    args = ref.example(rng, m, n, 22, T, kind="i32")
    if by_row:
        args[1] = rng.integers(0, 256, m).astype(np.int32)
    args[4] = rng.integers(-128, 128, n).astype(np.int32)
    np.testing.assert_array_equal(run(isa, args), expected(args))


def extremes(w):
    """The u8 inputs that give each row of w its maximum and its minimum sum."""
    return np.concatenate([np.where(w > 0, 255, 0), np.where(w < 0, 255, 0), np.full((1, w.shape[1]), 255)]).astype(
        np.uint8
    )


def at_the_bound(T, k):
    """Weights int8[rows,k] whose pairs sum to 128 or -128, or nearly, and whose chunks sum to 256 in each lane."""
    within = np.arange(k) % (4 * T)
    rows = []
    for first, second in ((127, 1), (-128, 0), (64, 64), (-64, -64), (127, -128), (-1, -127)):
        row = np.where(np.arange(k) % 2, second, first)
        full = 4 * T if T == 1 else 4 if first * second < -128 else 8  # so many k fill a chunk
        rows += [np.where(within < full, row, 0), np.where(within >= 4 * T - full, row, 0)]
    return np.array(rows, np.int8)


@isas
@pytest.mark.parametrize("T", (1, 2, 4, 8))
@pytest.mark.parametrize("k", (8, 64, 100))
def test_weights_at_the_bound_stay_exact_at_every_extreme(isa, T, k):
    w = at_the_bound(T, k)
    assert ref.fits(w, T).all()
    for row in w:
        a = extremes(row[None])
        np.testing.assert_array_equal(run(isa, plain(a, row[None])), a.astype(int) @ row[:, None].astype(int))
    a = extremes(w)
    np.testing.assert_array_equal(run(isa, plain(a, w)), a.astype(int) @ w.T.astype(int))


@isas
def test_one_more_than_the_bound_is_beyond_the_depth(isa):
    for T in (1, 2, 4, 8):
        w = np.zeros((2, 4 * T), np.int8)
        w[:, :2] = (64, 65) if T == 1 else (64, 64)
        if T > 1:
            w[:, -4:-2] = 64, 65
            w[0, -3] = 64
            assert ref.fits(w, T).tolist() == [True, False]
        a = extremes(w)
        np.testing.assert_array_equal(run(isa, plain(a, w)), a.astype(int) @ w.T.astype(int))


@isas
@pytest.mark.parametrize("sigma", (20, 28, 36, 44, 80))
@pytest.mark.parametrize("m,k", ((1, 64), (2, 97), (6, 640), (13, 30), (20, 300)))
def test_weights_of_which_some_fit_no_window_stay_exact_at_every_extreme(isa, sigma, m, k):
    """What exceeds the bounds of a chunk is summed separately."""
    rng = np.random.default_rng(sigma)
    w = np.clip(np.rint(rng.normal(0, sigma, (21, k))), -128, 127).astype(np.int8)
    a = np.concatenate([extremes(w), rng.integers(0, 256, (m, k)).astype(np.uint8)])
    for rows in (a[-m:], a):
        args = plain(rows, w, 3)
        np.testing.assert_array_equal(run(isa, args), (rows.astype(int) - 3) @ w.T.astype(int))


@isas
@pytest.mark.parametrize("few", (1, 4, 9, 30))
def test_a_few_weights_of_the_largest_size_among_small_ones(isa, few):
    rng = np.random.default_rng(few)
    w = rng.integers(-6, 7, (16, 120)).astype(np.int8)
    for row in w:
        row[rng.choice(120, few, False)] = rng.choice((-128, 127), few)
        at = rng.integers(0, 116)
        row[at : at + 4] = rng.choice((-128, 127))
    a = extremes(w)
    np.testing.assert_array_equal(run(isa, plain(a, w)), a.astype(int) @ w.T.astype(int))


@isas
def test_full_range_weights_and_the_largest_k(isa):
    k = 65536
    w = np.array([[-128], [127]], np.int8).repeat(k, 1)
    a = np.full((7, k), 255, np.uint8)
    np.testing.assert_array_equal(run(isa, plain(a, w)), a.astype(int) @ w.T.astype(int))


def by_units(isa, args, order):
    """Run unit by unit in the given order, with nothing prepared."""
    slots, _ = native.qgemm.pack(dict(zip((a.name for a in native.qgemm.spec.args), args)))
    impl = native.qgemm.impl(isa)
    scratch = native.aligned(max(impl.scratch(slots) if impl.scratch else 0, 1), np.uint8)
    for u in order(impl.units(slots)).tolist():
        impl.run(slots, u, u + 1, native.ffi.cast("void *", scratch.ctypes.data))


@isas
def test_any_split_of_the_work_prepared_or_not_gives_the_same_answer(isa):
    rng = np.random.default_rng(2)
    args = ref.example(rng, 500, 40, 70, 2)
    whole = run(isa, args)
    by_units(isa, args, rng.permutation)
    np.testing.assert_array_equal(args[-1], whole)


def test_missing_parts_of_the_epilogue_write_zeros():
    for isa in native.qgemm.impls():
        args = ref.example(np.random.default_rng(3), 3, 18, 5)
        args[6] = None
        assert not run(isa, args).any()


@isas
def test_blocks_of_very_long_rows_end_with_the_matrix(isa):
    """So few rows of 12,000 bytes fit a block that their number is no multiple of a tile's."""
    args = ref.example(np.random.default_rng(0), 196, 16, 12000, 0)
    np.testing.assert_array_equal(run(isa, args), expected(args))


def test_strided_rows_and_shared_rows():
    rng = np.random.default_rng(4)
    w = rng.integers(-60, 60, (20, 9)).astype(np.int8)
    wide = rng.integers(0, 256, (8, 30)).astype(np.uint8)
    flat = rng.integers(0, 256, 40).astype(np.uint8)
    views = [wide[:, :9], np.broadcast_to(wide[0, -9:], (8, 9))]
    views += [np.lib.stride_tricks.as_strided(flat[-9 - 7 * s :], (8, 9), (s, 1)) for s in (1, 2, 3, 4)]
    for isa in native.qgemm.impls():
        for a in views:
            args = plain(a, w)
            native.qgemm(*args, isa=isa)
            np.testing.assert_array_equal(args[-1], a.astype(int) @ w.T.astype(int))


@depths
def test_accumulation_depths_agree_with_the_definition(T):
    rng = np.random.default_rng(5)
    for k, segments in ((1, 1), (30, 1), (27, 9), (64, 4)):
        w = ref.weights_for(rng, 12, k, T, segments)
        w[::3] = rng.integers(-60, 60, w[::3].shape)
        for t in (1, 2, 4, 8):
            chunk, lane = ref.int16_sums(k, t, segments)
            pair = ref.int16_sums(k, 1, segments)
            ok = []
            for row in w.astype(int):
                P, N = np.zeros((2, k, 2), int)
                np.add.at(P, (chunk, lane), np.maximum(row, 0)), np.add.at(N, (chunk, lane), np.maximum(-row, 0))
                p, n = np.zeros((2, k, 2), int)
                np.add.at(p, pair, np.maximum(row, 0)), np.add.at(n, pair, np.maximum(-row, 0))
                ok.append(max(p.max(), n.max()) <= 128 and (t == 1 or (P + N).max() <= 256))
            assert ref.fits(w, t, segments).tolist() == ok
        if T:
            assert (ref.accumulation_depth(ref.weights_for(rng, 5, k, T, segments), segments) >= T).all()
