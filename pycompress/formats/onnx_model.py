"""The one reader of ONNX models: limits first, then structure, then constants."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnx.shape_inference
from onnx import TensorProto, helper, numpy_helper

from ..dtypes import WORD
from ..errors import ModelError
from .external_data import ExternalData, array_of, folders_of
from .onnx_structure import all_nodes, densified, inlined, order, reads, subgraphs

ModelSource = str | os.PathLike | bytes | onnx.ModelProto


@dataclass(frozen=True)
class LoadLimits:
    """What a model may ask for; beyond it loading raises ModelError."""

    file_bytes: int = 2**31
    nodes: int = 100_000
    initializers: int = 100_000
    rank: int = 8
    rows: int = 2**22  # that are listed one by one, by a resize, say
    steps: int = 2**14  # kernel calls of one plan: planning takes about a millisecond for each
    elements: int = 2**31
    name_bytes: int = 4096
    folded_bytes: int = 2**30  # of one constant that is computed while planning
    folded_total_bytes: int = 8 * 2**30  # of all of them together
    arena_bytes: int = 8 * 2**30
    external_bytes: int = 8 * 2**30  # of all files that hold tensors


# 2- and 4-bit types, by the 8-bit type that stores them here.
NARROW = {
    getattr(TensorProto, f"{kind}{bits}"): np.dtype(f"{kind.lower()}8")
    for kind in ("INT", "UINT")
    for bits in (2, 4)
    if hasattr(TensorProto, f"{kind}{bits}")
}


NOTHING = ExternalData((), 0)  # no folder to read from


@dataclass(eq=False)
class Model:
    """A checked ModelProto with its constants as arrays, shared by all plans made from it."""

    proto: onnx.ModelProto
    opsets: dict[str, int]
    constants: dict[str, np.ndarray]
    limits: LoadLimits
    legacy: bool = False  # older than opset 7: some operators broadcast differently
    packed: dict = field(default_factory=dict)  # packed weights, shared by all shapes
    narrow: frozenset[str] = frozenset()  # constants of 2 or 4 bits, stored in 8
    external: ExternalData = NOTHING
    known: dict = field(default_factory=dict)  # values by name that follow from the file alone, since the first plan

    @cached_property
    def output_types(self) -> list[int]:
        """The element type of each output; undeclared types are inferred by onnx, or 0."""
        ports = self.graph.output
        if not all(p.type.tensor_type.elem_type for p in ports):
            try:
                ports = onnx.shape_inference.infer_shapes(self.proto).graph.output
            except Exception:  # of kinds of its own
                pass
        return [p.type.tensor_type.elem_type for p in ports]

    @cached_property
    def half(self) -> str:
        """ "float16" or "bfloat16" if its nodes compute with that type, else ""; a Cast of constants to float32 does not count."""
        names = (n for node in self.graph.node if node.op_type != "Cast" for n in node.input)
        kinds = (x.dtype.name for n in names if (x := self.constants.get(n)) is not None and x.ndim > 1)
        return next((kind for kind in kinds if kind in ("float16", "bfloat16")), "")

    @cached_property
    def needed(self) -> list[onnx.NodeProto]:
        """The nodes on which an output depends, in order."""
        wanted, found = {port.name for port in self.graph.output}, []
        for node in reversed(self.graph.node):
            if not wanted.isdisjoint(node.output):
                found.append(node)
                wanted |= reads(node)
        return found[::-1]

    @property
    def graph(self) -> onnx.GraphProto:
        return self.proto.graph


def load(model, *, base_dir: str | os.PathLike | None = None, limits: LoadLimits = LoadLimits()) -> Model:
    """Read `model` (a path, bytes or ModelProto) and check what lowering relies on.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        It is not changed. Nodes may stand in any order; local functions are inlined, sparse initializers made dense.
    base_dir : path, optional
        Where external data may be read from: by default the folder of the model's file; see ``external_data``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelError
        Naming what is wrong and where.
    """
    proto, external, opsets, legacy = _structured(model, base_dir, limits)
    if any(t.data_location == TensorProto.EXTERNAL for n in proto.graph.node for t in _held(n)):
        proto = copied(proto) if proto is model else proto
        for tensor in (t for n in proto.graph.node for t in _held(n)):
            external.read_into(tensor)
    constants = constants_of(proto.graph, external, limits)
    return Model(proto, opsets, constants, limits, legacy, narrow=frozenset(_narrow(proto.graph)), external=external)


def self_contained(
    model, base_dir: str | os.PathLike | None = None, limits: LoadLimits = LoadLimits()
) -> onnx.ModelProto:
    """A new ModelProto of `model`, normalized as by ``load``, with all external data read into it.

    Raises
    ------
    FileNotFoundError, ModelError
        As ``load``.
    """
    proto, external, _, _ = _structured(model, base_dir, limits)
    own = copied(proto) if proto is model else proto
    for tensor in tensors(own.graph):
        external.read_into(tensor)
    for sparse in own.graph.sparse_initializer:
        own.graph.initializer.append(numpy_helper.from_array(dense(sparse, limits), sparse.values.name))
    del own.graph.sparse_initializer[:]
    return own


def _structured(model, base_dir, limits: LoadLimits):
    """(proto, external data, opsets by domain, whether it was upgraded): flat, in order, names checked; `model` is not changed."""
    proto = read(model, limits)
    external = ExternalData(folders_of(model, base_dir), limits.external_bytes)
    if not proto.graph.node and not proto.graph.output:
        raise ModelError("not an ONNX model: its graph is empty")
    _check_texts(proto, limits)
    proto = inlined(proto, limits.nodes)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
    if "" not in opsets and not any(n.domain for n in proto.graph.node):
        raise ModelError("the model imports no opset")
    legacy = 0 < opsets.get("", 21) < 7
    if legacy:
        proto = _upgrade(proto)
        opsets[""] = 13
    if (places := order(proto.graph)) is not None:
        nodes = [proto.graph.node[i].SerializeToString() for i in places]
        proto = copied(proto) if proto is model else proto
        del proto.graph.node[:]
        proto.graph.node.extend(onnx.NodeProto.FromString(n) for n in nodes)
    _check_ports(proto.graph)
    return proto, external, opsets, legacy


def copied(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model."""
    own = onnx.ModelProto()
    own.CopyFrom(proto)
    return own


