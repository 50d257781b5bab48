"""Leaves in float what runs slower on integers, by measured times of the plans' steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper

from ..model import graph as g
from .clock import session_of, step_times

METADATA = "pycompress.left_float"
ROUNDS = 9  # the models take turns; each step has the least of its times
MARGIN = 1.03  # smaller differences are not told from noise
WHOLE = "the whole model is not faster on integers"
STEP = "its steps are slower on integers"

Build = Callable[[set[str]], onnx.ModelProto | None]  # the quantized model without these nodes; None if there is none


def measure(models: Sequence[onnx.ModelProto], feed: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """Microseconds of the steps of each node, by name, in each of `models`, for a sample and on one thread."""
    sessions = {str(i): session_of(model, feed, 1, ()) for i, model in enumerate(models)}
    return list(step_times(sessions, feed, ROUNDS).values())


def no_slower(
    before: onnx.ModelProto, build: Build, nodes: set[str], feed: Mapping[str, np.ndarray]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """(the fastest of some quantizations of `before`, the nodes that it leaves in float, and why).

    All of `nodes` on integers; without those whose own steps are slower there; `before` itself if neither is faster.
    """
    made = build(set())
    was, now = measure([before, made], feed)
    slow = {n for n in nodes if now.get(n, 0.0) > MARGIN * was.get(n, np.inf)}
    other = build(slow) if slow and slow != nodes else None
    best, left = made, dict[str, str]()
    if other is not None:  # only times that were taken in turns are compared
        was, now, then = measure([before, made, other], feed)
        if sum(then.values()) * MARGIN < sum(now.values()):
            now, best, left = then, other, dict.fromkeys(sorted(slow), STEP)
    if sum(now.values()) > MARGIN * sum(was.values()):
        best, left = g.copied(before), dict.fromkeys(sorted(nodes), WHOLE)
    if left:
        helper.set_model_props(best, g.metadata(best) | {METADATA: json.dumps(left)})
    return best, left
