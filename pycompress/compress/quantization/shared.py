"""Weights that several nodes have in common, as time steps of an unrolled network or heads for several sizes do, are rounded once.

The codes are chosen for the inputs of all these nodes; each has a bias of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx

from ..calibration.moments import Moments
from ..model import graph as g
from ..model.layers import Layer
from .round import Rounded, adapted


def firsts(nodes: Sequence[onnx.NodeProto]) -> dict[str, str]:
    """For each node that has its weights in common with others of `nodes`, the name of the first of these."""
    groups: dict[tuple, list[str]] = {}
    for node in nodes:
        layout = [g.attribute(node, key, default) for key, default in (("transB", 0), ("alpha", 1.0), ("group", 1))]
        groups.setdefault((node.input[1], node.op_type, *layout), []).append(node.name)
    return {name: names[0] for names in groups.values() if len(names) > 1 for name in names}


def uses(alike: Mapping[str, str]) -> dict[str, int]:
    """How many nodes have the weights of a node, by its name; of those that `firsts` names."""
    counts = Counter(alike.values())
    return {name: counts[of] for name, of in alike.items()}


def joined(layers: Sequence[Layer], alike: Mapping[str, str], moments: Mapping[str, Moments]) -> list[Layer]:
    """`layers`, those with common weights as one; `moments`, by the first of them, are of the inputs of all."""
    members: dict[str, list[Layer]] = {}
    for layer in layers:
        members.setdefault(alike.get(layer.name, layer.name), []).append(layer)
    return [
        replace(own[0], members=tuple(own), moments=moments[name]) if len(own) > 1 else own[0]
        for name, own in members.items()
    ]


def separated(layers: Sequence[Layer], rounded: Sequence[Rounded]) -> dict[str, Rounded]:
    """What each layer has of the `rounded` weights of `joined` ones, by its name: the same codes, and its own bias."""
    found = {}
    for layer, given in zip(layers, rounded):
        found[layer.name] = given
        for own in layer.members:
            found[own.name] = replace(given, bias=adapted(own, given))
    return found
