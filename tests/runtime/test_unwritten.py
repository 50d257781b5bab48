"""What a plan's steps leave unwritten is zero, and an empty output is no work, whatever the sizes say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import handmade
from pycompress import kernels, native


def one_step(name, sizes, inputs=(), outputs=(), arena=0, steps=None):
    """The graph of calls of `name` whose slots are 1 but for `sizes`."""
    slots = [slot for slot, _ in getattr(native, name).spec.slots]
    steps = [{**dict.fromkeys(slots, 1), **step} for step in (steps or [sizes])]
    program = {
        "inputs": [{"name": f"x{i}", "dtype": d, "shape": s} for i, (d, s) in enumerate(inputs)],
        "outputs": [{"name": f"y{i}", "dtype": d, "shape": s} for i, (d, s) in enumerate(outputs)],
        "arena": arena, "steps": [[0, *(step[slot] for slot in slots)] for step in steps],
    }  # fmt: skip
    version = int(getattr(native, name).c.version)
    return {"format": 1, "kernels": [[name, version]], "tensors": ["v"], "programs": [program]}


@pytest.mark.parametrize("name", kernels.NAMES)
def test_an_empty_output_is_no_work(name):
    """In a process of its own, which a run without end does not outlive."""
    script = Path(__file__).with_name("empty.py")
    run = subprocess.run([sys.executable, str(script), name], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-2000:]


def permuted(steps, arena=64, outputs=1):
    places = {"x": [2, 0, 0], "y": [3, 0, 0], "z": [3, 1, 0]}
    named = [[n, *(places[p] if isinstance(p, str) else p for p in ends)] for n, *ends in steps]
    steps = [{"run": n, "x": a, "out": b} for n, a, b in named]
    return one_step("permute", {}, [("u8", [64])], [("u8", [64])] * outputs, arena, steps)


def test_a_run_reads_nothing_of_the_run_before():
    """The plan copies what is in the arena to its output, then its input to the arena."""
    graph = permuted([(64, [0, 0, 0], "y"), (64, "x", [0, 0, 0])])
    session = handmade.build(graph, {"v": np.zeros(0, np.uint8)}).session()
    for value in (1, 2, 3):
        assert not session.run([np.full(64, value, np.uint8)])[0].any()


def test_a_part_of_the_arena_that_no_step_wrote_is_zero():
    graph = permuted([(40, "x", [0, 0, 0]), (64, [0, 0, 0], "y"), (64, "x", [0, 0, 0])])
    session = handmade.build(graph, {"v": np.zeros(0, np.uint8)}).session()
    for value in (1, 2):
        np.testing.assert_array_equal(session.run([np.full(64, value, np.uint8)])[0], [value] * 40 + [0] * 24)


def test_what_no_step_writes_of_an_output_is_zero():
    session = handmade.build(permuted([(40, "x", "y")], outputs=2), {"v": np.zeros(0, np.uint8)}).session()
    first, second = session.run([np.ones(64, np.uint8)])
    np.testing.assert_array_equal(first, [1] * 40 + [0] * 24)
    assert not second.any()


def test_an_output_that_is_read_before_it_is_written_is_zero():
    session = handmade.build(
        permuted([(64, "z", "y"), (64, "x", "z")], outputs=2), {"v": np.zeros(0, np.uint8)}
    ).session()
    first, second = session.run([np.ones(64, np.uint8)])
    assert not first.any() and second.all()


def test_rows_that_interleave_write_the_whole():
    """Two steps write the even and the odd rows; nothing is left to be zeroed, and nothing is."""
    tensors = {"v": np.zeros(0, np.uint8), "none": np.zeros(2, np.float32)}
    slots = [s for s, _ in native.unary.spec.slots]
    step = dict.fromkeys(slots, 1) | {
        "m": 4,
        "n": 3,
        "ldx": 3,
        "op": 4 + 9,
        "params": [1, 1, 0],
        "ldo": 6,
        "x": [2, 0, 0],
    }
    steps = [[0, *((step | {"out": [3, 0, at]})[s] for s in slots)] for at in (0, 12)]
    ports = [[{"name": n, "dtype": "f32", "shape": s}] for n, s in (("x", [4, 3]), ("y", [4, 6]))]
    program = {"inputs": ports[0], "outputs": ports[1], "arena": 0, "steps": steps}
    graph = {
        "format": 1,
        "kernels": [["unary", int(native.unary.c.version)]],
        "tensors": list(tensors),
        "programs": [program],
    }
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(handmade.build(graph, tensors).session().run([x])[0], -np.hstack([x, x]))
