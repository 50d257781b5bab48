"""Small quantized networks of the zoo, whose results are the same bytes everywhere."""

from functools import cache

import numpy as np

import pycompress as pc
from interpret import interpret
from pycompress import zoo

SIZE = 32


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
