"""Views of what a copy reads."""

from itertools import permutations

import numpy as np

from pycompress.lower.values import Step
from pycompress.optimize.dataflow import copied_from


def test_the_view_of_a_copys_source_holds_what_the_view_of_the_copy_holds():
    data = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    for first in permutations(range(4)):
        source = data.transpose(first)
        out = np.ascontiguousarray(source)
        step = Step("permute", {"x": source, "out": out}, "copy", "Transpose", "")
        split = out.reshape([part for d in out.shape for part in ((2, 2) if d == 4 else (d,))])
        for x in (*map(out.transpose, permutations(range(4))), split, split.transpose(4, 2, 0, 1, 3)):
            np.testing.assert_array_equal(copied_from(x, step), x)


def test_there_is_no_such_view_of_dimensions_that_the_copy_has_merged():
    source = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).transpose(2, 0, 1)
    out = np.ascontiguousarray(source)
    assert copied_from(out.reshape(8, 3), Step("permute", {"x": source, "out": out}, "copy", "Transpose", "")) is None
