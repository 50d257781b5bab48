"""Replaces transposed convolutions by convolutions and DepthToSpace, before a model is quantized: both run on codes."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx
from onnx import helper, numpy_helper

from . import graph as g

MAX_WORK = 2.3  # times the multiplications: the convolution's window covers the taps of all phases
ELEMENTWISE = ("Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu")


def replace_transposed(model: onnx.ModelProto, exclude: Container[str] = ()) -> None:
    """ConvTranspose -> Conv, DepthToSpace, in place, where an output is the input times the stride.

    Outputs of one remainder modulo the stride are channels of one convolution (compare "sub-pixel convolution",
    arXiv:1609.05158), which computes all of them for a pixel of the input. What follows element by element follows the
    convolution. Nodes named in `exclude` stay, and those with groups, dilations, weights that are not constant, or too
    many taps that would be multiplied with zeros.
    """
    values, readers, outputs = g.constants(model), g.consumers(model), g.outputs(model)
    names, after = g.Names(model), {}
    for node in model.graph.node:
        if node.op_type != "ConvTranspose" or node.domain not in ("", "ai.onnx") or node.name in exclude:
            continue
        made = _convolution(node, values)
        if made is None:
            continue
        w, bias, pads, stride = made
        last = node
        while len(found := readers.get(last.output[0], ())) == 1 and last.output[0] not in outputs:
            follows = found[0].op_type in ELEMENTWISE and all(n in values for n in found[0].input[1:] if n)
            if not follows or found[0].name in exclude:
                break
            last = found[0]
        inputs = [node.input[0], g.add_constant(model, names.fresh(f"{node.name}.rotated"), w)]
        if bias is not None:
            inputs.append(g.add_constant(model, names.fresh(f"{node.name}.bias"), bias))
        result, deep = last.output[0], names.fresh(f"{node.name}.phases")
        conv = helper.make_node("Conv", inputs, node.output[:1], node.name, kernel_shape=list(w.shape[2:]), pads=pads)
        node.CopyFrom(conv)
        last.output[0] = deep
        name = names.fresh(f"{node.name}.interleave")
        after[deep] = helper.make_node("DepthToSpace", [deep], [result], name, blocksize=stride, mode="DCR")
    if after:
        g.set_nodes(model, [x for n in model.graph.node for x in (n, after.get(n.output[0])) if x is not None])
        g.drop_unused(model)


def _convolution(node: onnx.NodeProto, values) -> tuple[np.ndarray, np.ndarray | None, list[int], int] | None:
    """(weights, bias, pads, stride) of the convolution; None if there is none, or it would multiply too much."""
    given = [values.get(name) for name in node.input[1:] if name]
    if not given or any(t is None or t.data_type != onnx.TensorProto.FLOAT for t in given) or len(given[0].dims) != 4:
        return None
    w, *bias = map(numpy_helper.to_array, given)
    (stride, *other), pads = g.attribute(node, "strides", [1, 1]), g.attribute(node, "pads", [0] * 4)
    extra = g.attribute(node, "output_padding", [0, 0])
    plain = g.attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and g.attribute(node, "group", 1) == 1
    plain = plain and set(g.attribute(node, "dilations", [1, 1])) == {1} and not g.attribute(node, "output_shape", None)
    sizes = [k - pads[i] - pads[i + 2] + extra[i] for i, k in enumerate(w.shape[2:])]
    if not plain or stride < 2 or [stride] != other or sizes != [stride, stride] or not w.size:
        return None
    taps = [_taps(k, stride, before) for k, before in zip(w.shape[2:], pads)]
    reach = [(min(0, *(d for *_, d in axis)), max(0, *(d for *_, d in axis))) for axis in taps]
    window = [high - low + 1 for low, high in reach]
    if stride**2 * np.prod(window) > MAX_WORK * np.prod(w.shape[2:]):
        return None
    wide = np.zeros((stride, stride, w.shape[1], w.shape[0], *window), np.float32)
    for ry, ky, dy in taps[0]:
        for rx, kx, dx in taps[1]:
            wide[ry, rx, :, :, dy - reach[0][0], dx - reach[1][0]] = w[:, :, ky, kx].T
    rows = np.tile(bias[0], stride**2) if bias else None
    ends = [-low for low, _ in reach] + [high for _, high in reach]
    return wide.reshape(-1, *wide.shape[3:]), rows, ends, stride


def _taps(kernel: int, stride: int, before: int) -> list[tuple[int, int, int]]:
    """(remainder of the output, tap, pixel) along an axis: output stride * i + remainder meets the tap at pixel i + pixel."""
    found = [(r, k, r + before - k) for k in range(kernel) for r in range(stride)]
    return [(r, k, d // stride) for r, k, d in found if d % stride == 0]
