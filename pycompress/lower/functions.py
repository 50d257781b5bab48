"""Operators that ONNX defines by other operators: where there is no lowering of their own, that definition is lowered."""

from __future__ import annotations

from functools import cache

import onnx
from onnx import AttributeProto, FunctionProto, defs, helper

from ..dtypes import NUMPY, numpy_type
from ..errors import ModelError
from .constants import PLAN_TIME
from .context import Lowering
from .node import Node
from .values import Value

MAX_DEPTH = 16  # of definitions in definitions

PLAN_TIME |= {
    ("", op): indices
    for op, indices in {
        "HannWindow": (0,), "HammingWindow": (0,), "BlackmanWindow": (0,), "AffineGrid": (1,), "CenterCropPad": (1,),
    }.items()
}  # fmt: skip


@cache
def is_defined(op: str) -> bool:
    """Whether ONNX defines the operator `op` by other operators."""
    if not defs.has(op):
        return False
    schema = defs.get_schema(op)
    return bool(schema.function_opset_versions or schema.context_dependent_function_opset_versions)


def expanded(ctx: Lowering, node: Node, walk) -> list[Value] | None:
    """The outputs of `node` by ONNX's definition of its operator, which `walk` lowers; None if there is none."""
    if node.domain not in ("", "ai.onnx") or not is_defined(node.op):
        return None
    schema = defs.get_schema(node.op, node.opset)
    body = _body(schema, node)
    if body is None:
        return None
    if ctx.depth >= MAX_DEPTH:
        node.refuse(f"lies in more than {MAX_DEPTH} branches and definitions")
    node.ignore(*schema.attributes)
    for name, attribute in schema.attributes.items():
        if attribute.required and node.raw(name) is None:
            node.refuse("is required", name)
    steps = [_bound(step, node, schema) for step in body.node]
    inside = {name: node.optional(i) for i, name in enumerate(body.input)}
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in body.opset_import}
    outside = ctx.env, ctx.opsets, ctx.depth
    ctx.env, ctx.opsets, ctx.depth = inside, ctx.opsets | opsets, ctx.depth + 1
    try:
        walk(ctx, steps)
    except ModelError as error:
        node.refuse(f"as ONNX defines it: {error}")
    results = [ctx.env.get(name) for name in body.output[: node.outputs]]
    ctx.env, ctx.opsets, ctx.depth = outside
    ctx.node = node
    return results


def _body(schema: defs.OpSchema, node: Node) -> FunctionProto | None:
    """The definition for this node's opset, attributes and input types."""
    plain, by_types = schema.function_opset_versions, schema.context_dependent_function_opset_versions
    body = FunctionProto()
    if plain:
        body.ParseFromString(schema.get_function_with_opset_version(_version(plain, node.opset)))
    elif by_types:
        types = [_type(v).SerializeToString() for v in node.inputs]
        asked = _version(by_types, node.opset), node.proto.SerializeToString(), types
        body.ParseFromString(schema.get_context_dependent_function_with_opset_version(*asked))
    return body if body.node else None


def _version(known: list[int], opset: int) -> int:
    """The definition in the newest opset up to `opset`, or in the first after it: each names the opset of its steps."""
    return max((v for v in known if v <= opset), default=min(known))


def _type(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    kind = helper.np_dtype_to_tensor_dtype(numpy_type(NUMPY[value.dtype]))
    return helper.make_tensor_type_proto(kind, value.shape)


def _bound(step: onnx.NodeProto, node: Node, schema: defs.OpSchema) -> onnx.NodeProto:
    """A node of the definition, with the attributes of `node` in place of references to them."""
    own = onnx.NodeProto()
    own.CopyFrom(step)
    own.name = f"{node.name}/{step.name or next(iter(step.output), step.op_type)}"
    del own.attribute[:]
    for a in step.attribute:
        given = a
        if a.ref_attr_name:
            given = node.raw(a.ref_attr_name)
            if given is None:  # without a default, the step does without it as well
                given = schema.attributes[a.ref_attr_name].default_value
                if given.type == AttributeProto.UNDEFINED:
                    continue
        own.attribute.add().CopyFrom(given)
        own.attribute[-1].name = a.name
        if a.type == AttributeProto.GRAPH:
            inner = [_bound(n, node, schema) for n in a.g.node]
            del own.attribute[-1].g.node[:]
            own.attribute[-1].g.node.extend(inner)
    return own
