"""Finds the part of a model that the engine computes; passes calibrate and change that part only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from ... import lower as lowering
from ...errors import ModelError
from ...lower.support import is_known
from ..model import graph as g
from .observe import up_to
from .output_error import float_outputs

ATTEMPTS = 16  # how many unsupported nodes are found one by one; all nodes after the last are left alone


@dataclass(frozen=True, eq=False)
class Computable:
    """The part of a model that the engine computes.

    Attributes
    ----------
    part : the model up to the tensors `ends`
    ends : where errors are measured: its float outputs, and the last float tensors before nodes that cannot be computed
    why : the nodes that it does not compute, by name, and why
    """

    part: onnx.ModelProto
    ends: list[str]
    why: dict[str, str]


def computable(model: onnx.ModelProto, sample: Mapping[str, np.ndarray]) -> Computable:
    """Tries to lower `model` for a sample's shapes; if that fails, finds the nodes that cannot be lowered."""
    blocked = {} if _lowers(model, sample) is None else _blocked(model, sample)
    ends = _ends(model, blocked)
    whole = not blocked and ends == float_outputs(model)
    return Computable(model if whole else up_to(model, ends), ends, blocked)


def _lowers(model: onnx.ModelProto, sample) -> str | None:
    """Why the engine does not lower `model`, or None."""
    try:
        loaded = lowering.load(model)
        names, values = lowering.declared_inputs(loaded), lowering.value_inputs(loaded)
        shapes = {n: sample[n].shape for n in names if n not in values}
        lowering.lower(loaded, shapes, {n: sample[n] for n in values})
    except ModelError as error:
        return str(error)
    return None


def _blocked(model: onnx.ModelProto, sample) -> dict[str, str]:
    """The nodes that are not computed, and why: those that cannot be lowered, and the nodes after them."""
    blocked: dict[str, str] = {}
    for node in model.graph.node:
        if not is_known(node):
            domain = f" of domain {node.domain!r}" if node.domain else ""
            blocked[node.name] = f"operator {node.op_type!r}{domain} is not supported"
    for _ in range(ATTEMPTS):
        blocked |= _after(model, blocked)
        able = [n for n in model.graph.node if n.name not in blocked]
        said = _lowers(_prefix(model, able), sample) if able else None
        if said is None:
            return blocked
        low, high = 0, len(able)  # the first `low` nodes can be lowered, the first `high` cannot
        while high - low > 1:
            middle = (low + high) // 2
            found = _lowers(_prefix(model, able[:middle]), sample)
            low, high, said = (middle, high, said) if found is None else (low, middle, found)
        blocked[able[high - 1].name] = said
    blocked |= {n.name: "it comes after much that cannot be computed here" for n in able[high - 1 :]}
    return blocked | _after(model, blocked)


def _after(model: onnx.ModelProto, blocked: Mapping[str, str]) -> dict[str, str]:
    """The nodes that depend on `blocked` ones, with the reason."""
    made: dict[str, str] = {}
    found = {}
    for node in model.graph.node:
        before = next((made[x] for x in g.inputs_of(node) if x in made), None)
        if before is not None and node.name not in blocked:
            found[node.name] = f"it comes after node {before!r}, which is not computed here"
        if before is not None or node.name in blocked:
            made |= dict.fromkeys(node.output, before or node.name)
    return found


def _prefix(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The model of `nodes` alone; its outputs are the tensors that none of them reads."""
    read = {x for n in nodes for x in g.inputs_of(n)}
    part = up_to(model, [])
    part.graph.output.extend(
        helper.make_tensor_value_info(o, TensorProto.FLOAT, None)
        for n in nodes
        for o in n.output
        if o and o not in read
    )
    part.graph.node.extend(nodes)
    given = {t.name for t in part.graph.initializer}
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in read - given)
    return part


def _ends(model: onnx.ModelProto, blocked: Mapping[str, str]) -> list[str]:
    """The tensors to compare: float outputs; without them, or with `blocked` nodes, the last float tensors."""
    types, makers, values = g.element_types(model), g.producers(model), g.constants(model)
    float_outputs = [o.name for o in model.graph.output if types.get(o.name) == TensorProto.FLOAT]
    able = {o for n in model.graph.node if n.name not in blocked for o in n.output}
    found = [name for name in float_outputs if name in able]
    waiting = [x for n in model.graph.node if n.name in blocked for x in g.inputs_of(n)]
    if not found:
        waiting += [o.name for o in model.graph.output]
    seen = set()
    while waiting:  # walk back to float tensors
        name = waiting.pop()
        if name in seen or name in values or name not in makers:
            continue
        seen.add(name)
        if name in able and types.get(name) == TensorProto.FLOAT:
            found.append(name)
        elif makers[name].name not in blocked and makers[name].op_type not in ("Shape", "Size"):
            waiting += g.inputs_of(makers[name])
    return list(dict.fromkeys(found))