def constants_of(graph: onnx.GraphProto, external: ExternalData, limits: LoadLimits) -> dict[str, np.ndarray]:
    """The initializers of a graph by name, sparse ones dense."""
    if len(graph.initializer) + len(graph.sparse_initializer) > limits.initializers:
        raise ModelError(f"{len(graph.initializer)} initializers, more than {limits.initializers}")
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise ModelError(f"initializer {tensor.name!r} is given twice")
        constants[tensor.name] = to_array(tensor, limits, external)
    for sparse in graph.sparse_initializer:
        if not sparse.values.name or sparse.values.name in constants:
            raise ModelError(f"sparse initializer {sparse.values.name!r}: it needs a name that no other has")
        constants[sparse.values.name] = dense(sparse, limits, external)
    return constants


def dense(sparse, limits: LoadLimits = LoadLimits(), external: ExternalData | None = None) -> np.ndarray:
    """A sparse tensor as an array; raises ModelError where it is too large or an index lies outside."""
    return densified(sparse, limits.folded_bytes // 4, lambda tensor: to_array(tensor, limits, external))


def _narrow(graph: onnx.GraphProto):
    yield from (t.name for t in graph.initializer if t.data_type in NARROW)
    for node in graph.node:
        if node.op_type == "Constant" and any(a.t.data_type in NARROW for a in node.attribute):
            yield from node.output


def read(model, limits: LoadLimits = LoadLimits()) -> onnx.ModelProto:
    """`model`, a path, bytes or ModelProto, parsed and within the limits of size, without further checks."""
    what = "not an ONNX model"
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        what = f"{path}: {what}"
        if not path.is_file():
            raise FileNotFoundError(f"no such model: {path}")
        if path.stat().st_size > limits.file_bytes:
            raise ModelError(f"{path}: larger than {limits.file_bytes} bytes")
        model = path.read_bytes()
    proto = model
    if not isinstance(model, onnx.ModelProto):
        if not isinstance(model, (bytes, bytearray, memoryview)):
            raise TypeError(f"a model is a path, bytes or onnx.ModelProto, got {type(model).__name__}")
        if len(model) > limits.file_bytes:
            raise ModelError(f"the model is larger than {limits.file_bytes} bytes")
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(bytes(model))
        except Exception as error:  # protobuf raises types of its own, not one of them public
            raise ModelError(f"{what}: {error}") from None
    if not proto.HasField("graph"):
        raise ModelError(f"{what}: it has no graph")
    if sum(1 for _ in all_nodes(proto.graph)) > limits.nodes:
        raise ModelError(f"the model has more than {limits.nodes} nodes")
    return proto


def tensors(graph: onnx.GraphProto):
    """Every tensor that a graph holds, in its nodes and their subgraphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _held(node)


def _held(node: onnx.NodeProto):
    for a in node.attribute:
        if a.type == onnx.AttributeProto.TENSOR:
            yield a.t
        elif a.type == onnx.AttributeProto.SPARSE_TENSOR:
            yield from (a.sparse_tensor.values, a.sparse_tensor.indices)
    for _, inner in subgraphs(node):
        yield from tensors(inner)


def to_array(
    tensor: TensorProto, limits: LoadLimits = LoadLimits(), external: ExternalData | None = None
) -> np.ndarray:
    """`tensor` as an array, its declared size checked against its data first.

    Raises
    ------
    ModelError
        If it is external and `external` cannot read it, of a type this library has no use for, or its data do not fit its shape.
    """
    if len(tensor.dims) > limits.rank or any(d < 0 for d in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r}: dims {list(tensor.dims)} are not supported")
    count = 1
    for d in tensor.dims:
        count *= d
    if count > limits.elements:
        raise ModelError(f"tensor {tensor.name!r}: {count} elements, more than {limits.elements}")
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        if tensor.data_location != TensorProto.EXTERNAL:
            array = numpy_helper.to_array(tensor)
        elif tensor.data_type in NARROW or tensor.data_type == TensorProto.STRING:
            held = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            held.raw_data = (external or NOTHING).read(tensor).tobytes()
            array = numpy_helper.to_array(held)
        else:
            array = array_of(tensor, (external or NOTHING).read(tensor))
    except ModelError:
        raise
    except Exception as error:  # onnx raises many kinds for damaged tensors
        raise ModelError(f"tensor {tensor.name!r}: {error}") from None
    if array.shape != tuple(tensor.dims) or array.dtype != dtype:
        raise ModelError(f"tensor {tensor.name!r}: its data do not fit its shape {list(tensor.dims)}")
    array = array.astype(NARROW.get(tensor.data_type, array.dtype), copy=False)
    if array.dtype.name not in WORD:
        raise ModelError(f"tensor {tensor.name!r}: type {array.dtype.name} is not supported")
    return np.ascontiguousarray(array).reshape(array.shape)


def _upgrade(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Models older than opset 7, brought to 13 by onnx's own converter."""
    from onnx import version_converter

    try:
        return version_converter.convert_version(proto, 13)
    except Exception as error:  # the converter raises RuntimeError and others
        raise ModelError(f"cannot bring opset {proto.opset_import[0].version} to 13: {error}") from None


def _check_texts(proto: onnx.ModelProto, limits: LoadLimits) -> None:
    """Names are text of bounded length."""
    for text in _texts(proto):
        if not isinstance(text, str) or "\0" in text:  # protobuf hands over as bytes what is not UTF-8
            raise ModelError(f"a name is not text: {text[:40]!r}")
        if len(text) > limits.name_bytes:
            raise ModelError(f"a name is longer than {limits.name_bytes} bytes: {text[:40]!r}")
    if any(not isinstance(entry.value, str) for entry in proto.metadata_props):
        raise ModelError("metadata: a value is not text")


def _texts(proto: onnx.ModelProto):
    graph = proto.graph
    yield from (graph.name, proto.producer_name, proto.producer_version, proto.domain)
    yield from (entry.key for entry in proto.metadata_props)
    yield from (named.name for named in (*graph.initializer, *graph.input, *graph.output))
    for node in all_nodes(graph):
        yield from (*node.input, *node.output, node.name, node.op_type, node.domain)
        yield from (a.name for a in node.attribute)


def _check_ports(graph: onnx.GraphProto) -> None:
    """Check that no input is listed twice, and that every output is computed."""
    if len({port.name for port in graph.input}) != len(graph.input):
        raise ModelError(f"graph inputs {[port.name for port in graph.input]}: a name is listed twice")
    made = {named.name for named in (*graph.initializer, *graph.input)} | {o for n in graph.node for o in n.output}
    made |= {s.values.name for s in graph.sparse_initializer}
    for port in graph.output:
        if port.name not in made:
            raise ModelError(f"graph output {port.name!r} is not made by any node")
