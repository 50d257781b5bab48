"""Runs models for the passes: planned once for each shape, without a search for sparse kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from ... import lower as lowering
from ...compiler import input_shapes_of, lowered, program_plan
from ...pack import IDENTITY
from ...session import InferenceSession

Run = Callable[[list[str] | None, Mapping[str, np.ndarray]], list[np.ndarray]]

TOGETHER = 64 << 20  # bytes of activations up to which a batch is not split: plans run a few times only
RECENT = 4  # shapes whose plans are kept


def runner(model: onnx.ModelProto) -> Run:
    """A function of output names (None for all) and inputs that runs `model`.

    A pass plans a network many times, pruned a little further each time; searching the fastest kernel for its zeros
    would cost more than it gains.

    Raises
    ------
    ModelError
        If the engine cannot load the model or, when called, cannot plan it.
    """
    loaded = lowering.load(model)
    loaded.packed[IDENTITY] = True  # to look for equal weights takes as long as packing them
    if lowering.value_inputs(loaded):  # their values belong to the plan
        return InferenceSession(model).run
    sessions: dict[tuple, InferenceSession] = {}

    def run(names: list[str] | None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        key = tuple((name, x.shape) for name, x in feed.items())
        if key not in sessions:
            shapes = input_shapes_of(loaded, {name: x.shape for name, x in feed.items()}, {})
            plan = program_plan(loaded, [lowered(loaded, shapes, together=TOGETHER)], sparse=False)
            if len(sessions) == RECENT:
                del sessions[next(iter(sessions))]
            sessions[key] = InferenceSession(plan)
        return sessions[key].run(names, dict(feed))

    return run
