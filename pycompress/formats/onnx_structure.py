"""What models may be written like, and what lowering relies on: one flat list of nodes in topological order.

Local functions are inlined, sparse initializers become dense ones, and nodes in another order are sorted. Names are
checked: every tensor is made once, and before it is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, SparseTensorProto

from ..errors import ModelError


def name_of(node: onnx.NodeProto) -> str:
    """What messages call a node: its name, or its first output where it has none."""
    return node.name or next((o for o in node.output if o), "") or node.op_type


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """(attribute, graph) of each graph that a node holds."""
    for a in node.attribute:
        if a.type == AttributeProto.GRAPH:
            yield a.name, a.g
        elif a.type == AttributeProto.GRAPHS:
            yield from ((a.name, graph) for graph in a.graphs)


def all_nodes(graph: onnx.GraphProto, depth: int = 0) -> Iterator[onnx.NodeProto]:
    """The nodes of `graph` and of its subgraphs, no deeper than 32."""
    for node in graph.node:
        yield node
        for attribute, inner in subgraphs(node):
            if depth >= 32:
                raise ModelError(f"node {name_of(node)!r} ({node.op_type}): {attribute}: subgraphs lie too deep")
            yield from all_nodes(inner, depth + 1)


def reads(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node needs: its inputs, and what its subgraphs read from outside."""
    found = set(filter(None, node.input))
    for _, graph in subgraphs(node):
        made = {t.name for t in (*graph.initializer, *graph.input)}
        for inner in graph.node:
            found |= reads(inner) - made
            made.update(inner.output)
        found |= {o.name for o in graph.output} - made
    return found


def inlined(proto: onnx.ModelProto, nodes: int) -> onnx.ModelProto:
    """`proto` with the nodes of its local functions in place of the calls; no more than `nodes` of them.

    Raises
    ------
    ModelError
        If functions call themselves, or would become too many nodes.
    """
    if not proto.functions:
        return proto
    functions = {(f.domain, f.name): f for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key, calling: tuple) -> int:
        if key in calling:
            raise ModelError(f"function {key[1]!r} of domain {key[0]!r} calls itself")
        if key not in sizes:
            sizes[key] = count(functions[key].node, (*calling, key))
        return sizes[key]

    def count(members, calling: tuple = ()) -> int:
        total = 0
        for node in members:
            key = (node.domain, node.op_type)
            total += size(key, calling) if key in functions else 1
            total += sum(count(graph.node, calling) for _, graph in subgraphs(node))
            if total > nodes:
                raise ModelError(f"with its local functions the model has more than {nodes} nodes")
        return total

    count(proto.graph.node)
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises kinds of its own
        raise ModelError(f"local functions cannot be inlined: {error}") from None


def densified(sparse: SparseTensorProto, elements: int, to_array) -> np.ndarray:
    """A sparse tensor as an array; `to_array` reads its parts, `elements` is the maximum number of elements."""
    name, shape = sparse.values.name, tuple(sparse.dims)
    if any(d < 0 for d in shape) or len(shape) > 8 or int(np.prod(shape, dtype=object)) > elements:
        raise ModelError(f"sparse tensor {name!r}: shape {list(shape)} is not supported")
    values, index = to_array(sparse.values), to_array(sparse.indices)
    count = int(np.prod(shape, dtype=object))
    if values.ndim != 1 or index.dtype != np.int64 or index.shape not in ((len(values),), (len(values), len(shape))):
        raise ModelError(f"sparse tensor {name!r}: needs values [nnz] and int64 indices [nnz] or [nnz, rank]")
    flat = index
    if index.ndim == 2 and len(values):
        if (index < 0).any() or (index >= np.array(shape)).any():
            raise ModelError(f"sparse tensor {name!r}: an index lies outside its shape {list(shape)}")
        flat = np.ravel_multi_index(tuple(index.T), shape)
    if len(flat) and (flat.min() < 0 or flat.max() >= count):
        raise ModelError(f"sparse tensor {name!r}: an index lies outside its shape {list(shape)}")
    out = np.zeros(count, values.dtype)
    out[flat] = values
    return out.reshape(shape)


def order(graph: onnx.GraphProto, outside: set[str] = frozenset()) -> list[int] | None:
    """The nodes' places in topological order, as near to the given one as can be; None where they are in order.

    `outside` : the tensors that a subgraph may read from the graphs around it.

    Raises
    ------
    ModelError
        If a tensor that a node needs is made by no node, or depends on itself.
    """
    known = {t.name for t in (*graph.initializer, *graph.input)} | {s.values.name for s in graph.sparse_initializer}
    seen = known | set(outside)
    maker: dict[str, int] = {}
    for i, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in known or name in maker:
                raise ModelError(f"node {name_of(node)!r} ({node.op_type}): output {name!r} is made twice")
            maker[name] = i
    needs = []
    for node in graph.node:
        wanted = reads(node) - seen
        if missing := sorted(n for n in wanted if n not in maker):
            raise ModelError(f"node {name_of(node)!r} ({node.op_type}): input {missing[0]!r} is not made by any node")
        needs.append({maker[n] for n in wanted})
    if all(not own or max(own) < i for i, own in enumerate(needs)):
        return None
    readers: list[list[int]] = [[] for _ in needs]
    for i, own in enumerate(needs):
        for j in own:
            readers[j].append(i)
    waiting = [len(own) for own in needs]
    ready, done = [i for i, n in enumerate(waiting) if not n], []
    while ready:
        i = heapq.heappop(ready)
        done.append(i)
        for j in readers[i]:
            waiting[j] -= 1
            if not waiting[j]:
                heapq.heappush(ready, j)
    if len(done) < len(needs):
        node = graph.node[next(i for i, n in enumerate(waiting) if n)]
        raise ModelError(f"node {name_of(node)!r} ({node.op_type}): it needs its own result: the graph has a cycle")
    return done
