"""Integer networks give the same bytes on every instruction set (``--emulate``: on those the CPU lacks) and on 1 to 3 threads."""

from functools import partial

import numpy as np
import pytest

import pycompress as pc
from integer_networks import NETWORKS, network
from interpret import interpret
from pycompress import native
from pycompress.cpu import ISAS

ALL = [isa for isa in ISAS if any(isa in getattr(native, name).impls() for name in native.names())]


class On:
    """Kernels on one instruction set; those that have no row for it, or one that does not suit, run as they would here."""

    def __init__(self, isa):
        self.isa, self.ran = isa, set()

    def __getattr__(self, name):
        kernel = getattr(native, name)
        if self.isa not in kernel.impls():
            return kernel
        self.ran.add(name)
        return partial(kernel, isa=self.isa)


@pytest.mark.parametrize("isa", ALL)
@pytest.mark.parametrize("name", NETWORKS)
def test_integer_networks_give_the_same_bytes_on_every_instruction_set(name, isa):
    model, x, want = network(name)
    kernels = On(isa)
    (got,), _ = interpret(model, {"input": x}, kernels=kernels, sparse=True)
    np.testing.assert_array_equal(got, want)
    assert kernels.ran or isa not in ("avx2", "avxvnni", "avx512vnni", "amx")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_integer_plans_give_the_same_bytes_on_any_number_of_threads(name, threads):
    model, x, want = network(name)
    options = pc.SessionOptions(intra_op_num_threads=threads)
    (got,) = pc.InferenceSession(pc.compile(model, sparse=True), options).run(None, {"input": x})
    np.testing.assert_array_equal(got, want)
