"""Operators that rearrange data; most emit no step, since values are views."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import NUMPY, word
from .constants import fits, slice_parts, slice_rows
from .context import Lowering
from .emit import dense, moved, pick, stored, to_shape
from .node import Node
from .registry import operator
from .values import Quant, Value, root


def axis_of(node: Node, rank: int, default=None, name: str = "axis") -> int:
    """The attribute `axis`, counted from the front."""
    axis = node.int(name, default) if default is not None else node.int(name)
    if not -rank <= axis < rank:
        node.refuse(f"= {axis} is outside {rank} dimensions", name)
    return axis % rank


def axes_of(node: Node, rank: int, index: int = 1, default=None) -> list[int] | None:
    """The axes of a node, from an attribute or from input `index`, counted from the front; `default` if absent."""
    given = node.plan_time(index, "axes")
    axes = node.ints("axes", None) if given is None else given.reshape(-1).tolist()
    if axes is None:
        return default
    if any(not -rank <= a < rank for a in axes):
        node.refuse(f"axes {axes} are outside {rank} dimensions")
    axes = [a % rank for a in axes]
    if len(set(axes)) != len(axes):
        node.refuse(f"axes {axes} are given twice")
    return axes


@operator("Reshape")
def reshape(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    dims = node.plan_time(1, "shape")
    dims = [int(d) for d in dims] if dims is not None else node.ints("shape")
    if not node.int("allowzero", 0):
        if any(d == 0 and i >= len(x.shape) for i, d in enumerate(dims)):
            node.refuse(f"shape {dims} copies a dimension that the input {x.shape} lacks")
        dims = [x.shape[i] if d == 0 else d for i, d in enumerate(dims)]
    known = int(np.prod([d for d in dims if d != -1], dtype=object))
    if dims.count(-1) > 1 or any(d < -1 for d in dims) or (-1 in dims and (known == 0 or x.size % known)):
        node.refuse(f"shape {dims} does not fit {x.shape}")
    dims = [x.size // known if d == -1 else d for d in dims]
    if int(np.prod(dims, dtype=object)) != x.size:
        node.refuse(f"shape {dims} does not fit {x.shape}")
    return moved(ctx, x, lambda data: to_shape(ctx, data, dims), kept_axis(x, dims))


def kept_axis(x: Value, dims):
    """A function that maps the quantization axis of `x` into the shape `dims`; it gives None if that axis is split or merged."""
    if x.quant is None or x.quant.block:
        return None

    def axis_of(axis: int) -> int | None:
        before = int(np.prod(x.shape[:axis], dtype=object))
        for i, d in enumerate(dims):
            if d == x.shape[axis] and int(np.prod(dims[:i], dtype=object)) == before:
                return i
        return None

    return axis_of


@operator("Flatten")
def flatten(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    axis = node.int("axis", 1)
    if not -len(x.shape) <= axis <= len(x.shape):
        node.refuse(f"= {axis} is outside {len(x.shape)} dimensions", "axis")
    axis = axis + len(x.shape) if axis < 0 else axis
    rows = int(np.prod(x.shape[:axis], dtype=int))
    shape = (rows, int(np.prod(x.shape[axis:], dtype=int)))
    return moved(ctx, x, lambda data: to_shape(ctx, data, shape), kept_axis(x, shape))


@operator("Transpose")
def transpose(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    perm = node.ints("perm", list(range(len(x.shape)))[::-1])
    if sorted(perm) != list(range(len(x.shape))):
        node.refuse(f"= {perm} is not a permutation of {len(x.shape)} axes", "perm")
    return moved(ctx, x, lambda data: data.transpose(perm), perm.index)


@operator("Squeeze")
def squeeze(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    axes = axes_of(node, len(x.shape))
    axes = [i for i, d in enumerate(x.shape) if d == 1] if axes is None else axes
    if any(x.shape[a] != 1 for a in axes):
        node.refuse(f"axes {axes} of shape {x.shape} are not all 1")
    left = [i for i in range(len(x.shape)) if i not in axes]
    return moved(ctx, x, lambda data: np.squeeze(data, tuple(axes)), lambda a: left.index(a) if a in left else None)


@operator("Unsqueeze")
def unsqueeze(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    given = node.plan_time(1, "axes")
    count = len(node.ints("axes")) if given is None else given.size
    axes = axes_of(node, len(x.shape) + count)
    places = [i for i in range(len(x.shape) + count) if i not in axes]
    return moved(ctx, x, lambda data: np.expand_dims(data, tuple(axes)), lambda a: places[a])


@operator("Identity")
def identity(ctx: Lowering, node: Node) -> Value:
    return node.input(0)


@operator("Dropout")
def dropout(ctx: Lowering, node: Node) -> list[Value]:
    node.ignore("seed", "is_test")
    x, ratio, training = node.input(0), node.plan_time(1, "ratio"), node.plan_time(2, "training_mode")
    ratio = node.float("ratio", 0.5) if ratio is None else float(ratio)
    if training is not None and training.any() and ratio != 0:
        node.refuse("training_mode with a ratio other than 0 is not supported")
    mask = Value.constant(np.broadcast_to(np.bool_(True), x.shape))
    return [x, mask] if node.has_output(1) else [x]


@operator("Concat")
def concat(ctx: Lowering, node: Node) -> Value:
    parts = [node.input(i) for i in range(len(node.inputs))]
    first = parts[0]
    axis = axis_of(node, len(first.shape))
    for p in parts:
        if (
            p.dtype != first.dtype
            or p.shape[:axis] + p.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]
        ):
            node.refuse(f"cannot join {p.dtype} {p.shape} to {first.dtype} {first.shape} along axis {axis}")
    if len(parts) == 1:
        return first
    if _all_codes(parts):
        return _joined_codes(ctx, parts, axis)
    return joined(ctx, parts, axis)


def _all_codes(parts: list[Value]) -> bool:
    """Whether all parts are codes of one 8-bit type, each with one scale."""
    quants = [p.quant for p in parts]
    return all(
        q is not None and p.runtime and q.scale.size == 1 and q.value.dtype == quants[0].value.dtype in ("u8", "i8")
        for p, q in zip(parts, quants)
    )


def _joined_codes(ctx: Lowering, parts: list[Value], axis: int) -> Value:
    """The codes of all parts in one tensor; if their scales differ, with one scale per index of `axis`."""
    quants = [p.quant for p in parts]
    codes = joined(ctx, [q.value for q in quants], axis)
    ctx.joined[id(root(codes.data))] = codes, quants, axis
    scale, zero = (np.concatenate([getattr(q, name) for q in quants]) for name in ("scale", "zero"))
    if (scale == scale[0]).all() and (zero == zero[0]).all():
        return Value("f32", codes.shape, None, True, Quant(codes, scale[:1], zero[:1]))
    counts = [p.shape[axis] for p in parts]
    return Value("f32", codes.shape, None, True, Quant(codes, np.repeat(scale, counts), np.repeat(zero, counts), axis))


def joined(ctx: Lowering, parts: list[Value], axis: int) -> Value:
    """Values of one type concatenated along `axis` into a new tensor."""
    data = [stored(ctx, p) for p in parts]
    shape = list(parts[0].shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    like = max((x for x in data if ctx.is_runtime(x)), key=lambda x: x.size, default=None)
    out = ctx.new(shape, parts[0].dtype, like=like)
    at = 0
    for x in data:
        ctx.copy(x, out[(slice(None),) * axis + (slice(at, at + x.shape[axis]),)])
        at += x.shape[axis]
    return Value(parts[0].dtype, tuple(shape), out, True)


@operator("Split")
def split(ctx: Lowering, node: Node) -> list[Value]:
    x = node.input(0)
    axis = axis_of(node, len(x.shape), 0)
    size, given = x.shape[axis], node.plan_time(1, "split")
    sizes = node.ints("split", None) if given is None else given.reshape(-1).tolist()
    count = node.int("num_outputs", node.outputs)
    if count != node.outputs:
        node.refuse(f"= {count}, but the node has {node.outputs} outputs", "num_outputs")
    if sizes is None:
        each = -(-size // count) if count > 0 else 0
        sizes = [max(0, min(each, size - i * each)) for i in range(count)]
    if sum(sizes) != size or any(s < 0 for s in sizes) or len(sizes) < node.outputs:
        node.refuse(f"parts {sizes} do not fit axis {axis} of shape {x.shape}", "split")
    ends = np.cumsum([0, *sizes])
    lead = (slice(None),) * axis
    return [moved(ctx, x, lambda d, a=a, b=b: d[(*lead, slice(a, b))]) for a, b in zip(ends[:-1], ends[1:])][
        : node.outputs
    ]


@operator("Slice")
def slice_(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    given = [node.plan_time(i, n) for i, n in enumerate(("starts", "ends", "axes", "steps"), 1)]
    rows = slice_rows(node, x.shape, slice_parts(node, given))

    def cut(data: np.ndarray) -> np.ndarray:
        for axis, r in rows.items():
            if r.step > 0 or not r:
                taken = slice(r.start, r.stop, r.step) if r else slice(0, 0)
                data = data[(slice(None),) * axis + (taken,)]
        for axis, r in rows.items():
            if r.step < 0 and r:
                ctx.rows_fit(len(r))
                data = pick(ctx, data, axis, np.asarray(r, np.int64))
        return data

    return moved(ctx, x, cut)


@operator("Expand")
def expand(ctx: Lowering, node: Node) -> Value:
    x, shape = node.input(0), node.plan_time(1, "shape", required=True).reshape(-1).tolist()
    if any(d < 0 for d in shape):
        node.refuse(f"shape {shape} is not valid")
    shape = node.broadcast(x.shape, shape)
    ctx.tensor_bytes(shape, x.dtype)
    if math.prod(shape) >= 2**31:
        node.refuse(f"a result of {math.prod(shape)} elements is beyond the limit of 2^31 - 1")
    return moved(ctx, x, lambda data: np.broadcast_to(data, shape))


@operator("Tile")
def tile(ctx: Lowering, node: Node) -> Value:
    x, repeats = node.input(0), node.plan_time(1, "repeats", required=True).reshape(-1).tolist()
    if len(repeats) != len(x.shape) or any(r < 0 for r in repeats):
        node.refuse(f"repeats {repeats} do not fit shape {x.shape}")
    shape = [d * r for d, r in zip(x.shape, repeats)]
    ctx.tensor_bytes(shape, x.dtype)
    pairs = [n for d, r in zip(x.shape, repeats) for n in (r, d)]

    def tiled(data: np.ndarray) -> np.ndarray:
        if not ctx.is_runtime(data):
            fits(ctx, node, int(np.prod(shape, dtype=object)), data.itemsize)
            return np.tile(data, repeats)
        out = ctx.new(shape, word(data.dtype), like=data)
        lone = data.reshape([n for d in x.shape for n in (1, d)])
        ctx.copy(np.broadcast_to(lone, pairs), out.reshape(pairs, copy=False))
        return out

    return moved(ctx, x, tiled)


@operator("DepthToSpace", "SpaceToDepth")
def depth_to_space(ctx: Lowering, node: Node) -> Value:
    x = node.input(0)
    if len(x.shape) != 4:
        node.refuse(f"works on 4 dimensions, got shape {x.shape}")
    b = node.int("blocksize")
    first = node.string("mode", "DCR", allowed=("DCR", "CRD")) == "DCR"
    n, c, h, w = x.shape
    if node.op == "DepthToSpace":
        if b < 1 or c % (b * b):
            node.refuse(f"= {b} does not divide {c} channels", "blocksize")
        inside = (n, b, b, c // b**2, h, w) if first else (n, c // b**2, b, b, h, w)
        order = (0, 3, 4, 1, 5, 2) if first else (0, 1, 4, 2, 5, 3)
        shape = (n, c // b**2, h * b, w * b)
    else:
        if b < 1 or h % b or w % b:
            node.refuse(f"= {b} does not divide the image {h} x {w}", "blocksize")
        inside = (n, c, h // b, b, w // b, b)
        order = (0, 3, 5, 1, 2, 4) if first else (0, 1, 3, 5, 2, 4)
        shape = (n, c * b * b, h // b, w // b)

    def shuffled(data: np.ndarray) -> np.ndarray:
        parts = to_shape(ctx, data, inside).transpose(order)
        if not ctx.is_runtime(data):
            return parts.reshape(shape)
        out = ctx.new(shape, word(data.dtype), like=dense(ctx, data))
        ctx.copy(parts, out.reshape(parts.shape, copy=False))
        return out

    return moved(ctx, x, shuffled)


@operator("EyeLike")
def eye_like(ctx: Lowering, node: Node) -> Value:
    from .constants import onnx_type

    x, to = node.input(0), node.int("dtype", 0)
    if len(x.shape) != 2:
        node.refuse(f"works on matrices, got shape {x.shape}")
    try:
        dtype = onnx_type(to) if to else x.dtype
    except KeyError:
        node.refuse(f"= {to} is a type that is not supported", "dtype")
    fits(ctx, node, x.size, 8)
    return Value.constant(np.eye(*x.shape, node.int("k", 0), NUMPY[dtype]))
