"""What compression passes share: reading models, and finding one's way in `onnx.ModelProto`.

Passes never change the model they are given: `as_model` copies.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...errors import ModelError
from ...formats.onnx_model import self_contained

Model = str | os.PathLike | bytes | onnx.ModelProto


def as_model(model: Model, base_dir: str | os.PathLike | None = None) -> onnx.ModelProto:
    """`model`, a path, bytes or `onnx.ModelProto`, as a ModelProto of the caller's own.

    Tensors stored outside the file are read from the model's folder, or from `base_dir` where it is given.

    Raises
    ------
    FileNotFoundError, ModelError
        No such file; not a model; or its external data cannot be read.
    """
    return self_contained(model, base_dir)


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operators that `model` uses."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelError("the model names no version of ONNX's operators")
    return versions[0]


def at_least_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """`model`, converted to opset `least` if it is older."""
    if opset(model) >= least:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, least)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise ModelError(f"opset {opset(model)} cannot be converted to {least}: {error}") from error
    converted.ir_version = max(converted.ir_version, helper.find_min_ir_version_for([helper.make_opsetid("", least)]))
    return converted


def check(model: onnx.ModelProto) -> None:
    """Raises ModelError where `model` is not valid ONNX."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"not a valid ONNX model: {error}") from error


def attribute(node: onnx.NodeProto, name: str, default=None):
    """The value of `node`'s attribute `name`."""
    for a in node.attribute:
        if a.name == name:
            return helper.get_attribute_value(a)
    return default


def inputs_of(node: onnx.NodeProto) -> list[str]:
    """Every tensor `node` reads, those that its subgraphs take from outside included."""
    names = [n for n in node.input if n]
    for a in node.attribute:
        for inner in [*a.graphs, *([a.g] if a.HasField("g") else [])]:
            own = {i.name for i in [*inner.input, *inner.initializer]} | {o for n in inner.node for o in n.output}
            names += [n for k in inner.node for n in inputs_of(k) if n not in own]
            names += [o.name for o in inner.output if o.name not in own]
    return names


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Which node makes each tensor."""
    return {o: n for n in model.graph.node for o in n.output if o}


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Which nodes read each tensor."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(inputs_of(node)):
            found.setdefault(name, []).append(node)
    return found


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The initializers by name."""
    return {t.name: t for t in model.graph.initializer}


