"""Gentler options of a pass, in rungs: higher precision or density, first for the layers that do the most damage."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import numpy_helper

from .model import graph as g
from .model.affine import fold_affine
from .model.prepare import prepare
from .quantization.int4 import METADATA
from .recipe import FOUR_BITS
from .verdict import Judge

EIGHTHS = range(1, 8)
EARLY = (1 / 16, 1 / 8, 1 / 4, 1 / 2)  # shares of the layers that become float: few layers do most of the damage
DEPTHS = ("auto", 8, 4, 2, 1)  # accumulation depths, from fast to exact


@dataclass(frozen=True)
class Rung:
    """Options of a pass that change the model less.

    Attributes
    ----------
    options : of the pass
    said : what is different, for people
    layers : the names of the promoted layers; empty if all are
    """

    options: dict[str, Any]
    said: str
    layers: tuple[str, ...] = ()


def rungs(name: str, options: Mapping[str, Any], before: onnx.ModelProto, after: onnx.ModelProto, judge: Judge):
    """The gentler options of the pass `name`, which made `after` of `before` by `options`; the gentlest is last."""
    options = dict(options)
    if name == "quantize":
        return _quantized(options, before, after, judge)
    if name == "prune" and options.get("sparsity") is not None:
        return _pruned(options)
    if name == "factorize":
        return _factorized(options)
    if name == "recertify":
        now = options.get("accumulate", "auto")
        return [Rung(options | {"accumulate": d}, f"accumulation depth {d}") for d in DEPTHS[DEPTHS.index(now) + 1 :]]
    if name == "cast" and options.get("dtype") == "bfloat16":
        return [Rung(options | {"dtype": "float16"}, "float16 instead of bfloat16")]
    return []


def first(ladder: Sequence[Rung], holds: Callable[[Rung], bool]) -> Rung | None:
    """The first rung that holds, by bisection: those after one that holds are taken to hold, too."""
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(ladder[middle]) else (middle + 1, high)
    return ladder[low] if low < len(ladder) else None


def _pruned(options: dict) -> list[Rung]:
    given = options["sparsity"]

    def scaled(x: float, i: int) -> float:
        return round(x * (1 - i / 8), 6)

    found = []
    for i in EIGHTHS:
        if isinstance(given, Mapping):
            less = {name: scaled(x, i) for name, x in given.items()}
            found.append(Rung(options | {"sparsity": less}, f"{8 - i} eighths of each sparsity"))
        else:
            found.append(Rung(options | {"sparsity": scaled(given, i)}, f"sparsity {scaled(given, i):g}"))
    return found


def _factorized(options: dict) -> list[Rung]:
    if (energy := options.get("energy")) is not None:
        found = [round(1 - (1 - energy) / 2**i, 9) for i in range(1, 7)]
        return [Rung(options | {"energy": x}, f"energy {x:g}") for x in found]
    if (ratio := options.get("ratio")) is not None:
        found = [round(ratio + (1 - ratio) * i / 8, 9) for i in EIGHTHS]
        return [Rung(options | {"ratio": x}, f"ratio {x:g}") for x in found]
    rank = options["rank"]
    if isinstance(rank, Mapping):
        return []
    return [Rung(options | {"rank": round(rank * x)}, f"rank {round(rank * x)}") for x in (1.25, 1.5, 2, 3, 4)]


def _quantized(options: dict, before: onnx.ModelProto, after: onnx.ModelProto, judge: Judge) -> list[Rung]:
    """4 bits become 8, then 8 become float, by the damage that each layer does."""
    order = ranked(before, after, judge)
    bits = json.loads(g.metadata(after).get(METADATA, "{}")).get("bits", {})
    four = [name for name in order if bits.get(name) == 4]
    found = []
    for count in _counts(len(four), (*EARLY[1:], 3 / 4)):
        weights = {name: 4 for name in four[count:]}
        own = {key: value for key, value in options.items() if key not in ("share", "first_last")}
        found.append(Rung(own | {"weights": weights}, f"8 bits for {count} of {len(four)}", tuple(four[:count])))
    eight = {key: value for key, value in options.items() if key not in (*FOUR_BITS, "weights")}
    if four:
        found.append(Rung(eight, f"8 bits for all {len(four)}", tuple(four)))
    for count in _counts(len(order), EARLY):
        exclude = sorted({*options.get("exclude", ()), *order[:count]})
        found.append(Rung(eight | {"exclude": exclude}, f"float for {count} of {len(order)}", tuple(order[:count])))
    return found


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """The numbers of layers that are `shares` of `total`: at least one, and not all."""
    return sorted({max(1, round(total * share)) for share in shares if total > 1} - {total})


def ranked(before: onnx.ModelProto, after: onnx.ModelProto, judge: Judge) -> list[str]:
    """The quantized layers of `after`, the most damaging first.

    The damage of a layer is the error of the outputs that vanishes when it alone gets back its float weights and its
    input before rounding.
    """
    whole = prepare(g.copied(before), g.opset(after))
    fold_affine(whole)
    layers, makers = {n.name: n for n in whole.graph.node}, g.producers(after)
    error, falls = noise(judge.compare(after)["snr"]), {}
    for node in after.graph.node:
        maker = makers.get(node.input[1]) if len(node.input) > 1 else None
        if maker is None or maker.op_type != "DequantizeLinear" or node.name not in layers:
            continue
        restored = _restored(after, node.name, whole, layers[node.name], makers)
        falls[node.name] = error - noise(judge.compare(restored)["snr"])
    return sorted(falls, key=lambda name: -falls[name])


def _restored(after: onnx.ModelProto, name: str, whole: onnx.ModelProto, layer: onnx.NodeProto, makers):
    """`after`, in which the node called `name` computes as `layer` does in the float model `whole`."""
    model, values = g.copied(after), g.constants(whole)
    node, names = next(n for n in model.graph.node if n.name == name), g.Names(model)
    inputs = [_exact(node.input[0], makers)]
    for tensor in layer.input[1:]:
        known = values.get(tensor)
        inputs.append(g.add_constant(model, names.fresh(tensor), numpy_helper.to_array(known)) if known else tensor)
    node.input[:] = inputs
    del node.attribute[:]
    node.attribute.extend(layer.attribute)
    g.drop_unused(model)
    return model


def _exact(tensor: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    """The tensor that was rounded to give `tensor`; itself if none was."""
    back = makers.get(tensor)
    if back is None or back.op_type != "DequantizeLinear":
        return tensor
    there = makers.get(back.input[0])
    return there.input[0] if there is not None and there.op_type == "QuantizeLinear" else tensor


def noise(snr: float) -> float:
    """The squared error of an output, relative to its squares, of a signal-to-noise ratio in dB."""
    return 10 ** (-snr / 10)
