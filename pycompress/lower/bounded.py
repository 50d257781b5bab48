"""Tensors whose extent along an axis is only known at run time: memory for the maximum, and a count of what is used.

A plan has an output more for each such output; a session hands out the part that is used. In between, an operator either
treats each row by itself, so that its result has the same rows, or it is refused.
"""

from __future__ import annotations

from dataclasses import replace

from .constants import slice_parts, slice_rows
from .node import Node
from .values import Value

ALONE = frozenset(
    "Abs Cast Ceil Clip Cos Elu Erf Exp Floor Identity IsInf IsNaN LeakyRelu Log Neg Not Reciprocal Relu Round Sigmoid Sign Sin"
    " Sqrt Tanh".split()
)
BESIDE = frozenset(
    "Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or Pow Sub"
    " Where Xor".split()
)
OTHERS = frozenset("Concat Flatten Gather GatherND Reshape Slice Squeeze Transpose Unsqueeze".split())
LATE = "has a size that is only known at run time, which this operator does not take"


def bounded(node: Node) -> bool:
    """Whether an input's extent is only known at run time; refused where the operator does not keep its rows apart."""
    for i, value in enumerate(node.inputs):
        if value is not None and value.rows is not None:
            if node.domain not in ("", "ai.onnx") or node.op not in ALONE | BESIDE | OTHERS:
                node.refuse(f"input {i} {LATE}")
            return True
    return False


def followed(node: Node, results: list[Value]) -> list[Value]:
    """The results of a node that ``bounded`` is true of, with the rows of its inputs."""
    (out,) = results
    found = {}
    for i, value in enumerate(node.inputs):
        if value is not None and value.rows is not None:
            axis, count = value.rows
            to = _moved(node, i, axis, value, out)
            if to is None:
                node.refuse(f"input {i} {LATE}")
            found[to, id(count)] = to, count
    if len(found) != 1:
        node.refuse("its inputs have sizes that are only known at run time, and may differ")
    (rows,) = found.values()
    if node.op in BESIDE or node.op == "Concat":
        _check_beside(node, rows[0], out)
    return [replace(out, rows=rows)]


def _check_beside(node: Node, axis: int, out: Value) -> None:
    """Every other operand must be one row for all; else its length would have to be that of the run."""
    for i, value in enumerate(node.inputs):
        if value is None or value.rows is not None:
            continue
        own = axis - len(out.shape) + len(value.shape)
        if node.op == "Concat" or own >= 0 and value.shape[own] != 1:
            node.refuse(f"input {i} of shape {value.shape} meets one that {LATE}")


def _moved(node: Node, index: int, axis: int, value: Value, out: Value) -> int | None:
    """Where `axis` of input `index` is in the result; None if its rows do not stay apart."""
    rank = len(value.shape)
    if node.op in ALONE:
        return axis if index == 0 else None
    if node.op in BESIDE:
        return axis + len(out.shape) - rank
    if node.op == "Transpose":
        return node.ints("perm", list(range(rank))[::-1]).index(axis)
    if node.op in ("Squeeze", "Unsqueeze"):
        given = node.plan_time(1, "axes") if index == 0 else None
        axes = node.ints("axes", None) if given is None else given.reshape(-1).tolist()
        if axes is None:
            return None  # which axes are 1 long depends on the run
        axes = {a % max(rank, len(out.shape)) for a in axes}
        if node.op == "Squeeze":
            return None if axis in axes else axis - sum(a < axis for a in axes)
        return [i for i in range(len(out.shape)) if i not in axes][axis]
    if node.op == "Concat":
        return axis if node.int("axis") % rank != axis else None
    if node.op in ("Reshape", "Flatten"):
        return 0 if index == 0 and axis == 0 and out.shape[:1] == value.shape[:1] and _keeps_first(node) else None
    if node.op == "Slice":
        parts = [node.plan_time(i, name) for i, name in enumerate(("starts", "ends", "axes", "steps"), 1)]
        rows = slice_rows(node, value.shape, slice_parts(node, parts))
        return axis if index == 0 and rows.get(axis, range(value.shape[axis])) == range(value.shape[axis]) else None
    along = node.int("axis", 0) % max(len(node.input(0).shape), 1) if node.op == "Gather" else 0
    if node.op == "Gather":
        return (
            along + axis
            if index == 1
            else axis
            if axis < along
            else axis + len(node.input(1).shape) - 1
            if axis > along
            else None
        )
    return axis if index == 1 and axis < rank - 1 and node.int("batch_dims", 0) == 0 else None


def _keeps_first(node: Node) -> bool:
    """Whether a Reshape or Flatten says that the first axis stays as it is, however long: by 0 or -1, or by axis 1."""
    if node.op == "Flatten":
        return node.int("axis", 1) == 1
    shape = node.plan_time(1, "shape")
    return shape is not None and int(shape.reshape(-1)[0]) in (0, -1)
