"""Measures the time of each step of several plans in turns, and of conversions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...compiler import compile as planned
from ...plan import Plan
from ...session import InferenceSession, SessionOptions
from ..progress import Progress
from .network import Unit

REST = 0.003  # seconds of sleep before each run: other processes get their turn between runs, not within them
PARTS = ("/u", "/v", "/w", "/a", "/b", "/c")  # of the names of a layer's factors

Feed = Mapping[str, np.ndarray]


def plan_of(model: onnx.ModelProto, feed: Feed, forms: Iterable[str]) -> Plan:
    """The plan of `model`, with float products as `forms` say."""
    return planned(model, input_shapes={name: x.shape for name, x in feed.items()}, float_products=products(forms))


def products(forms: Iterable[str]) -> str:
    """What the operands of float products are rounded to where layers have these forms."""
    return "bfloat16" if "bfloat16" in set(forms) else "float32"


def session_of(model: onnx.ModelProto, feed: Feed, threads: int, forms: Iterable[str]) -> InferenceSession:
    """A session on that plan."""
    return InferenceSession(plan_of(model, feed, forms), SessionOptions(intra_op_num_threads=threads))


def step_times(
    sessions: Mapping[str, InferenceSession], feed: Feed, rounds: int, progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """The microseconds that each node takes in each session: the minimum of each step, added by node.

    The sessions take turns, so that all meet the same disturbances; a minimum of a step of some microseconds is
    hardly touched by them, where the minimum of whole runs is.
    """
    best: dict[str, np.ndarray] = {}
    nodes: dict[str, list[str]] = {}
    for i in range(rounds + 1):
        for name, session in sessions.items():
            time.sleep(REST)
            rows = session.profile(feed, runs=1)
            taken = np.array([row["seconds"] for row in rows]) * 1e6
            nodes[name] = [row["node"] for row in rows]
            if i:  # the first run warms up
                best[name] = np.minimum(best[name], taken) if name in best else taken
        if progress and i:
            progress(i, rounds)
    found: dict[str, dict[str, float]] = {}
    for name, times in best.items():
        sums = found.setdefault(name, {})
        for node, seconds in zip(nodes[name], times):
            sums[node] = sums.get(node, 0.0) + float(seconds)
    return found


def by_unit(times: Mapping[str, float], units: Sequence[Unit]) -> tuple[dict[str, float], float]:
    """The microseconds of each unit, and of all steps that belong to none but conversions to integers."""
    owner = {n: u.name for u in units for n in u.nodes}
    spent, rest = {u.name: 0.0 for u in units}, 0.0
    for node, took in times.items():
        stem = next((node.removesuffix(p) for p in PARTS if node.endswith(p) and node not in owner), node)
        if stem in owner:
            spent[owner[stem]] += took
        elif not node.endswith((".quantize", ".dequantize")):
            rest += took
    return spent, rest


def conversions(sizes: Iterable[int], threads: int, rounds: int) -> dict[int, tuple[float, float]]:
    """By number of elements, the microseconds that QuantizeLinear and DequantizeLinear take."""
    found = {}
    for size in sorted(set(sizes)):
        took = []
        for op, given, made in (
            ("QuantizeLinear", TensorProto.FLOAT, TensorProto.UINT8),
            ("DequantizeLinear", TensorProto.UINT8, TensorProto.FLOAT),
        ):
            node = helper.make_node(op, ["x", "scale", "zero"], ["y"])
            graph = helper.make_graph(
                [node],
                "conversion",
                [helper.make_tensor_value_info("x", given, [size])],
                [helper.make_tensor_value_info("y", made, [size])],
                [helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1]), helper.make_tensor("zero", TensorProto.UINT8, [], [9])],
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
            feed = {"x": np.zeros(size, helper.tensor_dtype_to_np_dtype(given))}
            session = session_of(model, feed, threads, ())
            took.append(sum(step_times({"": session}, feed, rounds)[""].values()))
        found[size] = (took[0], took[1])
    return found
