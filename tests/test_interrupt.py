"""Runs that end early: Ctrl-C and other signals on the main thread, RunOptions.terminate on any; and many short sessions."""

import signal
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import zoo
from pycompress.ort import Fail, RunOptions

LONG = (1 << 17, 64)  # rows for which a run takes seconds


@cache
def model():
    """A chain of 200 products by a permutation."""
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(np.eye(64, dtype=np.float32)[rng.permutation(64)], "w")]
    names = ["x", *(f"h{i}" for i in range(199)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in zip(names, names[1:])]
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 64])] for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *ports, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def session_of(threads):
    session = pc.InferenceSession(model(), pc.SessionOptions(intra_op_num_threads=threads))
    session.explain({"x": np.zeros(LONG, np.float32)})  # planned before the clock runs
    return session


def runs_whole(session):
    x = np.arange(64, dtype=np.float32)[None]
    (y,) = session.run(None, {"x": x})
    return sorted(y[0]) == list(range(64))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_whose_handler_raises_ends_a_long_run(threads):
    session = session_of(threads)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            session.run(None, {"x": np.zeros(LONG, np.float32)})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert runs_whole(session)


@pytest.mark.parametrize("caller", ["main", "another"])
def test_terminate_ends_a_run_that_has_begun(caller):
    session, options, ended = session_of(1), RunOptions(), []

    def run():
        with pytest.raises(Fail, match="terminate flag"):
            session.run(None, {"x": np.zeros(LONG, np.float32)}, options)
        ended.append(True)

    timer = threading.Timer(0.2, setattr, (options, "terminate", True))
    timer.start()
    thread = threading.Thread(target=run)
    if caller == "main":
        run()
    else:
        thread.start()
        thread.join()
    timer.join()
    assert ended and runs_whole(session)


def test_a_handler_that_does_not_raise_does_not_end_a_run():
    session, seen = session_of(1), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        (y,) = session.run(None, {"x": np.ones((1 << 14, 64), np.float32)})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen and (y == 1).all()


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux")
def test_ten_thousand_sessions_made_run_and_closed_leave_no_memory_behind():
    data, feed = zoo.tiny().read_bytes(), {"input": np.zeros((1, 28, 28, 1), np.uint8)}
    options = pc.SessionOptions(intra_op_num_threads=1)
    for i in range(10_000):
        if i == 2000:
            before = resident()
        with pc.InferenceSession(data, options) as session:
            session.run(None, feed)
    assert resident() - before < 4 << 20
