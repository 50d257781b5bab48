"""Nodes of operators that the caller registered: one step each."""

from __future__ import annotations

import operator as whole

import numpy as np

from ..kernels._spec import Arg, evaluate
from ..operators import REGISTERED, Operator
from .emit import flip

LIMIT = 2**31 - 1


def lowering_of(domain: str, op: str):
    """The lowering of a registered operator, or None."""
    found = REGISTERED.get(f"{domain}::{op}")
    return found and (lambda ctx, node: _lower(ctx, node, found))


def _lower(ctx, node, op: Operator):
    args, shapes, dtypes = {}, [], {}
    for i, arg in enumerate(op.inputs):
        value = node.optional(i)
        args[arg.name] = None if value is None and arg.optional else _input(ctx, node, i, arg, node.input(i, arg.name))
        shapes.append(None if value is None else value.shape)
        if value is not None and arg.type_size:
            dtypes[arg.type_size] = value.dtype
    if len(node.inputs) > len(op.inputs):
        node.refuse(f"it has {len(node.inputs)} inputs, {op.name} takes {len(op.inputs)}")
    attributes = {name: _attribute(node, op.spec.by_name[name], default) for name, default in op.attributes.items()}
    for name, x in attributes.items():
        args[name] = x if isinstance(x, int) else np.atleast_1d(np.asarray(x, np.float32))
    results = []
    for arg, shape in zip(op.outputs, _shapes(node, op, args, shapes, attributes)):
        dtype = arg.types[0] if len(arg.types) == 1 else dtypes.get(arg.type_size or "", arg.types[0])
        data = ctx.new(shape, dtype)
        args[arg.name] = data.view(np.int8) if dtype == "i8" else data
        results.append((data, dtype))
    ctx.step(
        op.name, reason="a custom operator", **{arg.name: args[arg.name] for arg in op.spec.args if arg.kind != "fault"}
    )
    return [ctx.value(flip(ctx, x.reshape(-1)).reshape(x.shape) if d == "i8" else x, d) for x, d in results]


def _input(ctx, node, index: int, arg: Arg, value) -> np.ndarray:
    what = f"input {index} {arg.name!r}"
    if value.dtype not in arg.types or len(value.shape) != len(arg.dims):
        node.refuse(f"{what} must be {arg.annotation}, got {value.dtype}{list(value.shape)}")
    if arg.below and value.runtime:
        node.refuse(f"{what} must be known when planning; it is computed at run time")
    data = ctx.contiguous(ctx.data(value))
    return flip(ctx, data.reshape(-1)).reshape(data.shape).view(np.int8) if value.biased else data


def _attribute(node, arg: Arg, default):
    if arg.kind == "array":
        single = arg.dims[0][0] == "1"
        given = [default] if default is not None else []
        return node.float(arg.name, *given) if single else node.floats(arg.name, *given)
    value = node.int(arg.name, default) if default is not None else node.int(arg.name)
    if not 0 <= value <= LIMIT:
        node.refuse(f"= {value} is not a size from 0 to {LIMIT}", arg.name)
    return value


def _shapes(node, op: Operator, args, shapes, attributes) -> list[tuple[int, ...]]:
    """The shapes of the outputs, as the operator says and its contract allows."""
    found: list = _declared(node, op, args) if op.shape is None else op.shape(*shapes, **attributes)
    if op.shape is not None and (not isinstance(found, list) or all(isinstance(d, int) for d in found)):
        found = [found]
    try:
        found = [tuple(whole.index(d) for d in shape) for shape in found]
    except TypeError:
        node.refuse(f"the shape function of {op.name} must return sizes, got {found!r}")
    ranks = [len(arg.dims) for arg in op.outputs]
    if [len(shape) for shape in found] != ranks or any(d < 0 for shape in found for d in shape):
        node.refuse(f"the shape function of {op.name} must return shapes of {ranks} dimensions, got {found}")
    return found


def _declared(node, op: Operator, args) -> list[tuple[int, ...]]:
    sizes = {name: x for name, x in args.items() if isinstance(x, int)}
    for arg in op.spec.args:
        x = args.get(arg.name)
        if isinstance(x, np.ndarray):
            sizes |= {extent: x.shape[i] for i, extent, _ in arg.named if extent}
    try:
        return [tuple(evaluate(extent, sizes) for extent, _ in arg.dims) for arg in op.outputs]
    except NameError as error:
        node.refuse(f"{error}: {op.name} needs a shape function")
