"""bgemm against its reference and against float64: of the rounded operands, and of the operands themselves."""

import numpy as np
import pytest
from ml_dtypes import bfloat16

from cases import PORTABLE, check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("bgemm")
SIZES = [
    (1, 1, 1),
    (2, 16, 4),
    (5, 15, 3),
    (6, 17, 5),
    (7, 40, 64),
    (13, 33, 7),
    (33, 48, 97),
    (65, 31, 130),
    (530, 33, 35),
]
TILES = [(m, n, 5) for m in (1, 2, 3, 4, 6, 7, 9, 13, 24, 33, 97) for n in (8, 24, 56, 64, 72, 129)]
STEPS = [(17, 40, k) for k in (2, 15, 31, 32, 33, 64, 66, 95)]
EMPTY = [(0, 5, 3), (3, 0, 3), (3, 17, 0), (40, 17, 0), (0, 0, 0)]


def example(m, n, k, act=0, bias=True, residual=True):
    a, w, b, _, params, r, out = ref.example(np.random.default_rng(m + n), m, n, k)
    return [a, w, b if bias else None, act, params, r if residual else None, out]


def weights(w, n, k):
    """What `w` packs, f64[n,k]."""
    return ref.panels(w, k).transpose(0, 2, 1).reshape(-1, k)[:n].astype(np.float64)


def bound(k, a, w, bias, residual):
    """The error bound of the header, against the exact result of rounded operands."""
    return (min(k, 4096) + k / 32 + 4) * 2.0**-24 * (abs(a) @ abs(w.T) + abs(bias) + abs(residual))


def test_reference_means_a_product_of_rounded_operands():
    a, w, bias, _, params, residual, out = example(5, 17, 9)
    ref.bgemm(a, w, bias, 0, params, residual, out)
    want = a.astype(bfloat16).astype(np.float64) @ weights(w, 17, 9).T + bias + residual
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)


def test_reference_rounds_as_ml_dtypes_does():
    bits = np.arange(0, 2**32, 32749, dtype=np.uint64).astype(np.uint32)
    ties = np.arange(65536, dtype=np.uint32) << 16 | 0x8000
    x = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    with np.errstate(invalid="ignore"):
        want = x.astype(bfloat16).astype(np.float32)
    want[abs(x) < np.finfo(np.float32).tiny] = 0
    np.testing.assert_array_equal(ref.rounded(x), want)


def test_packing_rounds_and_fills_up_with_zeros():
    w = np.random.default_rng(0).standard_normal((17, 5)).astype(np.float32)
    packed = ref.pack(w)
    assert packed.shape == (2, 3, 16, 2) and packed.dtype == bfloat16
    assert packed.tobytes() == ref.pack(w.astype(bfloat16)).tobytes()
    np.testing.assert_array_equal(weights(packed, 17, 5), w.astype(bfloat16).astype(np.float64))
    assert not packed[1, :, 1:].any() and not packed[:, 2, :, 1].any()


