"""Which nodes of a model cannot be run, and why: all of them, not only the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
import onnx.shape_inference
from onnx import TensorProto, helper

from ..dtypes import WORD, numpy_type
from ..errors import ModelError
from ..formats.onnx_model import NARROW, Model, copied, load
from ..formats.onnx_structure import all_nodes, name_of, reads, subgraphs
from . import _declared, _input, custom, value_inputs
from .constants import FOLD
from .context import Lowering
from .functions import is_defined
from .registry import OPERATORS
from .values import HALVES, Value
from .walk import walk

KINDS = {helper.np_dtype_to_tensor_dtype(numpy_type(name)) for name in WORD} | {*NARROW}  # of tensors that exist here


@dataclass(frozen=True)
class Unsupported:
    """A node that cannot be run.

    Attributes
    ----------
    node, op : its name, or that of its first output; its operator, with the domain where that is not ONNX's
    why : operator, attribute or tensor that is at fault
    """

    node: str
    op: str
    why: str


def unsupported(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]] | None = None) -> list[Unsupported]:
    """The nodes of a model that cannot be run, for inputs of the given shapes, by default the declared ones.

    What an unsupported node makes is taken to be there, so that each node is judged by itself. Where shapes are not known,
    a node is judged by its operator alone, and so are nodes in subgraphs.

    Parameters
    ----------
    proto : a model in the form that ``self_contained`` gives it

    Raises
    ------
    ModelError
        If the model cannot be read.
    """
    proto, foreign = _with_foreign_apart(proto)
    return list(_Judge(load(proto), foreign, dict(shapes or {})).rows())


class _Judge:
    def __init__(self, model: Model, foreign: dict[str, str], shapes: dict[str, tuple[int, ...]]):
        self.model, self.foreign = model, foreign
        self.unknown: set[str] = set()
        self.ctx = Lowering(model)
        self.ctx.env = {name: Value.constant(data) for name, data in model.constants.items()}
        values = value_inputs(model)
        for port in model.graph.input:
            if port.name in model.constants or port.name in foreign:
                continue
            if not port.type.HasField("tensor_type") or port.type.tensor_type.elem_type not in KINDS:
                self.foreign[port.name] = _type_name(port.type)
            elif port.name in values or not self._feed(port, shapes):
                self.unknown.add(port.name)
        self.unknown |= set(foreign)
        self.types = _inferred(model.proto, {name: v.shape for name, v in self.ctx.env.items()})

    def _feed(self, port: onnx.ValueInfoProto, shapes) -> bool:
        """Make a graph input known; False where its type or shape is not."""
        try:
            given = _declared(port, "")
            declared = given[1]
            if port.name not in shapes and declared is None:
                return False
            open_batch = (1 if i == 0 and not isinstance(d, int) else d for i, d in enumerate(declared or ()))
            shape = tuple(shapes.get(port.name, open_batch))
            if not all(isinstance(d, int) for d in shape):
                return False
            _input(self.ctx, 0, port.name, given, shape, {})
        except ModelError:
            return False
        return True

    def rows(self) -> Iterator[Unsupported]:
        for node in self.model.needed:
            why = self._why(node)
            if why is not None:
                yield Unsupported(name_of(node), _operator(node), why)
            if why is not None or not all(name in self.ctx.env for name in node.output if name):
                yield from _inside(node)
                for name in filter(None, node.output):
                    self._stand_in(name)

    def _why(self, node: onnx.NodeProto) -> str | None:
        """Why `node` cannot be run; None where it can, or where nothing speaks against it."""
        needed = reads(node)
        if found := sorted(needed & set(self.foreign)):
            return f"tensor {found[0]!r}: type {self.foreign[found[0]]} is not supported"
        if needed & self.unknown:
            return None if is_known(node) else _no_operator(node)
        ctx, env, depth, opsets = self.ctx, self.ctx.env, self.ctx.depth, self.ctx.opsets
        try:
            walk(ctx, [node])
        except ModelError as error:
            ctx.env, ctx.depth, ctx.opsets = env, depth, opsets
            return str(error).removeprefix(f"node {name_of(node)!r} ({node.op_type}): ")
        return None

    def _stand_in(self, name: str) -> None:
        """Take a float tensor for made where its shape is known; numbers that may say shapes stay unknown."""
        dtype, shape = self.types.get(name, ("", None))
        if dtype not in ("f32", *HALVES) or shape is None:
            self.unknown.add(name)
            return
        try:
            self.ctx.env[name] = self.ctx.value(self.ctx.new(shape))
        except ModelError:
            self.unknown.add(name)


def _with_foreign_apart(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """`proto` with constants of types that do not exist here as inputs, and their types by name."""
    odd = [t for t in proto.graph.initializer if t.data_type not in KINDS]
    if not odd:
        return proto, {}
    own, names = copied(proto), {t.name for t in odd}
    kept = [t for t in own.graph.initializer if t.name not in names]
    del own.graph.initializer[:]
    own.graph.initializer.extend(kept)
    listed = {port.name for port in own.graph.input}
    own.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in odd if t.name not in listed
    )
    return own, {t.name: TensorProto.DataType.Name(t.data_type).lower() for t in odd}


def _type_name(kind: onnx.TypeProto) -> str:
    """What a type that does not exist here is called."""
    if kind.HasField("tensor_type"):
        return TensorProto.DataType.Name(kind.tensor_type.elem_type).lower()
    return (kind.WhichOneof("value") or "unknown").removesuffix("_type")


def _inferred(proto: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[str, tuple | None]]:
    """(our word for the type, shape) of each tensor as onnx infers them for inputs of the given shapes."""
    sized = copied(proto)
    for port in sized.graph.input:
        for dim, size in zip(port.type.tensor_type.shape.dim, shapes.get(port.name, ())):
            dim.dim_value = size
    del sized.graph.value_info[:]
    try:
        graph = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    except Exception:  # onnx raises kinds of its own
        return {}
    found = {}
    for port in (*graph.value_info, *graph.output):
        try:
            dtype, shape = _declared(port, "")
        except ModelError:
            continue
        found[port.name] = dtype, shape if shape and all(isinstance(d, int) for d in shape) else None
    return found


def _operator(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _no_operator(node: onnx.NodeProto) -> str:
    where = f" of domain {node.domain!r}" if node.domain else ""
    return f"operator {node.op_type!r}{where} is not supported"


def is_known(node: onnx.NodeProto) -> bool:
    """Whether the operator of `node` is one that is run here, with some attributes and types."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    own = domain == "" and (node.op_type in FOLD or is_defined(node.op_type))
    return own or (domain, node.op_type) in OPERATORS or bool(custom.lowering_of(domain, node.op_type))


def _inside(node: onnx.NodeProto) -> Iterator[Unsupported]:
    """The nodes in the subgraphs of `node` whose operators are not supported."""
    for attribute, graph in subgraphs(node):
        for inner in all_nodes(graph):
            if not is_known(inner):
                why = f"{_no_operator(inner)}; it lies in {attribute} of {name_of(node)!r}"
                yield Unsupported(name_of(inner), _operator(inner), why)
