"""q4gemm: the same bytes on every ISA, whatever the groups."""

import numpy as np
import pytest

from cases import check, isas, run
from pycompress.kernels import module

ref = module("q4gemm")
SIZES = [
    (1, 1, 1),
    (2, 16, 4),
    (3, 17, 31),
    (4, 15, 32),
    (5, 16, 33),
    (6, 33, 64),
    (7, 40, 70),
    (13, 16, 100),
    (101, 31, 130),
    (1, 130, 96),
    (2, 60, 70),
    (50, 70, 36),
]


def example(m, n, k, **given):
    return ref.example(np.random.default_rng(m * n + k), m, n, k, **given)


@isas("q4gemm")
@pytest.mark.parametrize("symmetric", (True, False))
@pytest.mark.parametrize("group", (32, 64, 1000))
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_reference(isa, m, n, k, group, symmetric):
    check("q4gemm", example(m, n, k, group=group, symmetric=symmetric), isa)


@isas("q4gemm")
@pytest.mark.parametrize(
    "m,n,k,group",
    [(33, 48, 250, 96), (16, 20, 184, 192), (49, 16, 320, 160), (70, 33, 130, 128), (390, 33, 70, 64)],
)
def test_many_rows_and_groups_of_any_length_equal_reference(isa, m, n, k, group):
    check("q4gemm", example(m, n, k, group=group, symmetric=False), isa)


@isas("q4gemm")
@pytest.mark.parametrize("kind,lut,residual", [("u8", 0, 0), ("u8", 1, 0), ("u8", 0, 1), ("u8", 1, 1), ("f32", 0, 0)])
@pytest.mark.parametrize("m,n,k", [(1, 3, 40), (5, 16, 40), (7, 16, 70), (13, 35, 64)])
@pytest.mark.parametrize("by_row", (True, False))
def test_every_tail_equals_reference(isa, kind, lut, residual, m, n, k, by_row):
    check("q4gemm", example(m, n, k, kind=kind, lut=lut, residual=residual, by_row=by_row), isa)


@isas("q4gemm")
@pytest.mark.parametrize("act", range(9))
def test_every_activation_equals_scalar(isa, act):
    args = example(7, 32, 40)
    args[-3] = act
    args[8][:] = 0
    args[0][:3] = 128  # sums of 0, and of either sign
    args[1][...] = 128
    args[2][0] = -1
    np.testing.assert_array_equal(
        run("q4gemm", args, isa)[0].view(np.uint32), run("q4gemm", args, "scalar")[0].view(np.uint32)
    )


@isas("q4gemm")
@pytest.mark.parametrize("m", (2, 9))
@pytest.mark.parametrize("symmetric", (True, False))
def test_extremes_do_not_overflow(isa, m, symmetric):
    """Every product of a chunk at its maximum, and at its minimum."""
    for a in (0, 255):
        for code in (0, 15):
            args = example(m, 16, 256, group=128, symmetric=symmetric, half=False)
            args[0][...], args[3][...] = a, code * 17
            if not symmetric:
                args[6][...] = 15 - code
            check("q4gemm", args, isa)


@isas("q4gemm")
@pytest.mark.parametrize("m", (3, 8))
def test_rows_may_lie_apart_and_without_bias(isa, m):
    args = example(m, 20, 65)
    wide = np.full((m, 80), 200, np.uint8)
    wide[:, :65] = args[0]
    args[0], args[8] = wide[:, :65], None
    check("q4gemm", args, isa)


@isas("q4gemm")
@pytest.mark.parametrize("m", (3, 8))
def test_codes_beyond_k_do_not_count(isa, m):
    args = example(m, 20, 65, group=32, symmetric=False)
    args[3][:, -1, :, 1:] = 255 - args[3][:, -1, :, 1:]
    check("q4gemm", args, isa)


@isas("q4gemm")
@pytest.mark.parametrize("m,n,k", [(0, 5, 40), (4, 0, 40), (4, 5, 0), (9, 5, 0)])
def test_nothing(isa, m, n, k):
    check("q4gemm", example(m, n, k), isa)


@isas("q4gemm")
@pytest.mark.parametrize("m", (2, 9))
def test_the_largest_k(isa, m):
    check("q4gemm", example(m, 3, 65536, group=65536, symmetric=False), isa)


def test_it_is_a_product_with_the_weights_that_are_meant():
    rng = np.random.default_rng(0)
    groups = 3
    scale = rng.uniform(0.5, 1, (17, groups)).astype(np.float32)
    weights = ref._Weights(
        rng.integers(0, 16, (17, 70)).astype(np.uint8), scale, rng.integers(0, 16, (17, groups)).astype(np.uint8), 32
    )
    of = np.arange(70) // 32
    dense = (weights.w.astype(float) - weights.zero[:, of]) * scale[:, of]
    args = example(5, 17, 70, group=32, symmetric=False)
    p = ref.pack(weights)
    args[3:9] = [p.w, p.group, p.scale, p.zero, p.colsum, None]
    args[-3] = 0
    out = args[-1]
    ref.q4gemm(*args)
    want = (args[0].astype(float) - args[1][:, None]) * args[2][:, None] @ dense.T
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-2)


def test_what_cannot_be_packed_is_refused():
    def weights(k, group):
        groups = -(-k // group)
        return ref._Weights(
            np.zeros((1, k), np.uint8), np.ones((1, groups), np.float32), np.zeros((1, groups), np.uint8), group
        )

    with pytest.raises(ValueError, match="at most 65536 columns, got 65537"):
        ref.pack(weights(65537, 65537))
    with pytest.raises(ValueError, match="multiple of 32 columns, got 16 of 40"):
        ref.pack(weights(40, 16))
