"""Lowers nodes one after the other."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from ..errors import ModelError
from . import custom
from .bounded import bounded, followed
from .constants import fold
from .context import Lowering
from .functions import expanded
from .node import Node
from .registry import OPERATORS
from .values import Value


def walk(ctx: Lowering, nodes: Iterable[onnx.NodeProto]) -> None:
    """Lower `nodes`, in topological order; their outputs are put into `ctx.env`."""
    for proto in nodes:
        _lower_node(ctx, proto)


KEPT = 1 << 16  # bytes; results up to this size are kept for the model's next plan


def _remember(ctx: Lowering, proto: onnx.NodeProto, results: list[Value]) -> None:
    """Keep results that depend on the file alone, not on input shapes, so that later plans need not compute them."""
    known = ctx.model.known
    if ctx.depth or not all(n in known for n in proto.input if n) or len(results) != len(proto.output):
        return
    if proto.op_type == "Constant" or sum(v.data.nbytes for v in results) <= KEPT:
        known.update(zip(proto.output, results))


def _lower_node(ctx: Lowering, proto: onnx.NodeProto) -> None:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    node = Node(proto, [ctx.env[n] if n else None for n in proto.input], ctx.opsets.get(domain, 1))
    ctx.node = node
    lowering = OPERATORS.get((domain, proto.op_type)) or custom.lowering_of(domain, proto.op_type)
    try:
        apart = bounded(node)
        results = None if apart else fold(ctx, node)
        if results is not None:
            _remember(ctx, proto, results)
        else:
            results = lowering(ctx, node) if lowering else expanded(ctx, node, walk)
            if results is None:
                where = f" of domain {domain!r}" if domain else ""
                node.refuse(f"operator {proto.op_type!r}{where} is not supported")
            if apart:
                results = followed(node, results if isinstance(results, (list, tuple)) else [results])
    except ModelError:
        raise
    except Exception as error:  # hostile shapes, types and attributes may lead to any
        raise ModelError(f"{ctx.where()}: it cannot be planned: {error or type(error).__name__}") from error
    node.finish()
    results = results if isinstance(results, (list, tuple)) else [results]
    for name, value in zip(proto.output, results):
        if name:
            ctx.env[name] = value
    for name in proto.output[len(results) :]:
        if name:
            node.refuse(f"output {name!r} is not supported")