def outputs(model: onnx.ModelProto) -> set[str]:
    """The names of the model's outputs."""
    return {o.name for o in model.graph.output}


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The model's metadata, by key."""
    return {p.key: p.value for p in model.metadata_props}


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller has to give: old models list their weights, too."""
    known = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in known]


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of each tensor, as far as ONNX's shape inference knows it."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"shapes do not fit together: {error}") from error
    infos = [*inferred.value_info, *inferred.input, *inferred.output]
    return {i.name: i.type.tensor_type.elem_type for i in infos} | {t.name: t.data_type for t in inferred.initializer}


def tidy(model: onnx.ModelProto) -> None:
    """Takes weights out of the list of inputs, and gives each node a name of its own."""
    given = {i.name for i in graph_inputs(model)}
    kept = [i for i in model.graph.input if i.name in given]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    names, seen = Names(model), set()
    for node in model.graph.node:
        if not node.name or node.name in seen:
            node.name = names.fresh(node.name or f"{node.op_type}.{node.output[0]}")
        seen.add(node.name)


class Names:
    """Hands out names that nothing in the model has."""

    def __init__(self, model: onnx.ModelProto):
        graph = model.graph
        self.taken = {n for node in graph.node for n in (node.name, *node.input, *node.output)}
        self.taken |= {v.name for v in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]}

    def fresh(self, stem: str) -> str:
        name, i = stem, 0
        while name in self.taken:
            name, i = f"{stem}_{i}", i + 1
        self.taken.add(name)
        return name


def set_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replaces the model's nodes by `nodes`, which are in order."""
    nodes = [n for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def add_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    """Adds an initializer; returns its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name


def rename_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Makes `node` read `new` where it read `old`, in its subgraphs too."""
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
    for a in node.attribute:
        for inner in [*a.graphs, *([a.g] if a.HasField("g") else [])]:
            for k in inner.node:
                rename_input(k, old, new)


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes initializers that nothing reads, and shapes noted for tensors that are gone."""
    graph = model.graph
    used = {n for node in graph.node for n in inputs_of(node)} | outputs(model)
    for field in (graph.initializer, graph.input):
        given = {t.name for t in graph.initializer}
        keep = [t for t in field if t.name in used or (field is graph.input and t.name not in given)]
        if len(keep) != len(field):
            if field is graph.initializer:  # an unused weight that is listed as input goes from both lists
                gone = given - {t.name for t in keep}
                for i in [i for i in graph.input if i.name in gone]:
                    graph.input.remove(i)
            del field[:]
            field.extend(keep)
    made = {o for node in graph.node for o in node.output}
    notes = [v for v in graph.value_info if v.name in made]
    del graph.value_info[:]
    graph.value_info.extend(notes)


def constants_to_initializers(model: onnx.ModelProto) -> None:
    """Turns Constant nodes, and what Identity makes of constants, into initializers."""
    known = set(constants(model))
    kept = []
    for node in model.graph.node:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            value = _constant_value(node)
            if value is not None:
                value.name = node.output[0]
                model.graph.initializer.append(value)
                known.add(value.name)
                continue
        if node.op_type == "Identity" and node.input[0] in known and node.output[0] not in outputs(model):
            copy = onnx.TensorProto()
            copy.CopyFrom(constants(model)[node.input[0]])
            copy.name = node.output[0]
            model.graph.initializer.append(copy)
            known.add(copy.name)
            continue
        kept.append(node)
    set_nodes(model, kept)


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for a in node.attribute:
        if a.name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(a.t)
            return tensor
        if a.name in kinds:
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(a), kinds[a.name]))
    return None


def fold_batchnorm(model: onnx.ModelProto) -> int:
    """Folds BatchNormalization into the Conv before it, in place; returns how many.

    Left alone: a convolution whose result something else reads too, and parameters that are not constant.
    """
    values, readers, made, out = constants(model), consumers(model), producers(model), outputs(model)
    names, gone = Names(model), []
    for node in model.graph.node:
        conv = made.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or attribute(node, "training_mode", 0):
            continue
        if len(readers[node.input[0]]) > 1 or node.input[0] in out:
            continue
        params = [*node.input[1:5], *list(conv.input)[1:]]
        if any(p not in values for p in params if p):
            continue
        gamma, beta, mean, var, w, *bias = (numpy_helper.to_array(values[p]).astype(float) for p in params if p)
        factor = gamma / np.sqrt(var + attribute(node, "epsilon", 1e-5))
        shift = beta + ((bias[0] if bias else 0) - mean) * factor
        stem = conv.name or conv.output[0]
        folded = (w * factor.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32)
        fresh = [names.fresh(f"{stem}.{kind}") for kind in ("folded_weight", "folded_bias")]
        for name, value in zip(fresh, (folded, shift.astype(np.float32))):
            add_constant(model, name, value)
        conv.input[:] = [conv.input[0], *fresh]
        conv.output[0] = node.output[0]
        gone.append(node.output[0])
    folded_nodes = [n for n in model.graph.node if n.op_type == "BatchNormalization" and n.output[0] in gone]
    set_nodes(model, _without(model.graph.node, folded_nodes))
    drop_unused(model)
    return len(gone)


def _without(nodes, gone) -> list[onnx.NodeProto]:
    ids = {id(n) for n in gone}
    return [n for n in nodes if id(n) not in ids]


def excluded(exclude: Iterable[str] | None) -> set[str] | None:
    """The names that an argument `exclude` holds, which may be a generator; None for None.

    Raises
    ------
    ValueError
        If it holds anything but texts, or is one.
    """
    if exclude is None:
        return None
    names = list(exclude) if isinstance(exclude, Iterable) and not isinstance(exclude, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"exclude must be names of nodes, got {exclude!r}")
    return set(names)


def prepare(model: onnx.ModelProto, least: int = 13) -> onnx.ModelProto:
    """`model` at opset `least` or newer, constants as initializers, batch norm folded."""
    if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node):
        raise ModelError("the model is quantized already")
    check(model)
    model = at_least_opset(model, least)
    constants_to_initializers(model)
    widen(model)
    fold_batchnorm(model)
    tidy(model)
    return model


def widen(model: onnx.ModelProto) -> None:
    """Turns what Cast makes of float16 and bfloat16 constants, as ``pycompress.cast`` stores weights, into float32 ones."""
    known, kept = constants(model), []
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    for node in model.graph.node:
        to = next((a.i for a in node.attribute if a.name == "to"), None)
        if node.op_type == "Cast" and to == onnx.TensorProto.FLOAT and node.output[0] not in outputs(model):
            tensor = known.get(node.input[0])
            if tensor is not None and tensor.data_type in halves:
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
                continue
        kept.append(node)
    if len(kept) < len(model.graph.node):
        set_nodes(model, kept)
        drop_unused(model)


def ends(model: onnx.ModelProto, weighted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Convolutions that no weights come before, and nodes that none come after."""
    first, last = {}, {}
    after: set[str] = set()
    for node in model.graph.node:
        behind = any(name in after for name in inputs_of(node))
        if node.name in weighted and node.op_type == "Conv" and not behind:
            first[node.name] = "first convolution"
        if behind or node.name in weighted:
            after |= set(node.output)
    before: set[str] = set()
    for node in reversed(model.graph.node):
        ahead = any(name in before for name in node.output)
        if node.name in weighted and not ahead:
            last[node.name] = "classifier: no weights come after it"
        if ahead or node.name in weighted:
            before |= set(inputs_of(node))
    return first, last
