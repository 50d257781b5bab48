"""nms against its reference, which sorts."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("nms")
SIZES = [(2, 30, 3, 5), (1, 1, 1, 1), (1, 40, 2, 40), (2, 5, 2, 0), (1, 0, 2, 3), (0, 3, 2, 2), (2, 3, 0, 2)]


@isas("nms")
@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_the_best_boxes_that_share_little(isa, center, threshold):
    for b, n, c, k in SIZES:
        check("nms", ref.example(np.random.default_rng(0), b, n, c, k, center, threshold), isa)


@isas("nms")
def test_boxes_of_nan_and_without_area_cover_nothing(isa):
    boxes = np.float32([[[0, 0, 1, 1], [np.nan, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 1], [0, 0, np.inf, np.inf]]])
    scores = np.float32([[[5, 4, 3, 2, 1]]])
    values = [boxes, scores, np.zeros(1, np.float32), None, 0, np.full((1, 1, 5, 3), 99), np.full(1, 99)]
    out, count = check("nms", values, isa)
    assert count == 4 and out[0, 0, :4, 2].tolist() == [0, 1, 2, 4]
