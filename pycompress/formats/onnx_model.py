"""Reading an ONNX model: limits first, then constants."""

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


@dataclass(frozen=True)
class LoadLimits:
    """What a model may ask for; beyond it loading raises ModelError."""

    file_bytes: int = 2**31
    nodes: int = 100_000
    initializers: int = 100_000
    rank: int = 8
    rows: int = 2**24  # that are listed one by one, by a resize, say
    elements: int = 2**31
    name_bytes: int = 4096
    folded_bytes: int = 2**30
    arena_bytes: int = 8 * 2**30


# Types of 2 and 4 bits, by the type of 8 bits that holds them here.
NARROW = {
    getattr(TensorProto, f"{kind}{bits}"): np.dtype(f"{kind.lower()}8")
    for kind in ("INT", "UINT")
    for bits in (2, 4)
    if hasattr(TensorProto, f"{kind}{bits}")
}


@dataclass(eq=False)
class Model:
    """A checked ModelProto with its constants as arrays, shared by all plans made from it."""

    proto: onnx.ModelProto
    opsets: dict[str, int]
    constants: dict[str, np.ndarray]
    limits: LoadLimits
    legacy: bool = False  # older than opset 7: some operators broadcast differently
    packed: dict = field(default_factory=dict)  # packed weights, shared by all shapes
    narrow: frozenset[str] = frozenset()  # constants of 2 or 4 bits, held in 8

    @cached_property
    def output_types(self) -> list[int]:
        """The element type of each output; what the model leaves out as onnx infers it, 0 where it cannot."""
        ports = self.graph.output
        if not all(p.type.tensor_type.elem_type for p in ports):
            try:
                ports = onnx.shape_inference.infer_shapes(self.proto).graph.output
            except Exception:  # of kinds of its own
                pass
        return [p.type.tensor_type.elem_type for p in ports]

    @cached_property
    def half(self) -> str:
        """The type of half floats that its nodes work on, or ""; a Cast of such constants to float32 is none of them."""
        names = (n for node in self.graph.node if node.op_type != "Cast" for n in node.input)
        kinds = (x.dtype.name for n in names if (x := self.constants.get(n)) is not None and x.ndim > 1)
        return next((kind for kind in kinds if kind in ("float16", "bfloat16")), "")

    @property
    def graph(self) -> onnx.GraphProto:
        return self.proto.graph


def load(model, *, base_dir: str | os.PathLike | None = None, limits: LoadLimits = LoadLimits()) -> Model:
    """Read `model` (a path, bytes or ModelProto) and check what lowering relies on.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
    base_dir : path, optional
        Where external data may be read from.  Without it, a model with external data is refused.

    Raises
    ------
    ModelError
        Naming what is wrong and where.
    """
    proto = _parse(model, limits)
    if _external(proto) and base_dir is None:
        raise ModelError(f"tensor {_external(proto)!r}: external data needs base_dir=")
    if _external(proto):
        if proto is model:  # the caller's stays as it is
            proto = onnx.ModelProto.FromString(model.SerializeToString())
        _read_external(proto, Path(base_dir), limits)
    graph = proto.graph
    if len(graph.node) > limits.nodes:
        raise ModelError(f"{len(graph.node)} nodes, more than {limits.nodes}")
    if len(graph.initializer) > limits.initializers:
        raise ModelError(f"{len(graph.initializer)} initializers, more than {limits.initializers}")
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}
    if "" not in opsets and not any(n.domain for n in graph.node):
        raise ModelError("the model imports no opset")
    if graph.sparse_initializer:
        raise ModelError("sparse initializers are not supported")
    legacy = 0 < opsets.get("", 21) < 7
    if legacy:
        proto = _upgrade(proto)
        opsets[""], graph = 13, proto.graph
    constants = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise ModelError(f"initializer {tensor.name!r} is given twice")
        constants[tensor.name] = to_array(tensor, limits)
    _check_names(proto, limits)
    narrow = frozenset(_narrow(graph))
    return Model(proto, opsets, constants, limits, legacy, narrow=narrow)


def _narrow(graph: onnx.GraphProto):
    yield from (t.name for t in graph.initializer if t.data_type in NARROW)
    for node in graph.node:
        if node.op_type == "Constant" and any(a.t.data_type in NARROW for a in node.attribute):
            yield from node.output


def _parse(model, limits: LoadLimits) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        return model
    if isinstance(model, (str, os.PathLike)):
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"no such model: {path}")
        if path.stat().st_size > limits.file_bytes:
            raise ModelError(f"{path}: larger than {limits.file_bytes} bytes")
        model = path.read_bytes()
    if not isinstance(model, (bytes, bytearray, memoryview)):
        raise TypeError(f"a model is a path, bytes or onnx.ModelProto, got {type(model).__name__}")
    if len(model) > limits.file_bytes:
        raise ModelError(f"the model is larger than {limits.file_bytes} bytes")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(bytes(model))
    except Exception as error:  # protobuf raises types of its own, not one of them public
        raise ModelError(f"not an ONNX model: {error}") from None
    if not proto.HasField("graph"):
        raise ModelError("not an ONNX model: it has no graph")
    return proto


