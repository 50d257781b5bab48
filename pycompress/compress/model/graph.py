"""Helpers of all passes: reading models, and access to the parts of an `onnx.ModelProto`.

Passes never change the model they are given: `as_model` copies it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...errors import ModelError
from ...formats.onnx_model import ModelSource, self_contained

Model = ModelSource
GRAPHS = (onnx.AttributeProto.UNDEFINED, onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
SHAPING = 64  # elements: a constant of more tells shape inference nothing


class OptionsAreFine(Exception):
    """What a pass raises that was given `OPTIONS_ONLY`."""


OPTIONS_ONLY: Any = object()  # in place of a model: the pass checks its options, and does nothing else


def check_options(apply: Callable, *args, **options) -> None:
    """Raise ValueError if the pass `apply` refuses these options, whatever the model; `args` follow the model."""
    try:
        apply(OPTIONS_ONLY, *args, **options)
    except OptionsAreFine:
        return
    except TypeError as error:  # a value of a type that no check expects
        raise ValueError(str(error)) from None


def as_model(model: Model, base_dir: str | os.PathLike | None = None) -> onnx.ModelProto:
    """A new ModelProto of `model`, which is a path, bytes or an `onnx.ModelProto`.

    Tensors stored outside the file are read from `base_dir`, by default from the model's folder.

    Raises
    ------
    FileNotFoundError, ModelError
        If there is no such file, it is no model, or its external data cannot be read.
    """
    if model is OPTIONS_ONLY:
        raise OptionsAreFine
    return self_contained(model, base_dir)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model`."""
    own = onnx.ModelProto()
    own.CopyFrom(model)
    return own


def opset(model: onnx.ModelProto) -> int:
    """The opset of ONNX's standard operators that `model` imports."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelError("the model names no version of ONNX's operators")
    return versions[0]


def attribute(node: onnx.NodeProto, name: str, default=None):
    """The value of `node`'s attribute `name`."""
    for a in node.attribute:
        if a.name == name:
            return helper.get_attribute_value(a)
    return default


def inputs_of(node: onnx.NodeProto) -> list[str]:
    """All tensors that `node` reads, including those that its subgraphs read from outside."""
    names = [n for n in node.input if n]
    for a in node.attribute:
        for inner in [*a.graphs, *([a.g] if a.HasField("g") else [])]:
            own = {i.name for i in [*inner.input, *inner.initializer]} | {o for n in inner.node for o in n.output}
            names += [n for k in inner.node for n in inputs_of(k) if n not in own]
            names += [o.name for o in inner.output if o.name not in own]
    return names


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each tensor."""
    return {o: n for n in model.graph.node for o in n.output if o}


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor."""
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
    """The inputs that a caller has to give; old models list their weights as inputs, too."""
    known = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in known]


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of each tensor that ONNX's shape inference can determine."""
    infos = _inferred(model)
    return {i.name: i.type.tensor_type.elem_type for i in infos} | {
        t.name: t.data_type for t in model.graph.initializer
    }


def ranks(model: onnx.ModelProto) -> dict[str, int]:
    """The number of dimensions of each tensor for which ONNX's shape inference can determine it."""
    infos = [i for i in _inferred(model) if i.type.tensor_type.HasField("shape")]
    return {i.name: len(i.type.tensor_type.shape.dim) for i in infos} | {
        t.name: len(t.dims) for t in model.graph.initializer
    }


def _inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What shape inference finds out about tensors."""
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model)).graph
    except (RuntimeError, ValueError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"shapes do not fit together: {error}") from error
    return [*inferred.value_info, *inferred.input, *inferred.output]


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with large float constants that have a type and a shape, but no values: inference would copy them twice."""
    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    of, graph = model.graph, bare.graph
    graph.name = of.name
    for name in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(graph, name).extend(getattr(of, name))
    for t in of.initializer:
        if t.data_type == TensorProto.FLOAT and np.prod(t.dims, dtype=float) > SHAPING:
            graph.initializer.add(name=t.name, dims=t.dims, data_type=t.data_type)
        else:
            graph.initializer.append(t)
    return bare


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """`graph` and all graphs of its nodes, such as the branches of If: a name is unique in all of them."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            if a.type in GRAPHS:
                for inner in [*a.graphs, *([a.g] if a.HasField("g") else [])]:
                    yield from _graphs(inner)


class Names:
    """Creates names that are not used in the model."""

    def __init__(self, model: onnx.ModelProto):
        self.taken: set[str] = set()
        for graph in _graphs(model.graph):
            self.taken |= {n for node in graph.node for n in (node.name, *node.input, *node.output)}
            self.taken |= {v.name for v in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]}

    def fresh(self, stem: str) -> str:
        name, i = stem, 0
        while name in self.taken:
            name, i = f"{stem}_{i}", i + 1
        self.taken.add(name)
        return name


def set_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replaces the model's nodes by `nodes`, which are in topological order."""
    nodes = [n for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def add_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    """Adds an initializer; returns its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
    return name


def rename_input(node: onnx.NodeProto, old: str, new: str) -> None:
    """Makes `node` and its subgraphs read `new` instead of `old`."""
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
    for a in node.attribute:
        for inner in [*a.graphs, *([a.g] if a.HasField("g") else [])]:
            for k in inner.node:
                rename_input(k, old, new)


def drop_unused(model: onnx.ModelProto) -> None:
    """Removes initializers that are not read, and recorded shapes of tensors that no longer exist."""
    graph = model.graph
    used = {n for node in graph.node for n in inputs_of(node)} | outputs(model)
    for field in (graph.initializer, graph.input):
        given = {t.name for t in graph.initializer}
        keep = [t for t in field if t.name in used or (field is graph.input and t.name not in given)]
        if len(keep) != len(field):
            if field is graph.initializer:  # an unused weight that is also listed as input is removed from both lists
                gone = given - {t.name for t in keep}
                for i in [i for i in graph.input if i.name in gone]:
                    graph.input.remove(i)
            del field[:]
            field.extend(keep)
    made = {o for node in graph.node for o in node.output}
    notes = [v for v in graph.value_info if v.name in made]
    del graph.value_info[:]
    graph.value_info.extend(notes)


def excluded(exclude: Iterable[str] | None) -> set[str] | None:
    """The names in an argument `exclude`, which may be a generator; None for None.

    Raises
    ------
    ValueError
        If it is a string, or holds anything but strings.
    """
    if exclude is None:
        return None
    names = list(exclude) if isinstance(exclude, Iterable) and not isinstance(exclude, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"exclude must be names of nodes, got {exclude!r}")
    return set(names)


def ends(model: onnx.ModelProto, weighted: set[str]) -> tuple[dict[str, str], dict[str, str]]:
    """(convolutions that no weights precede, nodes that no weights follow)."""
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
