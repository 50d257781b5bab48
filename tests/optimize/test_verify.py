"""Programs keep their invariants from pass to pass, and what breaks one is told."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import pycompress as pc
from pycompress import zoo
from pycompress.lower import load, lower
from pycompress.lower.context import NO_PARAMS
from pycompress.lower.values import Buffer, Port, Program, Step
from pycompress.optimize import optimize, place, verify
from pycompress.optimize.costs import costs_of
from pycompress.pack import pack


def networks():
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 3, 64, 64)).astype(np.float32) for _ in range(2)]
    for name in ("mobilenetv2", "mobilenetv3_small"):
        model = zoo.build(name, width=0.35, resolution=64, classes=10, batch=None)
        yield pytest.param(model, id=f"{name}-float")
        yield pytest.param(pc.quantize(model, samples, accumulate=4), id=f"{name}-int8")
        yield pytest.param(pc.prune(model, sparsity=0.9), id=f"{name}-pruned")


@pytest.mark.parametrize("model", networks())
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, 3, 64, 64)], ids=str)
def test_every_pass_keeps_a_network_s_program_whole(model, shape):
    loaded = load(model)
    program = lower(loaded, {model.graph.input[0].name: shape})
    verify(program)
    optimize(program, lambda: costs_of(None), True, after=verify)
    pack(program, loaded.packed)
    verify(program, place(program)[0])


class Handmade:
    """x -> relu -> middle -> relu -> y, to be broken."""

    def __init__(self):
        arrays = self.x, self.middle, self.y = [np.empty(64, np.float32) for _ in range(3)]
        places = [("input", 0), ("arena", None), ("output", 0)]
        ports = [Port(n, "f32", (64,)) for n in "xy"]
        steps = [self.relu(self.x, self.middle), self.relu(self.middle, self.y)]
        buffers = {id(a): Buffer(a, p) for a, p in zip(arrays, places)}
        self.program = Program([ports[0]], [ports[1]], steps, buffers)

    @staticmethod
    def relu(x, out):
        x, out = (v if v.ndim == 2 else v.reshape(1, -1) for v in (x, out))
        return Step("unary", {"x": x, "op": 1, "params": NO_PARAMS, "out": out}, "the_node", "Relu")


@pytest.fixture
def made():
    return Handmade()


def test_a_whole_program_passes(made):
    verify(made.program, {id(made.middle): 0})


@pytest.mark.parametrize(
    "breaks,words",
    [
        (lambda m: [m.relu(m.middle, m.y)], "step 0 .unary, node 'the_node'.*no step before it writes"),
        (lambda m: m.program.steps[::-1], "no step before it writes"),
        (lambda m: [m.relu(m.x[:32], m.middle[:32]), m.relu(m.middle, m.y)], "no step before it writes"),
        (lambda m: [m.program.steps[0]], "output 'y' is not written everywhere"),
        (lambda m: [*m.program.steps, m.program.steps[1]], "is written already"),
        (lambda m: [m.program.steps[0], m.relu(m.middle, m.x)], "into a constant or an input"),
        (lambda m: [m.program.steps[0].replace(out=np.empty((1, 64), np.float32))], "into a constant or an input"),
        (lambda m: [m.program.steps[0].replace(out=as_strided(m.middle, (2, 32), (4, 4)))], "out must be"),
        (lambda m: [m.program.steps[0].replace(x=m.x[None, :32])], "out must be"),
        (lambda m: [m.program.steps[0].replace(x=m.x[None].astype(np.int32))], "x must be"),
        (lambda m: [m.program.steps[0].replace(wrong=1)], "has arguments"),
        (lambda m: [m.relu(as_strided(m.x, (1, 65), (4, 4)), as_strided(m.middle, (1, 65), (4, 4)))], "outside"),
    ],
)
def test_what_is_broken_is_told(made, breaks, words):
    made.program.steps = breaks(made)
    with pytest.raises(AssertionError, match=words):
        verify(made.program)


def test_buffers_that_live_together_lie_apart(made):
    other = np.empty(64, np.float32)
    made.program.buffers[id(other)] = Buffer(other)
    steps = made.program.steps
    made.program.steps = [steps[0], made.relu(made.middle, other), made.relu(other, made.y)]
    verify(made.program, {id(made.middle): 0, id(other): 256})
    with pytest.raises(AssertionError, match="buffers needed at steps 0-1 and 1-2 overlap"):
        verify(made.program, {id(made.middle): 0, id(other): 128})
    with pytest.raises(AssertionError, match="has no place"):
        verify(made.program, {id(made.middle): 0})
