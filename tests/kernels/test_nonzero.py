"""nonzero against its reference, which is numpy's."""

import numpy as np
import pytest

from cases import check, isas
from pycompress.kernels import module

ref = module("nonzero")


@isas("nonzero")
@pytest.mark.parametrize("n", [0, 1, 7, 5000])
@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_the_places_of_true_elements_in_order(isa, n, share):
    check("nonzero", ref.example(np.random.default_rng(0), n, share), isa)
