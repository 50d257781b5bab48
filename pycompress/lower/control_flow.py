"""If, Loop and Scan: the branch that is taken, or both and a choice at run time; loops of a known length are unrolled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto

from ..errors import ModelError
from ..formats.onnx_model import constants_of
from ..formats.onnx_structure import order
from .bounded import LATE
from .constants import PLAN_TIME
from .context import Lowering
from .emit import moved
from .movement import joined
from .node import Node
from .registry import operator
from .values import Value
from .walk import walk
from .whole_numbers import AND, chosen, combined

MAX_DEPTH = 16  # of nested subgraphs
MAX_TRIPS = 4096  # of all loops of a model together: each is planned anew
ENDLESS = 2**31 - 1  # and more: the M of exporters that know none

PLAN_TIME |= {("", "Loop"): (0, 1)}


@dataclass(frozen=True)
class Body:
    """A subgraph of a node with its constants, which is lowered for given inputs as often as is asked."""

    attribute: str
    graph: onnx.GraphProto
    nodes: list[onnx.NodeProto]
    constants: dict[str, Value]

    @classmethod
    def of(cls, ctx: Lowering, node: Node, attribute: str) -> Body:
        """The graph that `attribute` holds."""
        held = node.raw(attribute)
        if held is None or held.type != AttributeProto.GRAPH:
            node.refuse("must be a graph", attribute)
        graph = held.g
        constants = constants_of(graph, ctx.model.external, ctx.model.limits)
        places = order(graph, set(ctx.env))
        nodes = list(graph.node) if places is None else [graph.node[i] for i in places]
        return cls(attribute, graph, nodes, {n: Value.constant(x) for n, x in constants.items()})

    def run(self, ctx: Lowering, node: Node, inputs: list[Value] = ()) -> list[Value]:
        """Lower the nodes; the names of the graphs around them are known there, what they make is not known outside."""
        names = [port.name for port in self.graph.input]
        if len(names) != len(inputs):
            node.refuse(f"has {len(names)} inputs, not {len(inputs)}", self.attribute)
        if ctx.depth >= MAX_DEPTH:
            node.refuse(f"lies in more than {MAX_DEPTH} subgraphs")
        outside, here = ctx.env, ctx.node
        ctx.env = outside | self.constants | dict(zip(names, inputs))
        ctx.depth += 1
        walk(ctx, self.nodes)
        results = [ctx.env.get(port.name) for port in self.graph.output]
        ctx.env, ctx.node, ctx.depth = outside, here, ctx.depth - 1
        if None in results:
            node.refuse("does not make all of its outputs", self.attribute)
        return results


@operator("If")
def if_(ctx: Lowering, node: Node) -> list[Value]:
    condition = _truth(node, node.input(0, "cond"), "cond")
    names = ["then_branch", "else_branch"]
    node.ignore(*names)
    _one_type(node, names)
    if not condition.runtime:
        return _branch(ctx, node, names[0 if condition.data else 1])
    certain, ctx.certain = ctx.certain, False
    try:
        both = [_branch(ctx, node, name) for name in names]
    except ModelError as error:
        node.refuse(f"its condition is only known at run time, and not both of its branches can be run: {error}")
    ctx.certain = certain
    return [_either(ctx, node, condition, *pair, f"output {name!r}") for name, *pair in zip(node.proto.output, *both)]


def _one_type(node: Node, names: list[str]) -> None:
    """Refuse branches that declare outputs of different element types, whichever is taken."""
    held = [node.raw(name) for name in names]
    ports = [a.g.output if a is not None and a.type == AttributeProto.GRAPH else () for a in held]
    for name, *pair in zip(node.proto.output, *ports):
        kinds = [port.type.tensor_type.elem_type for port in pair]
        if all(kinds) and kinds[0] != kinds[1]:
            a, b = (onnx.TensorProto.DataType.Name(kind).lower() for kind in kinds)
            node.refuse(f"output {name!r} is {a} in then_branch and {b} in else_branch; both must have one type")


def _branch(ctx: Lowering, node: Node, name: str) -> list[Value]:
    results = Body.of(ctx, node, name).run(ctx, node)
    if len(results) < node.outputs:
        node.refuse("does not make all of the node's outputs", name)
    return results


def _truth(node: Node, value: Value, what: str) -> Value:
    """A condition as a bool without dimensions."""
    if value.dtype != "bool" or value.size != 1:
        node.refuse(f"{what} must be one bool, got {value.dtype}{list(value.shape)}")
    return Value("bool", (), value.data.reshape(()), value.runtime)


def _either(ctx: Lowering, node: Node, condition: Value, a: Value, b: Value, what: str) -> Value:
    """`a` if the condition, known at run time, holds, else `b`: a step copies one of them."""
    if a.rows or b.rows:
        node.refuse(f"{what} {LATE}")
    if a.dtype != b.dtype or a.shape != b.shape:
        node.refuse(
            f"its condition is only known at run time, and {what} is {a.dtype}{list(a.shape)} or {b.dtype}{list(b.shape)}; "
            "both must have one type and shape"
        )
    return a if a is b else chosen(ctx, condition, a, b, reason="decided at run time: both are computed")


@operator("Loop")
def loop(ctx: Lowering, node: Node) -> list[Value]:
    """Unrolled: each time the body is lowered for the values that the time before made.

    If the body's condition is only known at run time, what it makes after the loop's end is thrown away.
    """
    limit, cond = node.plan_time(0, "M"), node.optional(1)
    limit = None if limit is None else int(limit.reshape(()))
    body, carried = Body.of(ctx, node, "body"), [node.input(i) for i in range(2, len(node.inputs))]
    kept, parts = len(carried), []
    going = None if cond is None else _truth(node, cond, "cond")
    trip, certain = 0, ctx.certain
    while (limit is None or trip < limit) and (going is None or going.runtime or going.data):
        _count(ctx, node, trip, limit)
        ctx.certain = certain and not (going is not None and going.runtime)
        start = [Value.constant(np.int64(trip)), Value.constant(np.bool_(True))]
        again, *made = body.run(ctx, node, start + carried)
        if len(made) < kept:
            node.refuse(f"makes {len(made)} values for {kept} that are carried along", "body")
        again = _truth(node, again, "the condition that the body makes")
        if again.runtime and (limit is None or limit >= ENDLESS):
            node.refuse(
                "it is a loop whose condition is only known at run time, and no M says how often it runs at most; "
                "give it an M: loops are unrolled"
            )
        if going is not None and going.runtime:
            made[:kept] = [_either(ctx, node, going, new, old, "a carried value") for new, old in zip(made, carried)]
            if again.runtime:
                again = combined(ctx, going, again, AND)
            elif again.data:
                again = going
        if again.runtime and len(made) > kept:
            node.refuse("how often it runs is only known at run time, and so is the length of its scan outputs")
        carried, trip, going = made[:kept], trip + 1, again
        parts.append(made[kept:])
    ctx.certain = certain
    ports = body.graph.output[1 + kept :]
    return carried + [_stacked(ctx, node, [p[i] for p in parts], 0, port) for i, port in enumerate(ports)]


def _count(ctx: Lowering, node: Node, trip: int, limit: int | None) -> None:
    """Refuse to unroll more than `MAX_TRIPS` times, at once where the number of times is known."""
    ctx.trips += 1
    if ctx.trips > MAX_TRIPS or (limit is not None and limit - trip > MAX_TRIPS and trip == 0 and limit < ENDLESS):
        times = "" if limit is None or limit >= ENDLESS else f", this one {limit} times"
        node.refuse(f"loops are unrolled, no more than {MAX_TRIPS} times in all{times}")


def _stacked(ctx: Lowering, node: Node, parts: list[Value], axis: int, port: onnx.ValueInfoProto) -> Value:
    """Values of all times as one, along a new axis."""
    if not parts:
        dims = [d.dim_value if d.HasField("dim_value") else -1 for d in port.type.tensor_type.shape.dim]
        if not port.type.tensor_type.HasField("shape") or min(dims, default=0) < 0:
            node.refuse(f"never runs, and its graph does not say which shape {port.name!r} has", "body")
        kind = onnx.helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        return Value.constant(np.zeros(np.insert(dims, axis, 0).astype(int), kind))
    if any(p.rows for p in parts):
        node.refuse(f"{port.name!r} {LATE}", "body")
    if any(p.shape != parts[0].shape or p.dtype != parts[0].dtype for p in parts):
        node.refuse(f"makes {port.name!r} in other shapes or types from time to time", "body")
    if not -len(parts[0].shape) - 1 <= axis <= len(parts[0].shape):
        node.refuse(f"axis {axis} does not fit {port.name!r} of shape {parts[0].shape}")
    axis %= len(parts[0].shape) + 1
    if not any(p.runtime for p in parts):
        return Value.constant(np.stack([ctx.data(p) for p in parts], axis))
    rows = [
        moved(ctx, Value(p.dtype, p.shape, ctx.data(p), p.runtime), lambda d: np.expand_dims(d, axis)) for p in parts
    ]
    return rows[0] if len(rows) == 1 else joined(ctx, rows, axis)


@operator("Scan")
def scan(ctx: Lowering, node: Node) -> list[Value]:
    """Unrolled along the scanned axis."""
    if node.opset < 9:
        return _batch_scan(ctx, node)
    return _scan(ctx, node, list(node.inputs))


def _batch_scan(ctx: Lowering, node: Node) -> list[Value]:
    """Scan of opset 8: inputs begin with lengths and have a batch axis, axis 0, before the scanned one."""
    if node.optional(0) is not None:
        node.refuse("sequence_lens is not supported")
    node.ignore("directions")
    given = node.raw("directions")
    if given is not None and any(given.ints):
        node.refuse("other than forward are not supported", "directions")
    inputs = [node.input(i) for i in range(1, len(node.inputs))]
    batch = inputs[0].shape[0] if inputs and inputs[0].shape else 0
    if not batch or any(v.shape[:1] != (batch,) for v in inputs):
        node.refuse(f"inputs of shapes {[v.shape for v in inputs]} need one batch size, not 0")
    made = [_scan(ctx, node, [_row(ctx, v, 0, i) for v in inputs]) for i in range(batch)]
    ports = node.raw("body").g.output
    return [_stacked(ctx, node, list(parts), 0, port) for parts, port in zip(zip(*made), ports)]


def _row(ctx: Lowering, value: Value, axis: int, index: int) -> Value:
    """Row `index` of `value` along `axis`, which disappears."""
    plain = Value(value.dtype, value.shape, ctx.data(value), value.runtime)
    return moved(ctx, plain, lambda d: d[(*[slice(None)] * axis, index, ...)])  # a view, never a number


def _scan(ctx: Lowering, node: Node, inputs: list[Value]) -> list[Value]:
    body, count = Body.of(ctx, node, "body"), node.int("num_scan_inputs")
    kept, outputs = len(inputs) - count, len(body.graph.output) - (len(inputs) - count)
    if not 0 < count <= len(inputs) or None in inputs or outputs < 0:
        node.refuse(
            f"= {count} does not fit {len(inputs)} inputs and {len(body.graph.output)} outputs", "num_scan_inputs"
        )

    def listed(name: str, length: int) -> list[int]:
        return node.ints(name, [0] * length, length=length) if node.opset > 8 else [0] * length

    axes, reverse = listed("scan_input_axes", count), listed("scan_input_directions", count)
    out_axes, out_reverse = listed("scan_output_axes", outputs), listed("scan_output_directions", outputs)
    carried, scanned, parts = inputs[:kept], inputs[kept:], []
    for axis, value in zip(axes, scanned):
        if not -len(value.shape) <= axis < len(value.shape):
            node.refuse(f"axis {axis} does not fit an input of shape {value.shape}", "scan_input_axes")
    axes = [axis % len(value.shape) for axis, value in zip(axes, scanned)]
    lengths = {value.shape[axis] for axis, value in zip(axes, scanned)}
    if len(lengths) != 1:
        node.refuse(f"its inputs have lengths {sorted(lengths)} along the scanned axis")
    (length,) = lengths
    for trip in range(length):
        _count(ctx, node, trip, length)
        places = [length - 1 - trip if back else trip for back in reverse]
        now = [_row(ctx, *given) for given in zip(scanned, axes, places)]
        made = body.run(ctx, node, carried + now)
        carried = made[:kept]
        parts.append(made[kept:])
    ports = body.graph.output[kept:]
    turned = [[p[i] for p in parts][:: -1 if back else 1] for i, back in enumerate(out_reverse)]
    return carried + [_stacked(ctx, node, *given) for given in zip(turned, out_axes, ports)]
