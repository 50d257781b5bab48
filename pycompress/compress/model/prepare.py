"""Normalizes models for the passes: exporters write the same thing in different ways."""

from __future__ import annotations

from collections.abc import Container
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import ModelError
from ...formats.onnx_model import LoadLimits, dense
from ...lower.constants import FOLD, fold
from ...lower.node import Node
from ...lower.values import Value
from . import graph as g

SMALL = 1 << 16  # bytes; constants up to this size are folded in any case
REARRANGES = ("Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze")
GROWTH = 4  # maximum growth in bytes by folding (int8 becoming float32 grows by 4; fills grow by more)


def prepare(model: onnx.ModelProto, minimum: int = 13) -> onnx.ModelProto:
    """`model` at opset `minimum` or newer, constants as initializers, batch norm folded.

    Raises
    ------
    ModelError
        If it is not valid ONNX, cannot be converted, or is quantized already.
    """
    if (node := quantized_node(model)) is not None:
        raise ModelError(f"node {node.name or node.output[0]!r} ({node.op_type}): the model is quantized already")
    model = readable(model, minimum)
    fold_batchnorm(model)
    return model


def quantized_node(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """The first node that works on 8-bit codes; None in a float model."""
    ends = ("Integer", "QuantizeLinear", "DequantizeLinear", "QGemm")
    return next((n for n in model.graph.node if n.op_type.endswith(ends) or "QLinear" in n.op_type), None)


def readable(model: onnx.ModelProto, minimum: int = 13, widen: bool = True) -> onnx.ModelProto:
    """`model`, changed in place, at opset `minimum` or newer, with constant subexpressions as initializers.

    `widen`: whether Cast of a float16 or bfloat16 constant is folded, too.
    """
    check(model)
    model = at_least_opset(model, minimum)
    fold_constants(model, widen)
    tidy(model)
    return model


def at_least_opset(model: onnx.ModelProto, minimum: int) -> onnx.ModelProto:
    """`model`, converted to opset `minimum` if it is older."""
    if g.opset(model) >= minimum:
        return model
    told = g.metadata(model)
    try:
        converted = onnx.version_converter.convert_version(model, minimum)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise ModelError(f"opset {g.opset(model)} cannot be converted to {minimum}: {error}") from error
    converted.ir_version = max(converted.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", minimum)]))
    if told:  # the converter drops it
        helper.set_model_props(converted, told)
    return converted


def check(model: onnx.ModelProto) -> None:
    """Raises ModelError if `model` is not valid ONNX; tensors without declared shape are accepted."""
    graph = model.graph
    kinds = [
        v.type.tensor_type for v in [*graph.input, *graph.output, *graph.value_info] if v.type.HasField("tensor_type")
    ]
    bare = [kind for kind in kinds if not kind.HasField("shape")]
    for kind in bare:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"not a valid ONNX model: {error}") from error
    finally:
        for kind in bare:
            kind.ClearField("shape")


def fold_constants(model: onnx.ModelProto, widen: bool = True) -> None:
    """Replaces constant subexpressions by initializers, unless they would grow much.

    So passes find weights behind Transpose, Reshape, Cast, weight normalization and the like. `widen` as in
    ``readable``.
    """
    arrays = {t.name: t for t in model.graph.initializer}
    out, version, kept = g.outputs(model), g.opset(model), []
    for node in model.graph.node:
        able = node.domain in ("", "ai.onnx") and not out & set(node.output)
        if node.op_type == "Cast" and not widen and node.input[0] in arrays:
            able &= arrays[node.input[0]].data_type not in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
        if node.op_type == "Constant" and able:
            made = [_constant_value(node)]
        elif able and node.op_type in FOLD and node.input and all(n in arrays for n in node.input if n):
            made = _folded(node, [arrays[n] if n else None for n in node.input], version)
        else:
            made = [None]
        if any(t is None for t in made):
            kept.append(node)
            continue
        for name, tensor in zip(node.output, made):
            if name:
                tensor.name = name
                model.graph.initializer.append(tensor)
                arrays[name] = model.graph.initializer[-1]
    if len(kept) < len(model.graph.node):
        g.set_nodes(model, kept)
        g.drop_unused(model)


def drop_nothings(model: onnx.ModelProto, exclude: Container[str] = ()) -> None:
    """Removes each Identity, and each Cast to the type that its input has, unless it makes an output of the model.

    Nodes named in `exclude` stay.
    """
    out, same, kept = g.outputs(model), {}, []
    types = g.element_types(model) if any(n.op_type == "Cast" for n in model.graph.node) else {}
    for node in model.graph.node:
        for old in dict.fromkeys(g.inputs_of(node)):
            if old in same:
                g.rename_input(node, old, same[old])
        nothing = node.op_type == "Identity" or (
            node.op_type == "Cast" and types.get(node.output[0]) == types.get(node.input[0], TensorProto.UNDEFINED)
        )
        if nothing and node.domain in ("", "ai.onnx") and node.output[0] not in out and node.name not in exclude:
            same[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    if same:
        g.set_nodes(model, kept)
        g.drop_unused(model)


def quantize_constants(model: onnx.ModelProto) -> None:
    """Rewrites quantized weights so that DequantizeLinear reads constant codes and the layer reads its result.

    QuantizeLinear of constants is folded. Transpose, Reshape and the like between DequantizeLinear and the layer are
    applied to the codes.
    """
    out, version, kept = g.outputs(model), g.opset(model), []
    arrays, makers = g.constants(model), {}
    for node in model.graph.node:
        tensor, stays = (None, node) if out & set(node.output) else _as_codes(node, arrays, makers, version)
        if tensor is not None:
            model.graph.initializer.append(tensor)
            arrays[tensor.name] = model.graph.initializer[-1]
        if stays is not None:
            kept.append(stays)
            if stays.op_type == "DequantizeLinear" and all(n in arrays for n in stays.input):
                makers[stays.output[0]] = stays
    g.set_nodes(model, kept)
    read = set(g.consumers(model)) | out
    g.set_nodes(model, [n for n in model.graph.node if n.op_type != "DequantizeLinear" or n.output[0] in read])
    g.drop_unused(model)


def _as_codes(node: onnx.NodeProto, arrays, makers, version: int) -> tuple[TensorProto | None, onnx.NodeProto | None]:
    """(a new constant or None, the node that replaces `node` or None)."""
    given = [arrays.get(n) if n else None for n in node.input]
    if node.op_type == "QuantizeLinear" and all(t is not None for t in given):
        tensor = _codes(node, *map(numpy_helper.to_array, given))
        if tensor is not None:
            tensor.name = node.output[0]
        return tensor, node if tensor is None else None
    before = makers.get(node.input[0]) if node.op_type in REARRANGES else None
    axis = _moved_axis(node, before, arrays) if before is not None and all(t is not None for t in given[1:]) else None
    if axis is None:
        return None, node
    (tensor,) = _folded(node, [arrays[before.input[0]], *given[1:]], version)
    if tensor is None:
        return None, node
    tensor.name = f"{node.output[0]}.codes"
    inputs = [tensor.name, *before.input[1:]]
    return tensor, helper.make_node("DequantizeLinear", inputs, node.output, node.name, axis=axis)


def _codes(node: onnx.NodeProto, x: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None):
    """The result of QuantizeLinear on a constant; None if it has not 8 bits, or one scale per block."""
    zero = np.zeros((), np.uint8) if zero is None else zero
    axis = g.attribute(node, "axis", 1)
    blocked = g.attribute(node, "block_size", 0) or g.attribute(node, "output_dtype", 0)
    if blocked or zero.dtype not in (np.int8, np.uint8) or x.dtype != np.float32 or not (scale > 0).all():
        return None
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)] if scale.size > 1 else [1] * x.ndim
    reach = np.iinfo(zero.dtype)
    steps = np.rint(x / scale.reshape(shape)) + zero.astype(np.float32).reshape(shape)
    return numpy_helper.from_array(np.clip(steps, reach.min, reach.max).astype(zero.dtype))


