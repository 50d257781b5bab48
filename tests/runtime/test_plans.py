"""Plans written by hand run as numpy says, for every number of threads, callers and processes."""

import copy
import os
import signal
import threading

import numpy as np
import pytest

import handmade
from pycompress import kernels, native
from pycompress._pcx import ffi, lib
from pycompress.kernels import module

M, K, N, P = 37, 20, 33, 18


def two_steps(m=M):
    """x -> relu(x w1 + b1) -> . w2: graph, tensors, input and what numpy makes of it."""
    rng = np.random.default_rng(m)
    x, w1, b1 = (rng.integers(-3, 4, s).astype(np.float32) for s in ((m, K), (N, K), (N,)))
    w2 = rng.integers(-3, 4, (P, N)).astype(np.float32)
    pack = module("sgemm").pack
    tensors = {"w1": pack(w1), "b1": b1, "w2": pack(w2), "none": np.zeros(2, np.float32)}
    arena = m * N * 4
    first = [m, K, K, [2, 0, 0], N, K * 16, [1, 0, 0], [1, 1, 0], 1, [1, 3, 0], 0, None, N, [0, 0, 64]]
    second = [m, N, N, [0, 0, 64], P, N * 16, [1, 2, 0], None, 0, [1, 3, 0], 0, None, P, [3, 0, 0]]
    program = {
        "inputs": [{"name": "x", "dtype": "f32", "shape": [m, K]}],
        "outputs": [{"name": "y", "dtype": "f32", "shape": [m, P]}],
        "arena": arena + 64,
        "steps": [[0, *first], [0, *second]],
    }
    graph = {"format": 1, "kernels": [["sgemm", 1]], "tensors": list(tensors), "programs": [program]}
    return graph, tensors, x, np.maximum(x @ w1.T + b1, 0) @ w2.T  # small integers: exact in any order


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("cpu", [0, None])
def test_two_products_equal_numpy(threads, cpu):
    graph, tensors, x, want = two_steps()
    session = handmade.build(graph, tensors, cpu).session(threads)
    for _ in range(50):
        np.testing.assert_array_equal(session.run([x])[0], want)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_steps_are_run_once_for_each_part(threads):
    graph, tensors, x, want = two_steps()
    (program,) = graph["programs"]
    for port in (*program["inputs"], *program["outputs"]):
        port["shape"][0] *= 5
    program["times"] = 5
    session = handmade.build(graph, tensors).session(threads)
    many = np.concatenate([x * i for i in range(5)])
    np.testing.assert_array_equal(session.run([many])[0][:M], session.run([np.zeros_like(many)])[0][:M])
    np.testing.assert_array_equal(session.run([many])[0][M : 2 * M], want)
    for i in range(5):
        alone = np.concatenate([x * i] * 5)
        np.testing.assert_array_equal(session.run([many])[0][i * M : (i + 1) * M], session.run([alone])[0][:M])


def test_what_cannot_be_cut_is_refused():
    for side, shape in (("inputs", []), ("inputs", [0, K]), ("inputs", [5, 0]), ("outputs", [5 * M + 1, P])):
        graph, tensors, _, _ = two_steps()
        (program,) = graph["programs"]
        for port in (*program["inputs"], *program["outputs"]):
            port["shape"][0] *= 5
        program[side][0]["shape"] = shape
        program["times"] = 5
        with pytest.raises(handmade.Refused, match="cannot be cut into 5 parts"):
            handmade.build(graph, tensors)


def test_a_file_mapped_read_and_built_in_memory_gives_the_same(tmp_path):
    graph, tensors, x, want = two_steps()
    data = handmade.safetensors(graph, tensors)
    (tmp_path / "a").write_bytes(data)
    for plan in (handmade.load(tmp_path / "a"), handmade.parse(data), handmade.build(graph, tensors)):
        np.testing.assert_array_equal(plan.session().run([x])[0], want)


def test_a_plan_tells_its_ports_steps_and_metadata():
    graph, tensors, _, _ = two_steps()
    data = handmade.safetensors(graph, tensors)
    plan = handmade.parse(data)
    c = plan.c
    size = ffi.new("size_t *")
    assert lib.pcx_plan_programs(c) == 1 and lib.pcx_plan_steps(c, 0) == 2
    assert (lib.pcx_plan_inputs(c, 0), lib.pcx_plan_outputs(c, 0)) == (1, 1)
    port = lib.pcx_plan_input(c, 0, 0)
    assert (ffi.string(port.name), port.dtype, list(port.shape[0:2]), port.bytes) == (b"x", 4, [M, K], M * K * 4)
    assert lib.pcx_plan_arena(c, 0) == graph["programs"][0]["arena"]
    assert ffi.string(lib.pcx_plan_step_kernel(c, 0, 1)) == b"sgemm"
    assert ffi.string(lib.pcx_plan_step_isa(c, 0, 1)) == ffi.string(native.sgemm.impl().isa)
    assert ffi.buffer(lib.pcx_plan_metadata(c, b"note", size), 7)[:] == b"by hand" and size[0] == 7
    assert lib.pcx_plan_metadata(c, b"nothing", size) == ffi.NULL
    assert ffi.buffer(lib.pcx_plan_bytes(c, size), len(data))[:] == data and size[0] == len(data)
    for beyond in (lib.pcx_plan_input(c, 0, 1), lib.pcx_plan_input(c, 1, 0), lib.pcx_plan_step_isa(c, 0, 2)):
        assert beyond == ffi.NULL


