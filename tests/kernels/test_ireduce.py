"""ireduce against its reference."""

import numpy as np
import pytest

from cases import check, close, isas
from pycompress.kernels import module

ref = module("ireduce")


@isas("ireduce")
@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("mode", ref.MODES)
def test_every_mode_of_every_type_is_exact_modulo_its_size(isa, dtype, mode):
    for outer, r, inner in [(2, 50, 3), (3, 700, 1), (1, 3, 130), (2, 1, 64), (2, 0, 3), (0, 4, 2)]:
        values = ref.example(np.random.default_rng(0), outer, r, inner, ref.MODES.index(mode), dtype)
        (got,) = check("ireduce", values, isa)
        if mode == "max" and r:
            np.testing.assert_array_equal(got, values[0].max(1))


@isas("ireduce")
def test_the_mean_is_rounded_toward_zero(isa):
    x = np.array([[-3, -4], [3, 4], [-(2**31), 0]], np.int32)[:, :, None]
    (got,) = check("ireduce", [x, 1, np.zeros((3, 1), np.int32)], isa)
    assert got.ravel().tolist() == [-3, 3, -(2**30)]


@isas("ireduce")
@pytest.mark.parametrize("mode", ref.MODES)
def test_doubles_are_reduced_as_well(isa, mode):
    for outer, r, inner in [(2, 50, 3), (1, 3, 130), (2, 0, 3)]:
        values = ref.example(np.random.default_rng(0), outer, r, inner, ref.MODES.index(mode), "float64")
        check("ireduce", values, isa, close(1e-13, 1e-13))


@isas("ireduce")
def test_a_nan_is_the_maximum_and_the_minimum(isa):
    x = np.array([[1, np.nan, 3]])[:, :, None]
    for mode in (2, 3):
        (got,) = check("ireduce", [x, mode, np.zeros((1, 1))], isa)
        assert np.isnan(got).all()