def _tensors(proto: onnx.ModelProto):
    yield from proto.graph.initializer
    for node in proto.graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.TENSOR:
                yield a.t
            elif a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise ModelError(
                    f"node {node.name!r} ({node.op_type}): attribute {a.name!r}: subgraphs are not supported"
                )


def _external(proto: onnx.ModelProto) -> str | None:
    return next((t.name for t in _tensors(proto) if t.data_location == TensorProto.EXTERNAL), None)


def _read_external(proto: onnx.ModelProto, base: Path, limits: LoadLimits) -> None:
    """Read external tensors from regular files inside `base`: no links, nothing above it."""
    base = base.resolve(strict=True)
    for t in _tensors(proto):
        if t.data_location != TensorProto.EXTERNAL:
            continue
        info = {e.key: e.value for e in t.external_data}
        if unknown := set(info) - {"location", "offset", "length", "checksum"}:
            raise ModelError(f"tensor {t.name!r}: external data key {min(unknown)!r} is not known")
        path = base / info.get("location", "")
        if not _plain_file(path, base):
            raise ModelError(
                f"tensor {t.name!r}: external data at {info.get('location')!r} is not a file inside base_dir"
            )
        try:
            offset, size = int(info.get("offset", 0)), path.stat().st_size
            length = int(info.get("length", size - offset))
        except ValueError:
            raise ModelError(f"tensor {t.name!r}: external offset and length must be integers") from None
        if offset < 0 or length < 0 or offset + length > size:
            raise ModelError(f"tensor {t.name!r}: external data lies outside its file")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            file.seek(offset)
            t.raw_data = file.read(length)
        t.data_location = TensorProto.DEFAULT
        del t.external_data[:]


def _plain_file(path: Path, base: Path) -> bool:
    """Whether `path` is a file below `base` that is no link and has no other name."""
    try:
        inside = base in path.resolve().parents and not path.is_symlink()
        return inside and path.is_file() and path.stat().st_nlink == 1
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def to_array(tensor: TensorProto, limits: LoadLimits = LoadLimits()) -> np.ndarray:
    """`tensor` as an array, its declared size checked against its data first.

    Raises
    ------
    ModelError
        If it is external, of a type this library has no use for, or its data do not fit its shape.
    """
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"tensor {tensor.name!r}: external data needs base_dir=")
    if len(tensor.dims) > limits.rank or any(d < 0 for d in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r}: dims {list(tensor.dims)} are not supported")
    count = 1
    for d in tensor.dims:
        count *= d
    if count > limits.elements:
        raise ModelError(f"tensor {tensor.name!r}: {count} elements, more than {limits.elements}")
    try:
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises many kinds for damaged tensors
        raise ModelError(f"tensor {tensor.name!r}: {error}") from None
    if array.shape != tuple(tensor.dims) or array.dtype != dtype:
        raise ModelError(f"tensor {tensor.name!r}: its data do not fit its shape {list(tensor.dims)}")
    array = array.astype(NARROW.get(tensor.data_type, array.dtype))
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


def _texts(proto: onnx.ModelProto):
    graph = proto.graph
    yield from (graph.name, proto.producer_name, proto.producer_version, proto.domain)
    yield from (text for entry in proto.metadata_props for text in (entry.key, entry.value))
    yield from (named.name for named in (*graph.initializer, *graph.input, *graph.output))
    for node in graph.node:
        yield from (*node.input, *node.output, node.name, node.op_type, node.domain)
        yield from (a.name for a in node.attribute)


def _check_names(proto: onnx.ModelProto, limits: LoadLimits) -> None:
    """Single assignment, and every input made before it is used: the order is topological."""
    graph = proto.graph
    if len({port.name for port in graph.input}) != len(graph.input):
        raise ModelError(f"graph inputs {[port.name for port in graph.input]}: a name stands there twice")
    made = {named.name for named in (*graph.initializer, *graph.input)}
    for text in _texts(proto):
        if not isinstance(text, str) or "\0" in text:  # protobuf hands over as bytes what is not UTF-8
            raise ModelError(f"a name is not text: {text[:40]!r}")
    for node in graph.node:
        if any(len(name) > limits.name_bytes for name in (*node.input, *node.output, node.name)):
            raise ModelError(f"a name is longer than {limits.name_bytes} bytes")
        for name in node.input:
            if name and name not in made:
                raise ModelError(f"node {node.name!r} ({node.op_type}): input {name!r} is not made before it")
        for name in node.output:
            if name and name in made:
                raise ModelError(f"node {node.name!r} ({node.op_type}): output {name!r} is made twice")
            made.add(name)
    for port in graph.output:
        if port.name not in made:
            raise ModelError(f"graph output {port.name!r} is not made by any node")
