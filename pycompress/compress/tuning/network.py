"""The parts of a model for which tuning chooses a form, and the tensors between them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from ..model import graph as g
from ..quantization.targets import REARRANGES, Targets, data_inputs


@dataclass(frozen=True)
class Unit:
    """Nodes that get one form together: a layer, or nodes that compute one function of one tensor.

    Attributes
    ----------
    name : of the first node
    op : its operator
    nodes : their names
    weighted : whether it is a product with constant weights
    output : the tensor that it makes, after an activation that is part of its rounding
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    weighted: bool
    output: str


@dataclass(frozen=True)
class Between:
    """An activation that is quantized if one of its readers runs on integers.

    Attributes
    ----------
    name : of the tensor
    maker : the unit that makes it, or None if that always is in float
    readers : the units that read it
    copied : whether its maker only rearranges values, so that on integers they are not rounded again
    """

    name: str
    maker: str | None
    readers: tuple[str, ...]
    copied: bool = False


def units_of(model: onnx.ModelProto, targets: Targets) -> tuple[list[Unit], list[Between]]:
    """The units of `model`, of which `targets` says what can run on integers, and the tensors between them, in order."""
    values, readers, weighted = g.constants(model), g.consumers(model), {n.name for n in targets.weighted}
    groups: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.name in targets.nodes:
            groups.setdefault(targets.functions.get(node.name, node.name), []).append(node)
    units, makers, owner = [], {}, {}
    for nodes in groups.values():
        first, output = nodes[0], nodes[-1].output[0]
        after = readers.get(output, ())
        if len(after) == 1 and after[0].name not in targets.nodes and after[0].output[0] in targets.made:
            output = after[0].output[0]  # an activation within the rounding
        units.append(Unit(first.name, first.op_type, tuple(n.name for n in nodes), first.name in weighted, output))
        makers |= dict.fromkeys([output, *(o for n in nodes for o in n.output)], first.name)
        owner |= {n.name: first.name for n in nodes}
    read: dict[str, dict[str, None]] = {name: {} for name in targets.tensors}
    for node in model.graph.node:
        if node.name in targets.nodes:
            source = targets.functions.get(node.name)
            for name in [source] if source else data_inputs(node, values):
                read.setdefault(name, {})[owner[node.name]] = None
    copies = {u.name for u in units if u.op in REARRANGES}
    between = [(name, makers.get(name), tuple(by)) for name, by in read.items() if by]
    return units, [Between(name, maker, by, maker in copies) for name, maker, by in between]
