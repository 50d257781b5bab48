"""OpenVINO on its CPU plugin, kept to float32 where the model is float32."""

from __future__ import annotations

import numpy as np


def version() -> str:
    import openvino

    return openvino.__version__.split("-")[0]


class _Runner:
    def __init__(self, model, threads: int, precision: str | None):
        import openvino

        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if precision:
            config["INFERENCE_PRECISION_HINT"] = precision
        graph = core.read_model(model)
        self.inputs = {}
        for port in graph.inputs:
            shape = tuple(d.get_length() if d.is_static else None for d in port.partial_shape)
            self.inputs[port.any_name] = (np.dtype(port.element_type.to_dtype()), shape)
        self.request = core.compile_model(graph, "CPU", config).create_infer_request()

    def run(self, feed):
        return [np.array(x) for x in self.request.infer(feed, share_inputs=True).values()]


def load(model, threads: int, precision: str | None = "f32") -> _Runner:
    """`model` is a path or bytes; with precision None OpenVINO decides: bfloat16 where the CPU has it."""
    return _Runner(model, threads, precision)
