"""Integer operators, one at a time, by this library and by onnxruntime."""

from __future__ import annotations

import numpy as np

from oracle import one_node, ort_outputs, ours


def codes(rng, dtype, *shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def scale(value):
    return np.float32(value)


def kernels(program):
    return [step.kernel for step in program.steps]


def check(op, inputs, runtime=(), steps=0, outputs=1, **options):
    """Run one node on both; the inputs not in `runtime` are constants.  Returns our program."""
    constants = [n for n in inputs if n not in runtime]
    model = one_node(op, inputs, constants, outputs=outputs, **options)
    feed = {n: inputs[n] for n in runtime}
    got, program = ours(model, feed)
    for a, b in zip(got, ort_outputs(model, feed), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, (a.dtype, a.shape, b.dtype, b.shape)
        assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0) <= steps
    return program
