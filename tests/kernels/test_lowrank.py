"""lowrank against its reference, against float64 and against two calls of sgemm."""

import numpy as np
import pytest

from cases import check, close, isas, run
from pycompress import native
from pycompress.kernels import module
from pycompress.kernels._act import ACTS

ref = module("lowrank")
SIZES = [
    (1, 1, 1, 1),
    (2, 16, 4, 3),
    (5, 15, 3, 16),
    (6, 17, 5, 17),
    (7, 40, 64, 8),
    (13, 33, 7, 40),
    (65, 31, 130, 21),
]
TILES = [
    (m, n, 9, r) for m in (1, 3, 6, 23, 24, 25, 48, 49, 97, 193) for n, r in ((8, 1), (24, 16), (72, 24), (129, 33))
]
EMPTY = [(0, 5, 3, 2), (3, 0, 3, 2), (3, 17, 0, 2), (3, 17, 4, 0), (0, 0, 0, 0)]


def example(m, n, k, r, mid_act=0, act=0, bias=True, residual=True):
    values = ref.example(np.random.default_rng(m + n), m, n, k, r)
    values[3], values[7] = mid_act, act
    for i in (2, 6):
        values[i] = values[i] if bias else None
    values[9] = values[9] if residual else None
    return values


def dense(panels, n):
    """The weights f32[n,k] in sgemm's panels."""
    return panels.transpose(0, 2, 1).reshape(-1, panels.shape[1])[:n]


@isas("lowrank")
@pytest.mark.parametrize("m,n,k,r", SIZES)
def test_equals_float64_within_its_bound(isa, m, n, k, r):
    values = example(m, n, k, r)
    a, u, mid, _, _, v, bias, _, _, residual, _ = (
        x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in values
    )
    (out,) = run("lowrank", values, isa)
    u, v = dense(u, r), dense(v, n)
    large = (abs(a) @ abs(u.T) + abs(mid)) @ abs(v.T) + abs(bias) + abs(residual)
    assert (abs(out - ((a @ u.T + mid) @ v.T + bias + residual)) <= (k + r + 5) * 2.0**-24 * large).all()


@isas("lowrank")
@pytest.mark.parametrize("m,n,k,r", SIZES + TILES + EMPTY)
def test_equals_reference_whole_and_in_pieces(isa, m, n, k, r):
    check("lowrank", example(m, n, k, r), isa, close(1e-4, 1e-4))


@isas("lowrank")
@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("act", range(len(ACTS)), ids=ACTS)
def test_every_epilogue_equals_reference(isa, act, bias):
    for n in (16, 21, 24):
        check("lowrank", example(7, n, 9, 5, act, 0, bias, not bias), isa, close(1e-4, 1e-4))
        check("lowrank", example(7, n, 9, 5, 0, act, bias, not bias), isa, close(1e-4, 1e-4))


@isas("lowrank")
@pytest.mark.parametrize("m", (1, 6, 49, 100, 300))
def test_it_is_two_products_to_the_byte(isa, m):
    a, u, mid_bias, mid_act, params, v, bias, act, _, residual, out = example(m, 40, 33, 20, 1, 2)
    mid, want = np.empty((m, 20), np.float32), np.empty_like(out)
    native.sgemm(a, u, mid_bias, mid_act, params, None, mid, isa=isa)
    native.sgemm(mid, v, bias, act, params, residual, want, isa=isa)
    native.lowrank(a, u, mid_bias, mid_act, params, v, bias, act, params, residual, out, isa=isa)
    assert out.tobytes() == want.tobytes()


@isas("lowrank")
def test_rows_may_be_far_apart(isa):
    values = example(50, 40, 7, 5)
    for i in (0, 9, 10):
        values[i] = np.pad(values[i], ((0, 0), (0, 3)))[:, : values[i].shape[1]]
    check("lowrank", values, isa, close(1e-4, 1e-4))


@isas("lowrank")
def test_nothing_beside_the_output_is_written(isa):
    for n in (7, 16, 24, 27):
        values = example(50, n, 5, 3)
        wide = np.full((50, n + 5), 7, np.float32)
        values[-1] = wide[:, :n]
        native.lowrank(*values, isa=isa)
        assert (wide[:, n:] == 7).all() and not (wide[:, :n] == 7).any()


@isas("lowrank")
def test_nan_and_infinity_pass(isa):
    values = example(7, 24, 3, 4, bias=False, residual=False)
    values[2] = np.zeros(4, np.float32)
    values[2][1] = np.inf
    values[5] = module("sgemm").pack(np.eye(24, 4, dtype=np.float32) * np.arange(24, dtype=np.float32)[:, None])
    (out,) = run("lowrank", values, isa)
    assert (out[:, 1] == np.inf).all() and np.isnan(out[:, [0, 2, 3]]).all()  # infinity times zero


def test_rows_are_split_for_two_threads():
    values = example(48, 40, 7, 5)
    slots, _ = native.lowrank.pack(dict(zip(native.lowrank.spec.by_name, values)))
    assert native.lowrank.impl().units(slots) > 1