def _moved_axis(node: onnx.NodeProto, before: onnx.NodeProto, arrays) -> int | None:
    """The axis of the scales of `before`, a DequantizeLinear, after `node` rearranged its codes; None if it is lost."""
    if g.attribute(before, "block_size", 0):
        return None
    axis, rank = g.attribute(before, "axis", 1), len(arrays[before.input[0]].dims)
    if int(np.prod(arrays[before.input[1]].dims)) == 1:
        return axis if node.op_type in ("Transpose", "Identity") else 0
    if node.op_type == "Identity":
        return axis
    perm = list(g.attribute(node, "perm", range(rank)[::-1]))
    return perm.index(axis % rank) if node.op_type == "Transpose" and axis % rank in perm else None


def _folded(node: onnx.NodeProto, given: list[TensorProto | None], version: int) -> list[TensorProto | None]:
    """The outputs of `node` on constants; [None] if the engine does not compute it, or it would grow too much."""
    ctx = SimpleNamespace(model=SimpleNamespace(limits=LoadLimits()), folded=0)
    try:
        arrays = [None if t is None else numpy_helper.to_array(t) for t in given]
        made = fold(ctx, Node(node, [None if x is None else Value.constant(x) for x in arrays], version))
    except (ModelError, LookupError, TypeError, ValueError):
        return [None]
    if made is None or len(made) != len(node.output):
        return [None]
    narrow = {x.dtype for x in arrays if x is not None and x.dtype.name in ("float16", "bfloat16")}
    held = sum(x.nbytes for x in arrays if x is not None)
    results = []
    for value in made:
        x = value.data
        if (
            narrow and x.dtype == np.float32 and node.op_type != "Cast"
        ):  # the engine computes float16 and bfloat16 as float32
            x = x.astype(min(narrow, key=str))
        if x.size * x.itemsize > max(SMALL, GROWTH * held):
            return [None]
        results.append(numpy_helper.from_array(np.array(x, order="C")))
    return results


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for a in node.attribute:
        if a.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(a.t)
            return tensor
        if a.name == "sparse_value":
            return numpy_helper.from_array(dense(a.sparse_tensor))
        if a.name in kinds:
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(a), kinds[a.name]))
    return None


