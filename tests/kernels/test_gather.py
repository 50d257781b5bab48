"""gather against numpy."""

import numpy as np
import pytest

from cases import check, isas
from pycompress import native
from pycompress.kernels import module

ref = module("gather")


@isas("gather")
@pytest.mark.parametrize(
    "outer,rows,inner,count", [(2, 7, 12, 5), (3, 4, 1, 9), (1, 5, 4, 7), (1, 3, 8, 2), (2, 3, 5, 0)]
)
def test_picks_rows(isa, outer, rows, inner, count):
    x, index, out = ref.example(np.random.default_rng(0), outer, rows, inner, count)
    (got,) = check("gather", [x, index, out], isa)
    np.testing.assert_array_equal(got, x[:, index])


@isas("gather")
def test_rows_may_be_apart(isa):
    x = np.random.default_rng(1).integers(0, 255, (2, 6, 9), np.uint8)[:, :, :4]
    check("gather", [x, np.array([5, 0, 0], np.int32), np.zeros((2, 3, 4), np.uint8)], isa)


def test_refuses_an_index_past_the_end():
    x, index, out = ref.example(np.random.default_rng(0))
    index[2] = 7
    with pytest.raises(ValueError, match=r"every value of index must be in \[0, 7\)"):
        native.gather(x, index, out)
