"""lookup against its reference: any index is harmless."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("lookup")


@isas("lookup")
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    "outer,rows,inner,count", [(2, 7, 12, 20), (3, 4, 1, 9), (1, 5, 4, 7), (2, 3, 5, 0), (2, 3, 0, 6)]
)
def test_rows_are_picked_from_either_end(isa, outer, rows, inner, count, dtype):
    x, index, out = ref.example(np.random.default_rng(0), outer, rows, inner, count, dtype)
    (got,) = check("lookup", [x, index, out], isa)
    for i in np.flatnonzero((index >= -rows) & (index < rows)):
        np.testing.assert_array_equal(got[:, i], x[:, index[i]])


@isas("lookup")
def test_an_index_outside_gives_nan_or_minus_one(isa):
    index = np.array([3, -4, 2**63 - 1, -(2**63), 1], np.int64)
    for dtype, missing in (("float32", np.nan), ("int64", -1)):
        x = np.arange(3, dtype=dtype).reshape(1, 3, 1)
        out = np.zeros((1, 5, x.itemsize), np.uint8)
        (got,) = check("lookup", [x.view(np.uint8), index, out], isa)
        np.testing.assert_array_equal(got.view(dtype).ravel(), np.array([missing] * 4 + [1], dtype))


@isas("lookup")
def test_rows_may_be_apart_and_there_may_be_none(isa):
    x = np.random.default_rng(1).integers(0, 255, (2, 6, 9), np.uint8)[:, :, :4]
    check("lookup", [x, np.array([5, -6, 9], np.int32), np.zeros((2, 3, 4), np.uint8)], isa)
    (got,) = check("lookup", [x[:, :0], np.array([0, -1, 9], np.int32), np.zeros((2, 3, 4), np.uint8)], isa)
    assert (got == 255).all()
