"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

import numpy as np

_DTYPES = {"float": "float32", "double": "float64"}  # of our own: memory.py runs this file alone


def version() -> str:
    import onnxruntime

    return onnxruntime.__version__


class _Runner:
    def __init__(self, model, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = {}
        for port in self.session.get_inputs():
            word = port.type.removeprefix("tensor(").removesuffix(")")
            self.inputs[port.name] = (np.dtype(_DTYPES.get(word, word)), tuple(port.shape))

    def run(self, feed):
        return self.session.run(None, feed)


def load(model, threads: int) -> _Runner:
    """`model` is a path or bytes."""
    return _Runner(model, threads)
