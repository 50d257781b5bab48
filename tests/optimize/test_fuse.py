"""Fusing visits only what may have changed, and gives the program that asking every rule about every step would give."""

import numpy as np
import plain_fuse
import pytest

import pycompress as pc
from pycompress import zoo
from pycompress.lower import load, lower
from pycompress.optimize.fuse import fuse, join_factors


def program(model):
    loaded = load(model)
    name = model.graph.input[0].name
    return lower(loaded, {name: tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)})


def told(made):
    """Steps without the addresses of their memory: buffers and constants numbered in the order of their first use."""
    numbers: dict[int, int] = {}

    def of(x):
        if not isinstance(x, np.ndarray):
            return getattr(getattr(x, "w", None), "shape", x)
        owner = plain_fuse.root(x)
        if id(owner) not in made.buffers:
            return x.shape, x.strides, x.dtype.str, np.ascontiguousarray(x).tobytes()
        number = numbers.setdefault(id(owner), len(numbers))
        start = x.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        return number, start, x.shape, x.strides, x.dtype.str

    return [(s.kernel, s.node, s.op, s.reason, {n: of(x) for n, x in s.args.items()}) for s in made.steps]


def networks():
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 3, 64, 64)).astype(np.float32) for _ in range(2)]
    for name in ("mobilenetv2", "mobilenetv3_small", "efficientnet_b0"):
        model = zoo.build(name, width=0.35, resolution=64, classes=10) if name != "efficientnet_b0" else None
        model = model or zoo.build(name, resolution=64, classes=10)
        yield pytest.param(model, id=f"{name}-float")
        yield pytest.param(pc.quantize(model, samples, accumulate=4), id=f"{name}-int8")


@pytest.mark.parametrize("model", networks())
def test_the_program_is_that_of_plain_fusing(model):
    ours, plain = program(model), program(model)
    fuse(ours)
    join_factors(ours)
    plain_fuse.fuse(plain)
    plain_fuse.join_factors(plain)
    assert told(ours) == told(plain)