def fold_batchnorm(model: onnx.ModelProto) -> int:
    """Folds each BatchNormalization into the Conv before it, in place; returns how many.

    Identity between the two stays, and makes the result. Convolutions whose result is also read elsewhere, and parameters
    that are not constant, are left alone.
    """
    values, readers, made, out = g.constants(model), g.consumers(model), g.producers(model), g.outputs(model)
    names, gone = g.Names(model), []
    for node in model.graph.node:
        if node.op_type != "BatchNormalization" or g.attribute(node, "training_mode", 0):
            continue
        path = [made.get(node.input[0])]
        while path[-1] is not None and path[-1].op_type == "Identity":
            path.append(made.get(path[-1].input[0]))
        conv = path[-1]
        if conv is None or conv.op_type != "Conv":
            continue
        if any(len(readers[n.output[0]]) > 1 or n.output[0] in out for n in path):
            continue
        params = [*node.input[1:5], *list(conv.input)[1:]]
        if any(p not in values for p in params if p):
            continue
        gamma, beta, mean, var, w, *bias = (numpy_helper.to_array(values[p]).astype(float) for p in params if p)
        factor = gamma / np.sqrt(var + g.attribute(node, "epsilon", 1e-5))
        shift = beta + ((bias[0] if bias else 0) - mean) * factor
        stem = conv.name or conv.output[0]
        folded = (w * factor.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32)
        fresh = [names.fresh(f"{stem}.{kind}") for kind in ("folded_weight", "folded_bias")]
        for name, value in zip(fresh, (folded, shift.astype(np.float32))):
            g.add_constant(model, name, value)
        conv.input[:] = [conv.input[0], *fresh]
        path[0].output[0] = node.output[0]
        gone.append(node.output[0])
    folded_nodes = [n for n in model.graph.node if n.op_type == "BatchNormalization" and n.output[0] in gone]
    g.set_nodes(model, _without(model.graph.node, folded_nodes))
    g.drop_unused(model)
    return len(gone)


def _without(nodes, gone) -> list[onnx.NodeProto]:
    ids = {id(n) for n in gone}
    return [n for n in nodes if id(n) not in ids]


def tidy(model: onnx.ModelProto) -> None:
    """Removes weights from the list of inputs, and gives each node a unique name."""
    given = {i.name for i in g.graph_inputs(model)}
    kept = [i for i in model.graph.input if i.name in given]
    del model.graph.input[:]
    model.ir_version = max(model.ir_version, 4)  # before, every initializer had to be an input
    model.graph.input.extend(kept)
    names, seen = g.Names(model), set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            node.name = names.fresh(node.name or f"{node.op_type}.{node.output[0]}")
        seen.add(node.name)
