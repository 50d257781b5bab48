"""Small files that ask for much memory or many steps are refused before anything is computed."""

import tracemalloc

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model, floats, ours
from pycompress.errors import ModelError
from pycompress.formats.onnx_model import LoadLimits, load
from pycompress.lower import lower

X = np.zeros(1, np.float32)
ONE = np.ones(1, np.float32)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def sizes(*dims):
    return np.array(dims, np.int64)


FILL = node("ConstantOfShape", ["s"], ["f"])
ADD = node("Add", ["x", "t"], ["y"])
LARGE = {
    "Tile": ([node("Tile", ["one", "s"], ["t"]), ADD], {"one": ONE, "s": sizes(2**29)}),
    "a Tile of 2^40 elements": ([node("Tile", ["one", "s"], ["t"]), ADD], {"one": ONE, "s": sizes(2**40)}),
    "Concat of fills": ([FILL, node("Concat", ["f"] * 6, ["t"], axis=0), ADD], {"s": sizes(2**26)}),
    "NonZero of a fill": (
        [node("ConstantOfShape", ["s"], ["f"], value=helper.make_tensor("v", 7, [1], [1])), node("NonZero", ["f"], ["n"]),
         node("Cast", ["n"], ["t"], to=1), ADD], {"s": sizes(11000, 11000)}),
    "Gather of a fill": (
        [FILL, node("ConstantOfShape", ["many"], ["i"], value=helper.make_tensor("v", 7, [1], [0])),
         node("Gather", ["f", "i"], ["t"]), ADD], {"s": sizes(1, 2**14), "many": sizes(2**15)}),
    "Expand in another shape": (
        [node("Expand", ["two", "s"], ["e"]), node("Reshape", ["e", "flat"], ["t"]), ADD],
        {"two": np.ones((1, 2), np.float32), "s": sizes(2**28, 2), "flat": sizes(-1)}),
    "Pad": ([node("Pad", ["one", "s"], ["t"]), ADD], {"one": ONE, "s": sizes(0, 2**29)}),
}  # fmt: skip


@pytest.mark.parametrize("what", LARGE)
def test_large_constants_made_of_small_ones_are_refused_before_they_are_made(what):
    nodes, constants = LARGE[what]
    loaded = load(as_model(nodes, {"x": X} | constants, ["y"], list(constants)))
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="node '.*beyond the limits"):
            lower(loaded, {"x": (1,)})
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_many_constants_are_refused_where_they_are_too_large_together():
    nodes = [
        FILL,
        *(node("Neg", ["f"], [f"n{i}"]) for i in range(8)),
        node("Sum", [f"n{i}" for i in range(8)], ["t"]),
        ADD,
    ]
    model = as_model(nodes, {"x": X, "s": sizes(1000)}, ["y"], ["s"])
    lower(load(model), {"x": (1,)})
    with pytest.raises(ModelError, match="node 'n5' .Neg.: makes a constant of 1000 elements, beyond the limits"):
        lower(load(model, limits=LoadLimits(folded_total_bytes=20_100)), {"x": (1,)})


def test_a_model_of_too_many_steps_is_refused_by_the_node_that_makes_them():
    model = as_model([node("Concat", ["x"] * 20, ["y"], axis=0)], {"x": X}, ["y"])
    with pytest.raises(ModelError, match="node 'y' .Concat.: the plan would have more than 10 steps"):
        lower(load(model, limits=LoadLimits(steps=10)), {"x": (1,)})
    many = as_model([node("Concat", ["x"] * 20_000, ["y"], axis=0)], {"x": X}, ["y"])
    with pytest.raises(ModelError, match="node 'y' .Concat.: the plan would have more than 16384 steps"):
        pc.compile(many)


def test_eight_dimensions_are_walked_along_the_shortest_in_few_steps():
    x = floats(np.random.default_rng(0), 9, 8, 2, 3, 2, 2, 3, 2)
    perm = [1, 0, 3, 2, 5, 4, 7, 6]
    (got,), program = ours(as_model([node("Transpose", ["x"], ["y"], perm=perm)], {"x": x}, ["y"]), {"x": x})
    np.testing.assert_array_equal(got, x.transpose(perm))
    assert len(program.steps) == 4