def test_one_plan_holds_several_programs():
    graph, tensors, x, want = two_steps()
    other, _, x5, _ = two_steps(5)
    graph["programs"].append(other["programs"][0])
    session = handmade.build(graph, tensors).session(2)
    for _ in range(3):
        np.testing.assert_array_equal(session.run([x])[0], want)
        np.testing.assert_array_equal(session.run([x[:5].copy()], program=1)[0], want[:5])
    assert session.call(2, [x], [want]) == lib.PCX_BAD_ARGUMENT


def test_step_times_are_in_order():
    graph, tensors, x, want = two_steps()
    for threads in (1, 2):
        session = handmade.build(graph, tensors).session(threads)
        seconds = np.full((2, 2), -1.0)
        session.run([x], seconds=ffi.from_buffer("double[]", seconds, require_writable=True))
        assert 0 <= seconds[0, 0] <= seconds[0, 1] <= seconds[1, 0] <= seconds[1, 1] < 10


def test_unaligned_and_missing_arrays_are_refused():
    graph, tensors, x, want = two_steps()
    session = handmade.build(graph, tensors).session()
    odd = np.zeros(want.nbytes + 1, np.uint8)[1:]
    assert session.call(0, [x], [odd]) == lib.PCX_BAD_ARGUMENT
    pointers = ffi.new("void *[]", [ffi.NULL])
    assert lib.pcx_session_run(session.c, 0, pointers, pointers, ffi.NULL) == lib.PCX_BAD_ARGUMENT


@pytest.mark.parametrize("threads", [1, 2])
def test_many_callers_share_one_session(threads):
    graph, tensors, _, _ = two_steps()
    session = handmade.build(graph, tensors).session(threads)
    wrong = []

    def caller(seed):
        x = np.random.default_rng(seed).integers(-3, 4, (M, K)).astype(np.float32)
        want = handmade.build(graph, tensors).session().run([x])[0]
        for _ in range(200):
            if session.run([x])[0].tobytes() != want.tobytes():
                wrong.append(seed)

    callers = [threading.Thread(target=caller, args=(i,)) for i in range(6)]
    for t in callers:
        t.start()
    for t in callers:
        t.join()
    assert not wrong


@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_runs_on_both_sides_of_a_fork_even_while_others_run(threads):
    graph, tensors, x, want = two_steps()
    session = handmade.build(graph, tensors).session(threads)
    stop = threading.Event()

    def caller():
        while not stop.is_set():
            session.run([x])

    others = [threading.Thread(target=caller) for _ in range(2)]
    for t in others:
        t.start()
    try:
        for _ in range(10):
            child = os.fork()
            if not child:
                signal.alarm(20)  # kills a child that hangs
                same = all((session.run([x])[0] == want).all() for _ in range(3))
                os._exit(0 if same else 1)
            assert os.waitpid(child, 0)[1] == 0
            np.testing.assert_array_equal(session.run([x])[0], want)
    finally:
        stop.set()
        for t in others:
            t.join()


@pytest.mark.parametrize("cpu", [0, None])
@pytest.mark.parametrize("name", kernels.NAMES)
def test_each_kernel_does_the_same_in_a_plan_as_when_called(name, cpu):
    args = handmade.example(name, np.random.default_rng(1))
    isa = None if cpu is None else "scalar"
    getattr(native, name)(**args, isa=isa)
    written = getattr(kernels, name).spec.outputs
    constant = {n for n, a in getattr(kernels, name).spec.by_name.items() if a.below}
    variable = [n for n in args if n not in written and n not in constant]
    for inputs in ([], variable):  # all constant, then all variable
        graph, tensors, arrays = handmade.program_of(name, args, inputs)
        outputs = handmade.build(graph, tensors, cpu).session(2).run(arrays)
        for slot, y in zip(written, outputs):
            x = handmade.span(args[slot])
            assert y.tobytes() == x.tobytes() or (args[slot].base is not None and y.shape != args[slot].shape), slot


def test_steps_with_the_same_weights_share_what_is_prepared():
    name = "qgemm"
    graph, tensors, arrays = handmade.program_of(name, handmade.example(name, np.random.default_rng(1)), ["a"])
    want = handmade.build(graph, tensors).session().run(arrays)[0]
    step = graph["programs"][0]["steps"][0]
    graph["programs"][0]["steps"] = [copy.copy(step) for _ in range(5)]
    graph["programs"] *= 2
    session = handmade.build(graph, tensors).session()
    for program in (0, 1):
        assert session.run(arrays, program)[0].tobytes() == want.tobytes()
