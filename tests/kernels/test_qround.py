"""qround against its reference, and within the bounds that qgemm needs."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("qround")


@isas("qround")
@pytest.mark.parametrize("depth", [1, 2, 4, 16])
@pytest.mark.parametrize("chunks", [0, 1, 7, 33])
def test_every_depth_takes_the_reference_s_scales_and_codes(isa, depth, chunks):
    values = ref.example(np.random.default_rng(depth), 6, chunks, depth, 12)
    codes, scale = check("qround", values, isa)
    if chunks:
        assert (scale > 0).all()
    q = codes.astype(int)
    if depth > 1:
        assert np.abs(q[..., 0::2] + q[..., 1::2]).max(initial=0) <= ref.PAIR
    if depth > 2:
        assert np.abs(q).sum(2).max(initial=0) <= ref.CHUNK


@isas("qround")
def test_rows_have_their_own_weights_and_least_scales(isa):
    values = ref.example(np.random.default_rng(1), 4, 5, 4)
    values[1] = np.random.default_rng(2).random((4, 5, 4)).astype(np.float32)
    values[3] = np.array([0, 1, 0, 50], np.float32)
    _, scale = check("qround", values, isa)
    assert scale[1] >= 1 and scale[3] >= 50


@isas("qround")
def test_what_no_scale_fits_and_what_is_not_finite_gets_zeros(isa):
    values = ref.example(np.random.default_rng(3), 3, 2, 8, 1)
    values[4][:] = 0.5
    values[0][1] = np.nan
    codes, scale = check("qround", values, isa)
    assert not codes[1].any() and scale[1] == 0
