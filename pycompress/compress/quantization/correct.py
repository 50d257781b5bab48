"""Moves the biases of a quantized model so that its layers give the mean outputs of the float one.

Rounded activations and clipped ranges shift the mean of a layer's outputs, and layers behind it see other inputs. So layers are
taken in order: what is subtracted from a bias is the mean error of the layer's outputs, given what the layers before it compute
now (Nagel et al., 2019, arXiv:1906.04721, section 4.2). The mean over a few samples is not that of other pictures: only the share is
taken that halves of the samples agree on, and half of that. The model is then compared on samples that no mean was taken over, and
stays as it was where this does not help.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..calibration.observe import Statistics
from ..calibration.walk import Trail
from ..model import graph as g
from ..verdict import CalibrationWarning, Judge, warn

METADATA = "pycompress.bias"
SAMPLES = 32  # at most, that means are taken over
FEWEST = 24  # samples; with fewer of them there is no correction
JUDGES = 16  # samples at most that no mean was taken over, beside those that were held back
PRIOR = 32  # samples that a mean error of 0 counts for: errors depend on the picture, and others are not like these


def correct_biases(
    given: onnx.ModelProto, made: onnx.ModelProto, names: Sequence[str], seen: Statistics, ends: Sequence[str]
) -> onnx.ModelProto:
    """`made`, or a copy with other biases where these are better on samples that they were not made from.

    Parameters
    ----------
    given : the float model; its nodes have the names of those of `made`
    names : of the nodes with weights, in order
    seen : with the samples
    ends : the tensors to compare by
    """
    chosen = np.linspace(0, len(seen.spool) - 1, min(SAMPLES, len(seen.spool))).astype(int).tolist()
    samples = [seen.spool[i] for i in chosen]
    shapes = {tuple((name, x.shape) for name, x in sample.items()) for sample in samples}
    if len(samples) < FEWEST or len(shapes) > 1 or not seen.held_back or not ends:
        said = f"{FEWEST} samples of one shape, more that are held back, and a float output"
        warn(f'quantize: bias_correction="sequential" needs {said}: biases stay as they are', CalibrationWarning)
        return made
    moved = g.copied(made)
    shares = _move(given, moved, set(names), samples)
    rest = [i for i in range(len(seen.spool)) if i not in chosen][:JUDGES]
    judge = Judge(given, replace(seen, held=[*seen.held, *(seen.spool[i] for i in rest)]), ends)
    before, after = (judge.compare(m).get("snr") for m in (made, moved))
    helps = None not in (before, after) and after > before
    told = {"snr": [before, after], "samples": len(judge.feeds), "taken": helps, "layers": len(shares)}
    best = moved if helps else made
    helper.set_model_props(best, g.metadata(best) | {METADATA: json.dumps(told)})
    return best


def _move(given, moved, names: set[str], samples: list[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Moves the biases of `moved`, in place; by node which share of the mean error was taken off."""
    trails = [Trail(model, samples, samples[0]) for model in (given, moved)]
    makers, readers, values, shares = g.producers(moved), g.consumers(moved), g.constants(moved), {}
    for node in [n for n in moved.graph.node if n.name in names]:
        bias, scale = _bias(node, makers, readers, values)
        if bias is None:
            continue
        off = np.stack([_means(node, y) - _means(node, x) for x, y in zip(*(t.output(node.name) for t in trails))])
        share = agreed(off) * len(off) / (len(off) + PRIOR)
        if share > 0:
            shares[node.name] = share
            _less(bias, share * off.mean(0) / scale)
    return shares


def agreed(off: np.ndarray) -> float:
    """The share, 0 to 1, of the mean of errors `off` [samples, outputs] that is the same in halves of the samples.

    The product of two halves' means is, but for chance, the square of what they share. The first half against the second, and
    every other sample: samples that are alike may follow each other, or take turns. The smaller one counts.
    """
    half, total = len(off) // 2, np.square(off.mean(0)).sum()
    pairs = (off[:half], off[half:]), (off[::2], off[1::2])
    return float(np.clip(min(a.mean(0) @ b.mean(0) for a, b in pairs) / total, 0, 1)) if total > 0 else 0.0


def _means(node: onnx.NodeProto, y: np.ndarray) -> np.ndarray:
    """The mean of each output channel of `node`."""
    axis = 1 if node.op_type == "Conv" else y.ndim - 1
    return y.mean(tuple(i for i in range(y.ndim) if i != axis), dtype=float)


def _bias(node: onnx.NodeProto, makers, readers, values) -> tuple[onnx.TensorProto | None, np.ndarray | float]:
    """The bias of `node`, as a constant that nothing else reads, and the scale of its codes, or 1; None if there is none."""
    name = node.input[2] if len(node.input) > 2 else ""
    if not name or len(readers[name]) > 1:
        return None, 1.0
    if name in values:
        return (values[name] if values[name].data_type == TensorProto.FLOAT else None), 1.0
    before = makers[name]
    alone = before.op_type == "DequantizeLinear" and len(readers[before.input[0]]) == 1
    if not alone or not all(n in values for n in before.input):
        return None, 1.0
    return values[before.input[0]], numpy_helper.to_array(values[before.input[1]]).astype(float)


def _less(bias: onnx.TensorProto, by: np.ndarray) -> None:
    """Subtracts `by` from the constant `bias`."""
    x = numpy_helper.to_array(bias)
    new = x - by.reshape(x.shape)
    if x.dtype == np.int32:
        new = np.clip(np.rint(new), -(2**31) + 1, 2**31 - 1)
    bias.CopyFrom(numpy_helper.from_array(new.astype(x.dtype), bias.name))
