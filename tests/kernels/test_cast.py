"""cast is exact."""

import ml_dtypes  # noqa: F401  # names bfloat16 to numpy
import numpy as np
import pytest

from cases import check, isas
from pycompress.dtypes import WORD
from pycompress.kernels import module

ref = module("cast")


def equal(x, y):
    if x.dtype.name == "bfloat16":  # of which numpy does not know that it has NaN
        x, y = x.astype(np.float32), y.astype(np.float32)
    np.testing.assert_array_equal(x, y)


@isas("cast")
@pytest.mark.parametrize("x", WORD)
@pytest.mark.parametrize("out", WORD)
def test_every_pair_of_types(isa, x, out):
    check("cast", ref.example(np.random.default_rng(0), 301, x, out), isa, equal)


@isas("cast")
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 9000])
def test_lengths(isa, n):
    for x, out in (("float32", "int32"), ("float32", "float16"), ("float16", "float32"), ("float32", "bfloat16")):
        check("cast", ref.example(np.random.default_rng(0), n, x, out), isa, equal)


def flushed(x):
    """Subnormal numbers as zeros, which they count as within a call."""
    return np.where(np.abs(x) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), x), x)


@isas("cast")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half_comes_back(isa, dtype):
    x = np.arange(65536, dtype=np.uint16).view(dtype)
    (wide,) = check("cast", [x, np.zeros(65536, np.float32)], isa, lambda x, y: equal(flushed(x), flushed(y)))
    (back,) = check("cast", [wide, np.zeros(65536, dtype)], isa, lambda x, y: None)
    number, back = ~np.isnan(wide), back.astype(np.float32)
    assert flushed(back)[number].tobytes() == flushed(wide)[number].tobytes() and np.isnan(back[~number]).all()


@isas("cast")
def test_ties_and_limits(isa):
    small = np.arange(1 << 12) * 2.0**-26  # quarters of the smallest float16
    large = np.array([2.0**63, -(2.0**63), 2.0**64, 2.0**53 + 2, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 255.9, -0.9, -128.9])
    values = np.concatenate([small, -small, large])
    for dtype in ("float16", "bfloat16", "float32", "int64", "uint64", "uint8", "int8"):
        check("cast", [values, np.zeros(2 * 4096 + 9, dtype)], isa, equal)
    for dtype in ("float16", "bfloat16"):
        check("cast", [values.astype(np.float32), np.zeros(2 * 4096 + 9, dtype)], isa, equal)
