"""Integer networks give the same bytes on every instruction set (``--emulate``: on those the CPU lacks) and on 1 to 3 threads."""

from functools import cache, partial

import numpy as np
import pytest

import pycompress as pc
from interpret import interpret
from pycompress import native, zoo
from pycompress.cpu import ISAS

SIZE = 32
ALL = [isa for isa in ISAS if any(isa in getattr(native, name).impls() for name in native.names())]


def data(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((count, 1, 3, SIZE, SIZE)).astype(np.float32))


def v1(**options):
    return zoo.mobilenetv1(width=0.25, resolution=SIZE, classes=20, **options)


def v2():
    return zoo.mobilenetv2(width=0.25, resolution=SIZE, classes=20)


NETWORKS = {
    "v1": lambda: pc.quantize(v1(), data(2), quantize_outputs=True),
    "v2 with weights of full range": lambda: pc.quantize(v2(), data(2), target="vnni", quantize_outputs=True),
    "v3": lambda: pc.quantize(
        zoo.mobilenetv3_small(width=0.5, resolution=SIZE, classes=20), data(2), quantize_outputs=True
    ),
    "v1 with zeros in 1x4": lambda: pc.quantize(
        pc.prune(v1(), 0.75, pattern="1x4"), data(2), target="vnni", quantize_outputs=True
    ),
    "v1 with 4 bits": lambda: pc.quantize(v1(), data(2), weights=4, rounding="plain", quantize_outputs=True),
    "v2 of low rank": lambda: pc.quantize(pc.factorize(v2(), ratio=0.5), data(2), quantize_outputs=True),
}


@cache
def network(name):
    """The network, an input, and what the portable kernels answer."""
    model, x = NETWORKS[name](), data(3)[2]
    (want,), _ = interpret(model, {"input": x}, isa="scalar", sparse=True)
    return model, x, want


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
