"""LiteRT (once TensorFlow Lite) with XNNPACK, its default on CPUs."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np


def version() -> str:
    import ai_edge_litert  # noqa: F401

    return metadata.version("ai-edge-litert")


def convert(model, folder) -> Path:
    """Write the .tflite file of a .onnx file's bytes or path to `folder`."""
    from pycompress.formats import tflite

    path = Path(folder, "model.tflite")
    path.write_bytes(tflite.convert(model))
    return path


def _nchw(shape) -> tuple[int, ...]:
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else tuple(shape)


class _Runner:
    """Tensors of four dimensions are NCHW here, as in the .onnx file, and NHWC in the interpreter."""

    def __init__(self, content: bytes, threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_content=content, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.ports = {p["name"]: p["index"] for p in self.interpreter.get_input_details()}
        self.inputs = {
            p["name"]: (np.dtype(p["dtype"]), _nchw([int(d) for d in p["shape"]]))
            for p in self.interpreter.get_input_details()
        }
        self.outputs = [p["index"] for p in self.interpreter.get_output_details()]

    def prepare(self, feed):
        return {n: np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x for n, x in feed.items()}

    def run_prepared(self, feed):
        for name, x in feed.items():
            self.interpreter.set_tensor(self.ports[name], x)
        self.interpreter.invoke()
        found = [self.interpreter.get_tensor(i) for i in self.outputs]
        return [y.transpose(0, 3, 1, 2) if y.ndim == 4 else y for y in found]

    def run(self, feed):
        return self.run_prepared(self.prepare(feed))


def load(model, threads: int) -> _Runner:
    """`model` is the path or bytes of a .tflite file, or of an .onnx file, which is converted."""
    content = bytes(model) if isinstance(model, (bytes, bytearray)) else Path(model).read_bytes()
    if content[4:8] != b"TFL3":
        from pycompress.formats import tflite

        content = tflite.convert(content)
    return _Runner(content, threads)
