"""hgemm against its reference, against float64 and, to the byte, against sgemm of the same weights."""

import numpy as np
import pytest
from ml_dtypes import bfloat16

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("hgemm")
SIZES = [(1, 1, 1), (2, 16, 4), (5, 15, 3), (6, 17, 5), (7, 40, 64), (13, 33, 7), (64, 16, 33), (65, 31, 130)]
NARROW = [(m, n, 21) for m in (1, 26) for n in range(1, 9)]
TILES = NARROW + [
    (m, n, 5) for m in (1, 2, 3, 4, 5, 6, 7, 11, 13, 24, 25, 97, 102) for n in (8, 16, 24, 56, 64, 72, 129)
]
EMPTY = [(0, 5, 3), (3, 0, 3), (3, 17, 0), (9, 17, 0), (25, 17, 0), (0, 0, 0)]
kinds = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def example(m, n, k, act=0, bias=True, residual=True, dtype="float16"):
    a, w, b, _, params, r, out = ref.example(np.random.default_rng(m + n), m, n, k, dtype)
    return [a, w, b if bias else None, act, params, r if residual else None, out]


def test_reference_widens_every_float16_as_numpy_does():
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    number = ~np.isnan(x)
    assert ref.widened(x)[number].tobytes() == x[number].astype(np.float32).tobytes()
    assert np.isnan(ref.widened(x)[~number]).all()


def test_reference_widens_every_bfloat16_as_ml_dtypes_does():
    x = np.arange(65536, dtype=np.uint16).view(bfloat16)
    number = ~np.isnan(x.astype(np.float32))
    assert ref.widened(x)[number].tobytes() == x[number].astype(np.float32).tobytes()
    assert np.isnan(ref.widened(x)[~number]).all()


@isas("hgemm")
@kinds
@pytest.mark.parametrize("m", [1, 3, 5, 25])
def test_every_number_of_16_bits_is_widened_right(isa, dtype, m):
    bits = np.arange(65536, dtype=np.uint16).reshape(-1, 1)
    w = ref.pack(bits.view(np.float16 if dtype == "float16" else bfloat16))
    out = np.zeros((m, 65536), np.float32)
    native.hgemm(np.ones((m, 1), np.float32), w, None, 0, np.zeros(2, np.float32), None, out, isa=isa)
    expected = ref.widened(bits.view(w.dtype)).reshape(-1)
    expected[np.abs(expected) < np.finfo(np.float32).tiny] = 0  # of bfloat16 alone
    for row in out:
        np.testing.assert_array_equal(row, expected)  # NaN equal to NaN


@isas("hgemm")
@kinds
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_float64_within_its_bound(isa, dtype, m, n, k):
    values = example(m, n, k, dtype=dtype)
    a, w, bias, _, _, residual, _ = values
    (out,) = run("hgemm", values, isa)
    dense = w.transpose(0, 2, 1).reshape(-1, k)[:n].astype(np.float64)
    bound = (k + 2) * 2.0**-24 * (abs(a) @ abs(dense.T) + abs(bias) + abs(residual))
    assert (abs(out - (a @ dense.T + bias + residual)) <= bound).all()


@isas("hgemm")
@kinds
@pytest.mark.parametrize("m,n,k", SIZES + TILES + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, dtype, m, n, k):
    check("hgemm", example(m, n, k, dtype=dtype), isa, close(1e-5, 1e-5))


@isas("hgemm")
@kinds
@pytest.mark.parametrize("m,n,k", SIZES + TILES)
def test_equals_sgemm_to_the_byte(isa, dtype, m, n, k):
    values = example(m, n, k, act=2, dtype=dtype)
    (got,) = run("hgemm", values, isa)
    values[1] = ref.widened(values[1])
    assert got.tobytes() == run("sgemm", values, isa)[0].tobytes()


@isas("hgemm")
@pytest.mark.parametrize("m", (1, 26))
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias, m):
    for n in (16, 21, 24, 70):
        check("hgemm", example(m, n, 9, act, bias, not bias), isa, close(1e-5, 1e-5))


@isas("hgemm")
@pytest.mark.parametrize("m", (1, 2, 6, 9, 30))
def test_many_panels_are_split_for_few_rows(isa, m):
    values = example(m, 1000, 600)
    check("hgemm", values, isa, close(1e-4, 1e-4))
    slots, _ = native.hgemm.pack(dict(zip(native.hgemm.spec.by_name, values)))
    assert native.hgemm.impl("avx2").units(slots) > 2 if isa == "avx2" else True


@isas("hgemm")
@kinds
def test_rows_may_be_far_apart_and_panels_the_same_memory(isa, dtype):
    for m in (3, 9, 27):
        a, w, bias, _, params, residual, out = example(m, 40, 7, dtype=dtype)
        wide = [np.pad(x, ((0, 0), (0, 3)))[:, : x.shape[1]] for x in (a, residual, out)]
        for panels in (w, np.broadcast_to(w[:1], w.shape)):
            check("hgemm", [wide[0], panels, bias, 2, params, wide[1], wide[2]], isa, close(1e-5, 1e-5))


@isas("hgemm")
@pytest.mark.parametrize("m", (1, 2, 5, 8, 26))
def test_nothing_beside_the_output_is_written(isa, m):
    for n in (7, 16, 24, 27, 61):
        values = example(m, n, 5)
        wide = np.full((m, n + 5), 7, np.float32)
        values[-1] = wide[:, :n]
        native.hgemm(*values, isa=isa)
        assert (wide[:, n:] == 7).all() and not (wide[:, :n] == 7).any()


@isas("hgemm")
@pytest.mark.parametrize("m", (1, 26))
@pytest.mark.parametrize("act", (0, 1, 2))
def test_nan_and_infinity_pass(isa, act, m):
    a, w, bias, _, params, _, out = example(m, 24, 3)
    bias[:] = 0
    bias[[0, 9, 20]] = np.nan, np.inf, -np.inf
    native.hgemm(a, w, bias, act, params, None, out, isa=isa)
    assert np.isnan(out[:, 0]).all()
    assert (out[:, 9] == (1 if act == 2 else np.inf)).all()
    assert (out[:, 20] == (-np.inf, 0, -1)[act]).all()


def test_other_types_of_weights_are_refused():
    values = example(2, 16, 4)
    values[1] = values[1].view(np.int16)
    with pytest.raises(ValueError, match="hgemm: w must be {f16,bf16}wt"):
        native.hgemm(*values)
