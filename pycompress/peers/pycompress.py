"""pycompress itself, as one engine among the others."""

from __future__ import annotations

import numpy as np

from .. import __version__
from ..dtypes import BY_ONNX
from ..session import InferenceSession, SessionOptions


def version() -> str:
    return __version__


class _Runner:
    def __init__(self, model, threads: int):
        self.session = InferenceSession(model, SessionOptions(intra_op_num_threads=threads))
        self.inputs = {
            p.name: (np.dtype(BY_ONNX[p.type.removeprefix("tensor(").removesuffix(")")].numpy), tuple(p.shape))
            for p in self.session.get_inputs()
        }

    def run(self, feed):
        return self.session.run(None, feed)


def load(model, threads: int) -> _Runner:
    """`model` is a path, bytes or Plan."""
    return _Runner(model, threads)
