"""Leaves in float what runs slower on integers, by measured times of the plans' steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ...interface.options import SessionOptions
from ...session import InferenceSession
from ..model import graph as g

METADATA = "pycompress.left_float"
ROUNDS, RUNS = 3, 3  # the models take turns; each step has the least of its medians
MARGIN = 1.03  # smaller differences are not told from noise
WHOLE = "the whole model is not faster on integers"
STEP = "its steps are slower on integers"

Build = Callable[[set[str]], onnx.ModelProto | None]  # the quantized model without these nodes; None if there is none


@dataclass(frozen=True)
class Times:
    """Seconds of one run on one thread: of all steps, and of those of each node, by name."""

    total: float
    nodes: Mapping[str, float]


def measure(models: Sequence[onnx.ModelProto], feed: Mapping[str, np.ndarray]) -> list[Times]:
    """The times of `models` for a sample, side by side."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [InferenceSession(model, options) for model in models]
    for session in sessions:
        session.run(None, dict(feed))
    least: list[dict[int, float]] = [{} for _ in sessions]
    for _ in range(ROUNDS):
        for session, known in zip(sessions, least):
            for i, row in enumerate(session.profile(feed, RUNS)):
                known[i] = min(known.get(i, np.inf), row["seconds"])
    told = []
    for session, known in zip(sessions, least):
        nodes: dict[str, float] = {}
        for row, seconds in zip(session.explain(), known.values()):
            nodes[row["node"]] = nodes.get(row["node"], 0.0) + seconds
        told.append(Times(sum(known.values()), nodes))
    return told


def no_slower(
    before: onnx.ModelProto, build: Build, nodes: set[str], feed: Mapping[str, np.ndarray]
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """(the fastest of some quantizations of `before`, the nodes that it leaves in float, and why).

    All of `nodes` on integers; without those whose own steps are slower there; `before` itself if neither is faster.
    """
    made = build(set())
    was, now = measure([before, made], feed)
    slow = {n for n in nodes if now.nodes.get(n, 0.0) > MARGIN * was.nodes.get(n, np.inf)}
    other = build(slow) if slow and slow != nodes else None
    best, left = (now.total, made), dict[str, str]()
    if other is not None:
        then = measure([other], feed)[0].total
        if then * MARGIN < now.total:
            best, left = (then, other), dict.fromkeys(sorted(slow), STEP)
    if best[0] > MARGIN * was.total:
        best, left = (was.total, g.copied(before)), dict.fromkeys(sorted(nodes), WHOLE)
    if left:
        helper.set_model_props(best[1], g.metadata(best[1]) | {METADATA: json.dumps(left)})
    return best[1], left
