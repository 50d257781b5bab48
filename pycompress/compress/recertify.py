"""recertify: rounds the weights of a quantized model again, so that int16 accumulation cannot overflow."""

from __future__ import annotations

import os
from collections.abc import Container

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .. import kernels
from ..errors import ModelError
from .calibration.blas import one_blas_thread
from .calibration.computable import computable
from .calibration.moments import Moments
from .calibration.observe import observe, up_to
from .calibration.samples import Calibration, Samples
from .model import graph as g
from .model.layers import WEIGHTED, is_row, read_layer
from .model.matrix import bias_of, matrix
from .model.prepare import check, quantize_constants, readable
from .progress import Progress
from .quantization.accumulation import checked, note, round_layers
from .quantization.qdq import write_layer
from .quantization.round import PAIRS, Rounded
from .quantization.shared import firsts, joined, separated
from .quantization.targets import Grid
from .verdict import check_min_snr, conclude

EIGHT_BITS = (TensorProto.INT8, TensorProto.UINT8)
BLIND = 2  # accumulation depth if the effect of rounding cannot be measured


@one_blas_thread
def recertify(
    model: g.Model,
    calibration: Calibration | None = None,
    *,
    accumulate: str | int = "auto",
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Round the weights of the quantized `model` again, so that int16 accumulation cannot overflow.

    This is for models from other toolkits, whose weights use their full range and therefore run on slower kernels here.
    Scales and zero points of activations are kept; weights get new codes and a scale per output channel, and biases are
    adapted. Layers whose weights already meet the bounds keep them. The outputs change a little, in any runtime.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        With QuantizeLinear and DequantizeLinear around its operators, or QLinearConv, QLinearMatMul and
        QGemm; those with constant weights are converted to the former. It is not changed.
    calibration : iterable, optional
        Samples as in `quantize`: with them errors are chosen to cancel where inputs are correlated, and the bias absorbs
        the mean error.
    accumulate : {"auto", 1, 2, 4, 8}
        As in `quantize`. "auto" is 2 without calibration, and if the model has quantized operators without a float
        equivalent here.
    min_snr : float, optional
        Refuse a result whose outputs have a lower signal-to-noise ratio against `model`, in dB, on calibration samples
        that are held back. Needs calibration.
    base_dir, progress
        As in `quantize`.

    Returns
    -------
    onnx.ModelProto
        The quantized model with other weights. Its metadata says what was done.

    Raises
    ------
    ValueError
        As in `quantize`; `ModelError`, a ValueError, if the model is invalid or has no layers with 8-bit weights and
        activations.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> full = pycompress.quantize(model, samples, accumulate=0)  # as other toolkits do: weights of full range
    >>> fast = pycompress.recertify(full)
    >>> pycompress.verdict(fast).step
    'recertify'
    """
    checked(accumulate, minimum=1)
    check_min_snr(min_snr, calibration is not None)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    model = readable(model)
    whole = g.copied(model)
    samples = able = seen = None
    if calibration is not None:
        samples = Samples(whole, calibration)
        able = computable(whole, samples.sample)
    blocked = able.why if able else {}
    quantize_constants(model)
    _plain_operators(model, blocked)
    grids, kept = _float_weights(model, blocked)
    if not grids:
        why = "; ".join(f"{name!r}: {said}" for name, said in blocked.items())
        why = why or "the model has no layer with constant 8-bit weights and 8-bit activations"
        raise ModelError(f"nothing to recertify: {why}")
    nodes = [n for n in model.graph.node if n.name in grids]
    twin, alike = None, firsts(nodes)
    if able is not None and accumulate == "auto":
        twin = _float_twin(model if able.part is whole else up_to(model, able.ends))
    if calibration is None:
        shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
        met, some = {n.name: Moments(n, shapes[n.input[1]]) for n in nodes}, []
        common = met
    else:
        seen = observe(model, samples, list(dict.fromkeys(n.input[0] for n in nodes)), nodes, progress, alike=alike)
        met, common, some = seen.moments, seen.common, seen.first
    correct = calibration is not None
    layers = [read_layer(model, n, correct=correct, x=grids[n.name], moments=met[n.name]) for n in nodes]
    if accumulate == "auto" and twin is None:
        accumulate = BLIND
    together = joined(layers, alike, common)
    rounded = separated(together, round_layers(twin or model, together, some, accumulate, kept, progress))
    written: dict[tuple, str] = {}
    for layer in layers:
        write_layer(model, layer, rounded[layer.name], written)
    note(model, layers, [rounded[layer.name] for layer in layers])
    g.drop_unused(model)
    check(model)
    conclude("recertify", whole, model, size, seen, able.ends if able else (), blocked, min_snr)
    return model


def _plain_operators(model: onnx.ModelProto, blocked: Container[str]) -> None:
    """Replaces QLinearConv, QLinearMatMul and QGemm with constant weights by QDQ around float operators, except `blocked` ones."""
    names, values, nodes = g.Names(model), g.constants(model), []
    for node in model.graph.node:
        slots = _SLOTS.get((node.domain, node.op_type))
        if not slots or node.name in blocked or any(node.input[at] not in values for at in (1, 2, 3, 4, 5)):
            nodes.append(node)
            continue
        bias, result = slots
        inputs, before = [], []
        for at, axis in ((0, None), (3, _weight_axis(node))):
            inputs.append(names.fresh(f"{node.name}.{at}.float"))
            given = {"axis": axis} if axis is not None else {}
            before.append(
                helper.make_node(
                    "DequantizeLinear", node.input[at : at + 3], inputs[-1:], names.fresh(inputs[-1]), **given
                )
            )
        if len(node.input) > bias and node.input[bias]:
            inputs.append(names.fresh(f"{node.name}.bias.float"))
            scale = (_array(model, node.input[1]) * _array(model, node.input[4])).astype(np.float32)
            real = _array(model, node.input[bias]).astype(np.float64) * scale.astype(np.float64).reshape(-1)
            g.add_constant(model, inputs[-1], real.astype(np.float32))
        out = [names.fresh(f"{node.name}.float")] if len(node.input) > result and node.input[result] else node.output
        op = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}[node.op_type]
        plain = helper.make_node(op, inputs, out, node.name)
        plain.attribute.extend(node.attribute)
        nodes += [*before, plain]
        if out is not node.output:
            pair = [out[0], *node.input[result : result + 2]]
            nodes.append(helper.make_node("QuantizeLinear", pair, node.output, names.fresh(f"{node.name}.quantize")))
    g.set_nodes(model, nodes)


_SLOTS = {  # positions of the bias and of the result's scale
    ("", "QLinearConv"): (8, 6),
    ("", "QLinearMatMul"): (99, 6),
    ("com.microsoft", "QGemm"): (6, 7),
}


def _weight_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "QLinearConv":
        return 0
    return 0 if node.op_type == "QGemm" and g.attribute(node, "transB", 0) else 1


def _array(model: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(g.constants(model)[name])


def _float_weights(model: onnx.ModelProto, blocked: Container[str]) -> tuple[dict[str, Grid], dict[str, Rounded]]:
    """Converts weights and biases of integer layers to float constants, except of `blocked` nodes.

    Returns the grid of each such layer's input, and its original weights if they have one scale per row.
    """
    names, values, makers = g.Names(model), g.constants(model), g.producers(model)
    grids: dict[str, Grid] = {}
    kept: dict[str, Rounded] = {}
    floats: dict[tuple, str] = {}  # by codes, scale, zero point and axis

    def constant(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int] | None:
        """(codes, scale, zero point, axis) of a dequantized constant."""
        maker = makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or any(n not in values for n in maker.input):
            return None
        codes, scale, *zero = (numpy_helper.to_array(values[n]) for n in maker.input)
        if g.attribute(maker, "block_size", 0) or scale.ndim > 1:
            return None
        axis = g.attribute(maker, "axis", 1) % max(codes.ndim, 1)
        shape = [-1 if i == axis else 1 for i in range(codes.ndim)] if scale.size > 1 else [1] * codes.ndim
        zero = zero[0] if zero else np.zeros(scale.shape, codes.dtype)
        return codes, scale.astype(float).reshape(shape), zero.astype(float).reshape(shape), axis

    for node in model.graph.node:
        if node.name in blocked:
            continue
        x = makers.get(node.input[0]) if node.op_type in WEIGHTED and node.domain in ("", "ai.onnx") else None
        if x is None or x.op_type != "DequantizeLinear" or x.input[0] in values or x.input[1] not in values:
            continue
        scale, weights = numpy_helper.to_array(values[x.input[1]]), constant(node.input[1])
        kind = values[x.input[2]].data_type if len(x.input) > 2 and x.input[2] in values else TensorProto.UINT8
        bias = constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        plain = len(node.input) < 3 or not node.input[2] or node.input[2] in values
        if weights is None or weights[0].dtype not in (np.int8, np.uint8) or scale.size != 1 or kind not in EIGHT_BITS:
            continue
        if bias is None and not plain or g.attribute(node, "transA", 0):
            continue
        if node.op_type == "MatMul" and weights[0].ndim != 2:
            continue
        if node.op_type == "Gemm" and len(node.input) > 2 and node.input[2]:
            dims = list(bias[0].shape if bias is not None else values[node.input[2]].dims)
            if not is_row(dims, weights[0].shape[0 if g.attribute(node, "transB", 0) else 1]):
                continue
        grids[node.name] = Grid(np.float32(scale.reshape(-1)[0]), 0)
        for at, given in ((1, weights), (2, bias)):
            if given is not None:
                codes, step, zero, axis = given
                key = (*makers[node.input[at]].input, axis)
                if key not in floats:
                    floats[key] = names.fresh(f"{node.name}.{('weight', 'bias')[at - 1]}.float")
                    g.add_constant(model, floats[key], ((codes - zero) * step).astype(np.float32))
                node.input[at] = floats[key]
        was = _as_it_was(model, node, *weights)
        if was is not None:
            kept[node.name] = was
    read = set(g.consumers(model)) | g.outputs(model)
    g.set_nodes(model, [n for n in model.graph.node if n.op_type != "DequantizeLinear" or n.output[0] in read])
    return grids, kept


def _as_it_was(model, node: onnx.NodeProto, codes, scale, zero, axis) -> Rounded | None:
    """The original weights, with the accumulation depth that holds for all of them; None if none does."""
    w, segments, groups = matrix(model, node)
    rows = 0 if node.op_type == "Conv" or g.attribute(node, "transB", 0) else 1
    if codes.dtype != np.int8 or zero.any() or scale.size > 1 and axis != rows or g.attribute(node, "alpha", 1.0) != 1:
        return None
    each = np.broadcast_to(scale.reshape(-1), len(w))
    q = np.rint(w / each[:, None]).astype(np.int8)
    if groups > 1 and w.shape[1] == segments:
        kernel = (int(np.prod(codes.shape[2:-1])), codes.shape[-1])
        T = PAIRS if kernels.module("qdwconv").fits(q, PAIRS, kernel).all() else 0
    else:
        T = int(kernels.module("qgemm").accumulation_depth(q, segments).min(initial=8))
    return Rounded(q, each.astype(np.float32), bias_of(model, node, len(w)), T) if T else None


def _float_twin(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model without rounding, but with the clipping of QuantizeLinear; None if there is no such model."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    values, names, nodes = g.constants(twin), g.Names(twin), []
    ports = {p.name: p.type.tensor_type.elem_type for p in [*twin.graph.input, *twin.graph.output]}
    for node in twin.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            if "QLinear" in node.op_type or node.op_type.endswith("Integer") or "Quantize" in node.op_type:
                return None
            nodes.append(node)
            continue
        if node.input[0] in values or node.input[0] in ports and ports[node.input[0]] != TensorProto.FLOAT:
            if node.op_type == "DequantizeLinear" and node.input[0] in values:
                nodes.append(node)
                continue
            return None
        if node.output[0] in ports and ports[node.output[0]] != TensorProto.FLOAT:
            return None
        scale = values.get(node.input[1])
        if node.op_type == "DequantizeLinear" or scale is None or int(np.prod(scale.dims)) != 1:
            nodes.append(helper.make_node("Identity", node.input[:1], node.output, node.name))
            continue
        step = float(numpy_helper.to_array(scale).reshape(-1)[0])
        zero = numpy_helper.to_array(values[node.input[2]]) if len(node.input) > 2 else np.zeros(1, np.uint8)
        reach = np.iinfo(zero.dtype)
        ends = [
            g.add_constant(twin, names.fresh(f"{node.name}.end"), np.float32((end - int(zero.reshape(-1)[0])) * step))
            for end in (reach.min, reach.max)
        ]
        nodes.append(helper.make_node("Clip", [node.input[0], *ends], node.output, node.name))
    g.set_nodes(twin, nodes)
    g.drop_unused(twin)
    return twin
