"""cast is exact."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module
from pycompress.kernels._spec import WORD

ref = module("cast")


@isas("cast")
@pytest.mark.parametrize("x", WORD)
@pytest.mark.parametrize("out", WORD)
def test_every_pair_of_types(isa, x, out):
    check("cast", ref.example(np.random.default_rng(0), 300, x, out), isa)


@isas("cast")
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 9000])
def test_lengths(isa, n):
    check("cast", ref.example(np.random.default_rng(0), n), isa)


@isas("cast")
def test_every_half_comes_back(isa):
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    (wide,) = check("cast", [x, np.zeros(65536, np.float32)], isa)
    (back,) = check("cast", [wide, np.zeros(65536, np.float16)], isa, lambda x, y: None)
    number = ~np.isnan(x)
    assert back[number].tobytes() == x[number].tobytes() and np.isnan(back[~number]).all()


@isas("cast")
def test_ties_and_limits(isa):
    small = np.arange(1 << 12) * 2.0**-26  # quarters of the least half
    large = np.array([2.0**63, -(2.0**63), 2.0**64, 2.0**53 + 2, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 255.9, -0.9, -128.9])
    for dtype in ("float16", "float32", "int64", "uint64", "uint8", "int8"):
        check("cast", [np.concatenate([small, -small, large]), np.zeros(2 * 4096 + 9, dtype)], isa)
