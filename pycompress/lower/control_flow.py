"""If with a condition that is known when planning: lowers the branch that is taken."""

from __future__ import annotations

from onnx import AttributeProto

from ..formats.onnx_model import constants_of
from ..formats.onnx_structure import order
from .context import Lowering
from .node import Node
from .registry import operator
from .values import Value
from .walk import walk

MAX_DEPTH = 16  # of nested If nodes


@operator("If")
def if_(ctx: Lowering, node: Node) -> list[Value]:
    condition = node.plan_time(0, "cond")
    if condition is None or condition.size != 1:
        node.refuse("its condition is only known at run time; If needs one that follows from constants and shapes")
    taken, other = ("then_branch", "else_branch") if condition.reshape(-1)[0] else ("else_branch", "then_branch")
    attribute = node.raw(taken)
    node.ignore(other)
    if attribute is None or attribute.type != AttributeProto.GRAPH:
        node.refuse("must be a graph", taken)
    graph = attribute.g
    if ctx.depth >= MAX_DEPTH:
        node.refuse(f"lies in more than {MAX_DEPTH} branches")
    outside, here = ctx.env, ctx.node
    ctx.env = outside | {
        n: Value.constant(x) for n, x in constants_of(graph, ctx.model.external, ctx.model.limits).items()
    }
    ctx.depth += 1
    places = order(graph, set(ctx.env))
    walk(ctx, graph.node if places is None else [graph.node[i] for i in places])
    results = [ctx.env.get(port.name) for port in graph.output]
    ctx.env, ctx.node, ctx.depth = outside, here, ctx.depth - 1
    if None in results or len(results) < node.outputs:
        node.refuse("does not make all of the node's outputs", taken)
    return results
