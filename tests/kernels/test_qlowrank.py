"""qlowrank: exact on every ISA, and the same as its parts one by one."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("qlowrank")
qgemm = module("qgemm")
NAMES = [a.name for a in native.qlowrank.spec.args]
isas = pytest.mark.parametrize("isa", native.qlowrank.impls())
SIZES = [
    (1, 1, 1, 1),
    (2, 16, 4, 3),
    (5, 15, 3, 16),
    (6, 17, 5, 17),
    (7, 40, 64, 8),
    (13, 33, 7, 40),
    (101, 31, 130, 21),
]
TILES = [(m, n, 9, r) for m in (3, 11, 13, 23, 24, 25, 37, 48, 49, 97, 193) for n, r in ((8, 1), (24, 16), (129, 33))]
EMPTY = [(0, 5, 3, 2), (3, 0, 3, 2), (3, 17, 0, 2), (3, 17, 4, 0), (0, 0, 0, 0)]


def run(isa, args):
    args = fenced_all(args)
    args[-1][...] = 77
    native.qlowrank(*args, isa=isa)
    return args[-1]


def expected(args):
    args = [*args[:-1], args[-1].copy()]
    ref.qlowrank(*args)
    return args[-1]


def plain(a, w, v, azp=0, mid_scale=1.0, kind="i32", **tail):
    """Arguments for a, w [r,k] and v [n,r] as they are, sums out."""
    packed = qgemm.pack(w)
    values = qgemm.epilogue(np.random.default_rng(0), len(a), len(v), kind) | {"bias": None} | tail
    scale = np.full(len(w), mid_scale, np.float32)
    return [a, np.array([azp], np.int32), packed.w, packed.colsum, None, scale, ref.pack(v), *values.values()]


def test_reference_means_two_products_with_a_rounding_between_them():
    rng = np.random.default_rng(0)
    a, w = rng.integers(0, 256, (5, 9)).astype(np.uint8), rng.integers(-128, 128, (7, 9)).astype(np.int8)
    v = rng.integers(-128, 128, (17, 7)).astype(np.int8)
    h = np.rint((a.astype(int) - 7) @ w.T.astype(int) * 0.25).astype(int)
    np.testing.assert_array_equal(expected(plain(a, w, v, 7, 0.25)), h @ v.T.astype(int))


@isas
@pytest.mark.parametrize("m,n,k,r", SIZES + TILES + EMPTY)
def test_equals_reference(isa, m, n, k, r):
    args = ref.example(np.random.default_rng(m), m, n, k, r)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("T", (0, 1, 8))
def test_first_weights_of_any_size(isa, T):
    args = ref.example(np.random.default_rng(T), 50, 33, 70, 20, T=T)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 1, 0), ("u8", 0, 1), ("u8", 1, 1), ("i32", 0, 0), ("f32", 0, 0)])
@pytest.mark.parametrize("m,n", [(1, 3), (7, 16), (13, 35), (14, 24)])
def test_every_epilogue_equals_reference(isa, kind, lut, residual, m, n):
    args = ref.example(np.random.default_rng(n), m, n, 21, 9, kind=kind, lut=lut, residual=residual)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
def test_biases_may_be_missing(isa):
    args = ref.example(np.random.default_rng(5), 7, 20, 21, 9)
    args[NAMES.index("mid_bias")] = args[NAMES.index("bias")] = None
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
def test_the_largest_values_between_the_products_do_not_overflow(isa):
    """h is held at 32767 and -32767, of the largest rank, against the largest weights."""
    a = np.full((7, 64), 255, np.uint8)
    for sign in (-1, 1):
        w, v = np.full((512, 64), 127 * sign, np.int8), np.full((17, 512), -128, np.int8)
        np.testing.assert_array_equal(run(isa, plain(a, w, v)), np.full((7, 17), -sign * 32767 * 128 * 512))


@isas
def test_scales_beyond_all_bounds_are_clamped(isa):
    a, w, v = np.ones((3, 4), np.uint8), np.array([[1, 0, 0, 0], [-1, 0, 0, 0]], np.int8), np.eye(2, dtype=np.int8)
    for scale, want in ((np.inf, [32767, -32767]), (3e38, [32767, -32767]), (np.nan, [32767, 32767]), (0.5, [0, 0])):
        for got in (run(isa, plain(a, w, v, mid_scale=scale)), expected(plain(a, w, v, mid_scale=scale))):
            np.testing.assert_array_equal(got, np.broadcast_to(want, (3, 2)))
    np.testing.assert_array_equal(run(isa, plain(a, w, v, mid_scale=1.5)), np.broadcast_to([2, -2], (3, 2)))


@isas
def test_any_split_of_the_work_prepared_or_not_gives_the_same_answer(isa):
    rng = np.random.default_rng(2)
    args = ref.example(rng, 500, 40, 70, 20, T=2)
    whole = run(isa, args)
    slots, keep = native.qlowrank.pack(dict(zip(NAMES, args)))
    impl = native.qlowrank.impl(isa)
    scratch = native.aligned(max(impl.scratch(slots), 1), np.uint8, 255)
    for u in rng.permutation(impl.units(slots)).tolist():
        impl.run(slots, u, u + 1, native.ffi.cast("void *", scratch.ctypes.data))
    np.testing.assert_array_equal(args[-1], whole)
    assert impl.units(slots) > 8
    del keep


@isas
def test_strided_and_shared_rows(isa):
    rng = np.random.default_rng(4)
    w, v = rng.integers(-60, 60, (11, 9)).astype(np.int8), rng.integers(-60, 60, (20, 11)).astype(np.int8)
    wide = rng.integers(0, 256, (60, 30)).astype(np.uint8)
    flat = rng.integers(0, 256, 250).astype(np.uint8)
    views = [wide[:, :9], np.broadcast_to(wide[0, -9:], (60, 9))]
    views += [np.lib.stride_tricks.as_strided(flat[-9 - 59 * s :], (60, 9), (s, 1)) for s in (1, 2, 3, 4)]
    for a in views:
        args = plain(a, w, v, 3, 0.125)
        native.qlowrank(*args, isa=isa)
        np.testing.assert_array_equal(args[-1], expected(args))


@isas
def test_nothing_beside_the_output_is_written(isa):
    for n in (7, 16, 24, 27):
        args = ref.example(np.random.default_rng(n), 50, n, 21, 9)
        wide = np.full((50, n + 5), 251, np.uint8)  # above the clamp
        args[-1] = wide[:, :n]
        native.qlowrank(*args, isa=isa)
        assert (wide[:, n:] == 251).all() and not (wide[:, :n] == 251).any()


@isas
def test_without_rounding_the_sums_lack_at_most_half_the_weights(isa):
    rng = np.random.default_rng(6)
    a = rng.integers(0, 256, (40, 200)).astype(np.uint8)
    w, v = rng.integers(-128, 128, (30, 200)).astype(np.int8), rng.integers(-128, 128, (50, 30)).astype(np.int8)
    scale = 2.0**-9  # exact; 255 * 128 * 200 / 512 < 32767
    got = run(isa, plain(a, w, v, 100, scale))
    exact = (a.astype(np.int64) - 100) @ w.T.astype(np.int64) * scale @ v.T
    assert (abs(got - exact) <= 0.5 * abs(v.astype(int)).sum(1)).all()
