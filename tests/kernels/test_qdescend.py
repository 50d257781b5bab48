"""qdescend against its reference; it lowers the error within its bounds."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("qdescend")
NAMES = ("q", "slope", "scale", "c", "low", "fixed", "partner", "chunks", "chunk", "sweeps", "out")


def given(**changes):
    values = dict(zip(NAMES, ref.example(np.random.default_rng(0), 19, 37, 8)))
    return [*(values | changes).values()]


@isas("qdescend")
@pytest.mark.parametrize("sweeps", [0, 1, 5])
def test_codes_are_the_reference_s(isa, sweeps):
    check("qdescend", given(sweeps=sweeps), isa)
    check("qdescend", given(sweeps=sweeps, fixed=None, chunk=None, chunks=0), isa)
    check("qdescend", given(sweeps=sweeps, partner=None, chunk=None, chunks=0), isa)


@isas("qdescend")
def test_four_bit_codes_have_a_scale_per_weight_that_may_be_negative(isa):
    rng = np.random.default_rng(1)
    low = rng.integers(-15, 1, (19, 37)).astype(np.int8)
    scale = rng.uniform(0.5, 2, (19, 37)).astype(np.float32) * np.where(rng.random((19, 1)) < 0.5, -1, 1).astype(
        np.float32
    )
    q = (low + rng.integers(0, 16, low.shape)).astype(np.int8)
    (out,) = check("qdescend", given(q=q, scale=scale, low=low, partner=None, chunk=None, chunks=0), isa)
    assert ((out >= low) & (out.astype(int) <= low.astype(int) + 15)).all()


@isas("qdescend")
def test_each_row_may_have_its_own_matrix(isa):
    x = np.random.default_rng(2).standard_normal((19, 40, 37))
    c = (x.transpose(0, 2, 1) @ x / 40).astype(np.float32)
    check("qdescend", given(c=c), isa)


@isas("qdescend")
def test_errors_fall_within_the_bounds_and_fixed_weights_stay(isa):
    values = dict(zip(NAMES, given()))
    (out,) = check("qdescend", [*values.values()], isa)
    c = values["c"][0].astype(float)
    w = values["q"] - values["slope"] @ np.linalg.inv(c)
    before, after = (np.einsum("nk,kl,nl->n", x - w, c, x - w) for x in (values["q"], out))
    assert (after <= before * 1.001 + 1e-3).all() and after.sum() < before.sum()
    assert (out == values["q"])[values["fixed"] != 0].all()
    sums = np.zeros((len(out), values["chunks"]))
    np.add.at(sums, (slice(None), values["chunk"]), np.abs(out.astype(int)))
    assert sums.max() <= ref.CHUNK
