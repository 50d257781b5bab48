"""Run a lowered program step by step on the kernels, without a plan: buffers are real memory."""

from __future__ import annotations

import numpy as np

from pycompress import native
from pycompress.lower import declared_inputs, load, lower, value_inputs
from pycompress.optimize import optimize, place, verify
from pycompress.pack import pack


def interpret(model, inputs: dict[str, np.ndarray], *, isa=None, optimized=True, kernels=native, **options):
    """Outputs of `model` (anything `lower.load` reads) for `inputs`, and the program; `options` are optimize's."""
    loaded = load(model)
    values = {n: x for n, x in inputs.items() if n in value_inputs(loaded)}
    shapes = {n: inputs[n].shape for n in declared_inputs(loaded) if n not in values}
    program = lower(loaded, shapes, values)
    verify(program)
    if optimized:
        optimize(program, after=verify, **options)
    pack(program, loaded.packed)
    verify(program, place(program)[0])
    buffers = {b.place: b.array for b in program.buffers.values() if b.place[1] is not None}
    for i, port in enumerate(program.inputs):
        x = np.ascontiguousarray(inputs[port.name])
        buffers["input", i][:] = x.reshape(-1).view(buffers["input", i].dtype)
    for step in program.steps:
        kernel = getattr(kernels, step.kernel)
        kernel(**step.args, **({"isa": isa} if isa else {}))
    outputs = []
    for i, port in enumerate(program.outputs):
        data = buffers["output", i].reshape(port.shape)
        outputs.append(data.view(np.int8) if port.dtype == "i8" else data)
    return outputs, program
