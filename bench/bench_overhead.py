"""What a call costs beside its work: kernels, layers and one-node sessions on a few numbers, one thread.

    python bench/bench_overhead.py [--numba]

Minima of many repetitions, in nanoseconds or microseconds of one call.
"""

from __future__ import annotations

import argparse
import timeit

import numpy as np
import scipy.sparse as sp
from onnx import TensorProto, helper

import pycompress as pc
from pycompress import kernels, native


def fastest(call, number: int = 20, repeat: int = 1000) -> float:
    """Microseconds of one call."""
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number * 1e6


def one_node() -> pc.InferenceSession:
    """A session on y = relu(x), eight numbers."""
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8])] for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", *ports)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return pc.InferenceSession(pc.compile(model))


def rows():
    """(what is called, the call)"""
    x, y, params = np.ones((1, 8), np.float32), np.empty((1, 8), np.float32), np.zeros(2, np.float32)
    yield "native.unary", lambda: native.unary(x, 0, params, y)
    unary = native.unary.ready(x, 0, params, y)
    yield "native.unary.ready(...)", unary
    W, v = np.eye(16, dtype=np.float32), np.ones((1, 16), np.float32)
    w, out = kernels.module("sgemm").pack(W), np.empty((1, 16), np.float32)
    yield "native.sgemm", lambda: native.sgemm(a=v, w=w, act_params=params, out=out)
    A = sp.csr_array(W)
    yield "spmm", lambda: pc.spmm(A, v[0])
    for layer in (pc.layers.SparseLinear.from_dense(W), pc.layers.HalfLinear.from_dense(W)):
        yield type(layer).__name__, lambda layer=layer: layer(v)
        yield f"{type(layer).__name__}, out=", lambda layer=layer: layer(v, out)
    session, feed = one_node(), {"x": x}
    yield "session.run, one node", lambda: session.run(None, feed)
    yield "session.run, one node, out=", lambda: session.run(None, feed, out=[y])


def compiled() -> float:
    """Nanoseconds of one call in a compiled function."""
    import numba

    import pycompress.numba as pn

    @numba.njit
    def calls(x, params, y, n):
        for _ in range(n):
            pn.unary(x, 0, params, y)

    x, y, params = np.ones((1, 8), np.float32), np.empty((1, 8), np.float32), np.zeros(2, np.float32)
    calls(x, params, y, 1)
    return fastest(lambda: calls(x, params, y, 10000), number=1) / 10000 * 1e3


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numba", action="store_true", help="also calls in a compiled function")
    asked = parser.parse_args()
    pc.set_num_threads(1)
    for what, call in rows():
        print(f"{what:32} {fastest(call):8.2f} us")
    if asked.numba:
        print(f"{'pycompress.numba.unary':32} {compiled():8.0f} ns")