@isas("bgemm")
@pytest.mark.parametrize("m", (1, 7, 33))
def test_every_kind_of_operand_is_rounded_right(isa, m):
    """A row each of numbers, ties, infinities, NaN and subnormal numbers, times one."""
    bits = np.arange(0, 65536, 5, dtype=np.uint32) << 16
    x = np.concatenate([bits | low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]).view(np.float32)
    x = np.resize(x, (-(-x.size // m), m)).T
    one, none = ref.pack(np.ones((1, 1), np.float32)), np.zeros(2, np.float32)
    for column in x.T[:: max(1, x.shape[1] // 60)]:
        a, out = np.ascontiguousarray(column).reshape(m, 1), np.zeros((m, 1), np.float32)
        native.bgemm(a, one, None, 0, none, None, out, isa=isa)
        np.testing.assert_array_equal(out, ref.rounded(a))


@isas("bgemm")
def test_rows_are_rounded_to_nearest_even_wherever_their_numbers_stand(isa):
    rng, k = np.random.default_rng(0), 45
    a = (
        rng.integers(0x3F80, 0x4000, (k, k)).astype(np.uint32) << 16 | rng.choice([0x7FFF, 0x8000, 0x8001], (k, k))
    ).astype(np.uint32)
    a, out = a.view(np.float32), np.zeros((k, k), np.float32)
    native.bgemm(a, ref.pack(np.eye(k, dtype=np.float32)), None, 0, np.zeros(2, np.float32), None, out, isa=isa)
    np.testing.assert_array_equal(out, ref.rounded(a))


@isas("bgemm")
@pytest.mark.parametrize("m", (1, 33))
def test_every_weight_is_the_number_that_it_is(isa, m):
    bits = np.arange(0, 65536, 7, dtype=np.uint16).reshape(-1, 1)
    out = np.zeros((m, len(bits)), np.float32)
    w = ref.pack(bits.view(bfloat16))
    native.bgemm(np.ones((m, 1), np.float32), w, None, 0, np.zeros(2, np.float32), None, out, isa=isa)
    for row in out:
        np.testing.assert_array_equal(row, ref.panels(w, 1)[:, 0].reshape(-1)[: len(bits)])


@isas("bgemm")
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_float64_within_its_bounds(isa, m, n, k):
    values = example(m, n, k)
    rng = np.random.default_rng(k)
    w = rng.standard_normal((n, k)).astype(np.float32)
    values[1] = ref.pack(w)
    a, _, bias, _, _, residual, _ = values
    (out,) = run("bgemm", values, isa)
    a16, w16 = (x.astype(bfloat16).astype(np.float64) for x in (a, w))
    limit = bound(k, a16, w16, bias, residual)
    assert (abs(out - (a16 @ w16.T + bias + residual)) <= limit).all()
    a, w = a.astype(np.float64), w.astype(np.float64)
    limit += (2.0**-7 + 2.0**-16) * (abs(a) @ abs(w.T))
    assert (abs(out - (a @ w.T + bias + residual)) <= limit).all()


@isas("bgemm")
@pytest.mark.parametrize("m,n,k", SIZES + TILES + STEPS + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, m, n, k):
    check("bgemm", example(m, n, k), isa, close(1e-5, 1e-5))


@isas("bgemm")
@pytest.mark.parametrize("m", (3, 34))
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias, m):
    for n in (16, 21, 40):
        check("bgemm", example(m, n, 9, act, bias, not bias), isa, close(1e-5, 1e-5))


@isas("bgemm")
@pytest.mark.parametrize("m", (1, 30))
def test_many_panels_are_split_for_few_rows(isa, m):
    values = example(m, 500, 600)
    check("bgemm", values, isa, close(1e-4, 1e-4))
    slots, _ = native.bgemm.pack(dict(zip(native.bgemm.spec.by_name, values)))
    assert isa in PORTABLE or native.bgemm.impl(isa).units(slots) > 2


@isas("bgemm")
def test_rows_may_be_far_apart_and_panels_the_same_memory(isa):
    for m in (3, 35):
        a, w, bias, _, params, residual, out = example(m, 40, 7)
        wide = [np.pad(x, ((0, 0), (0, 3)))[:, : x.shape[1]] for x in (a, residual, out)]
        for panels in (w, np.broadcast_to(w[:1], w.shape)):
            check("bgemm", [wide[0], panels, bias, 2, params, wide[1], wide[2]], isa, close(1e-5, 1e-5))


@isas("bgemm")
@pytest.mark.parametrize("m", (1, 5, 34))
def test_nothing_beside_the_output_is_written(isa, m):
    for n in (7, 16, 27, 61):
        values = example(m, n, 5)
        room = np.full((m, n + 5), 7, np.float32)
        values[-1] = room[:, :n]
        native.bgemm(*values, isa=isa)
        assert (room[:, n:] == 7).all() and not (room[:, :n] == 7).any()


@isas("bgemm")
@pytest.mark.parametrize("m", (1, 34))
@pytest.mark.parametrize("act", (0, 1, 2))
def test_nan_and_infinity_pass(isa, act, m):
    a, w, bias, _, params, _, out = example(m, 24, 3)
    bias[:] = 0
    bias[[0, 9, 20]] = np.nan, np.inf, -np.inf
    native.bgemm(a, w, bias, act, params, None, out, isa=isa)
    assert np.isnan(out[:, 0]).all()
    assert (out[:, 9] == (1 if act == 2 else np.inf)).all()
    assert (out[:, 20] == (-np.inf, 0, -1)[act]).all()


@isas("bgemm")
@pytest.mark.parametrize("m, n", [(1, 16), (3, 40), (33, 24)])
@pytest.mark.parametrize("k", [4095, 4098, 3 * 4096 + 5])
def test_long_sums_are_made_of_parts(isa, m, n, k):
    rng = np.random.default_rng(k)
    a, W = rng.random((m, k), np.float32), rng.random((n, k), np.float32)
    params, bias, out = np.zeros(2, np.float32), np.ones(n, np.float32), np.empty((m, n), np.float32)
    want = a.astype(bfloat16).astype(np.float64) @ W.astype(bfloat16).astype(np.float64).T + 1
    native.bgemm(a, ref.pack(W), bias, 0, params, None, out, isa=isa)
    np.testing.assert_allclose(out, want, 2e-5)


def test_other_types_of_weights_are_refused():
    values = example(2, 16, 4)
    values[1] = values[1].view(np.float16)
    with pytest.raises(ValueError, match=r"bgemm: w must be bf16\["):
        native.bgemm(*values)


@pytest.mark.skipif("amx" not in native.bgemm.rows(), reason="tiles are x86's")
@pytest.mark.parametrize("m,suits", [(0, 0), (1, 0), (7, 0), (8, 1), (100, 1)])
def test_few_rows_do_not_suit_tiles(m, suits):
    slots, _ = native.bgemm.pack(dict(zip(native.bgemm.spec.by_name, example(m, 20, 9))))
    assert native.bgemm.rows()["amx"].suits(slots) == suits
