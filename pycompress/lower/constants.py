"""Constant folding: shapes, and the arithmetic on them, are computed while planning."""

from __future__ import annotations

import math

import numpy as np
from onnx import helper

from ..dtypes import WORD
from ..errors import ModelError
from ..formats.onnx_model import dense, to_array
from .node import Node
from .reference import OPERATORS, referred
from .values import HALVES, Value, root

# Inputs that must be known when planning, by operator: shapes, axes, pads, bounds, indices.
PLAN_TIME = {
    ("", op): indices
    for op, indices in {
        "Reshape": (1,), "Slice": (1, 2, 3, 4), "Pad": (1, 2, 3), "Clip": (1, 2), "Unsqueeze": (1,),
        "Squeeze": (1,), "Resize": (1, 2, 3), "Upsample": (1,), "Tile": (1,), "Expand": (1,), "Split": (1,),
        "ConstantOfShape": (0,), "Dropout": (1, 2), "Range": (0, 1, 2), "OneHot": (1,), "CumSum": (1,), "Trilu": (1,),
        "TopK": (1,), "CumProd": (1,), "NonMaxSuppression": (2,), "MaxUnpool": (2,), "Col2Im": (1, 2), "MelWeightMatrix": (0, 1, 2, 3, 4),
        **{f"Reduce{kind}": (1,) for kind in (
            "Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")},
        "QuantizeLinear": (1, 2), "DequantizeLinear": (1, 2), "QLinearConv": (1, 2, 4, 5, 6, 7),
        "QLinearMatMul": (1, 2, 4, 5, 6, 7), "ConvInteger": (2, 3), "MatMulInteger": (2, 3),
        "If": (0,),
    }.items()
}  # fmt: skip


def fold(ctx, node: Node) -> list[Value] | None:
    """The outputs of `node` if they depend on constants alone; None if it must run."""
    function = FOLD.get(node.op) if node.domain in ("", "ai.onnx") else None
    if function is None:
        return None
    if node.op not in ("Shape", "Size") and any(v is not None and (v.runtime or v.data is None) for v in node.inputs):
        return None
    if node.inputs and node.inputs[0] is None:
        node.refuse("input 0 is missing")
    try:
        fits(ctx, node, *_size(node))
        with np.errstate(all="ignore"):
            out = function(node, *node.inputs)
    except ModelError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError) as error:
        node.refuse(f"cannot be computed while planning: {error}")
    if out is None:
        return None
    out = [np.asarray(x) for x in (out if isinstance(out, list) else [out])]
    for x in out:
        if x.size > ctx.model.limits.elements:
            node.refuse(f"makes a constant of shape {x.shape}, beyond the limits")
        if x.dtype.name not in WORD:
            node.refuse(f"makes a constant of type {x.dtype.name}, which is not supported")
        if not any(root(x) is root(v.data) for v in node.inputs if v is not None and v.data is not None):
            ctx.folded += root(x).nbytes
    return [Value.constant(x) for x in out]


def fits(ctx, node: Node, count: int, itemsize: int) -> None:
    """Refuse a constant of `count` elements if it exceeds the limits, alone or together with those computed before."""
    limits = ctx.model.limits
    if count * itemsize > min(limits.folded_bytes, limits.folded_total_bytes - ctx.folded):
        node.refuse(f"makes a constant of {count} elements, beyond the limits")


def _size(node: Node) -> tuple[int, int]:
    """(elements that `node` will allocate, bytes of each), estimated from its inputs; never too few."""
    known = [v for v in node.inputs if v is not None]
    count = max((v.size for v in known), default=0)
    itemsize = max((v.data.itemsize for v in known if v.data is not None), default=8)
    if node.op in LAZY:  # views, except a Reshape of repeated elements, which may need a copy
        x = node.inputs[0].data if node.op == "Reshape" else None
        return (x.size, x.itemsize) if x is not None and 0 in x.strides and not _uniform(x) else (0, 1)
    if node.op == "NonZero":
        return max(1, known[0].data.ndim) * int(np.count_nonzero(known[0].data)), 8
    if node.op == "Concat":
        return sum(v.size for v in known), itemsize
    if node.op == "Tile":
        return count * math.prod(max(0, int(r)) for r in known[1].data.reshape(-1).tolist()), itemsize
    if node.op == "Gather" and len(known) == 2 and known[0].size:
        return known[1].size * (known[0].size // known[0].shape[node.int("axis", 0)]), itemsize
    if node.op == "Range":
        return 2**24, 1  # _range checks its own bound
    try:
        count = max(count, math.prod(np.broadcast_shapes(*(v.shape for v in known))))
    except ValueError:
        pass  # not an operator that broadcasts, or refused by numpy
    return count, 8 if node.op == "Cast" else itemsize


def _uniform(x: np.ndarray) -> bool:
    """Whether `x` is one repeated element (all strides 0)."""
    return all(s == 0 or d == 1 for s, d in zip(x.strides, x.shape))


def _constant(node: Node):
    for name in ("value", "sparse_value", "value_float", "value_int", "value_floats", "value_ints"):
        a = node.raw(name)
        if a is None:
            continue
        if name == "value":
            return to_array(a.t)
        if name == "sparse_value":
            return dense(a.sparse_tensor)
        dtype = np.float32 if "float" in name else np.int64
        return np.array(helper.get_attribute_value(a), dtype)
    node.refuse("needs value, sparse_value, value_float(s) or value_int(s)")


def _constant_of_shape(node: Node, shape):
    a = node.raw("value")
    fill = to_array(a.t).reshape(-1) if a is not None else np.zeros(1, np.float32)
    if fill.size != 1:
        node.refuse("must hold one element", "value")
    dims = [int(d) for d in shape.data]
    if any(d < 0 for d in dims) or len(dims) > 8:
        node.refuse(f"shape {dims} is not valid")
    return np.broadcast_to(fill[0], dims)  # one element with stride 0


def _shape(node: Node, x):
    start, end = node.int("start", 0), node.int("end", None)
    return np.array(x.shape[slice(start, end)], np.int64)


def _cast(node: Node, x):
    node.ignore("saturate", "round_mode")
    kind = helper.tensor_dtype_to_np_dtype(node.int("to"))
    with np.errstate(over="ignore", invalid="ignore"):
        return x.data.astype(kind)


def _axes(node: Node, axes) -> list[int] | None:
    """The axes, from an attribute (before opset 13) or an input."""
    if axes is not None:
        return [int(a) for a in axes.data.reshape(-1)]
    return node.ints("axes", None)


def _squeeze(node: Node, x, axes=None):
    axes = _axes(node, axes)
    return np.squeeze(x.data, None if axes is None else tuple(axes))


def _unsqueeze(node: Node, x, axes=None):
    return np.expand_dims(x.data, tuple(_axes(node, axes)))


def _gather(node: Node, x, index):
    return np.take(x.data, index.data.astype(np.int64), axis=node.int("axis", 0))


def slice_rows(node: Node, shape, parts) -> dict[int, range]:
    """The indices that a Slice takes, by axis; `parts` are its starts, ends, axes and steps, or None."""
    rank = len(shape)
    starts, ends, axes, steps = (None if p is None else np.asarray(p).reshape(-1).tolist() for p in parts)
    axes = list(range(len(starts or ()))) if axes is None else axes
    steps = [1] * len(axes) if steps is None else steps
    if starts is None or ends is None or not len(starts) == len(ends) == len(axes) == len(steps):
        node.refuse(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} do not belong together")
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes) or 0 in steps:
        node.refuse(f"axes {axes} or steps {steps} do not fit shape {shape}")
    rows = {}
    for axis, start, end, step in zip(axes, starts, ends, steps):
        size = shape[axis % rank]
        start, end = (v + size if v < 0 else v for v in (start, end))
        low, high = (0, size) if step > 0 else (-1, size - 1)
        rows[axis % rank] = range(min(max(start, 0), high), min(max(end, low), high), step)
    return rows


def slice_parts(node: Node, given) -> list:
    """Starts, ends, axes and steps of a Slice: attributes before opset 10, the inputs `given` since then."""
    if node.opset < 10:
        return [node.ints("starts"), node.ints("ends"), node.ints("axes", None), None]
    return list(given)


def _slice(node: Node, x, *parts):
    given = [None if v is None else v.data for v in (*parts, *[None] * 4)][:4]
    data = x.data
    for axis, rows in slice_rows(node, x.shape, slice_parts(node, given)).items():
        data = np.take(data, np.asarray(rows, np.int64), axis)
    return data


def _reshape(node: Node, x, shape):
    keep_zero = node.int("allowzero", 0)
    dims = [x.shape[i] if d == 0 and not keep_zero else int(d) for i, d in enumerate(shape.data.tolist())]
    if x.data.size and 0 in x.data.strides:  # repeated elements stay views
        flat = np.broadcast_to(x.data.reshape(-1)[:1] if x.data.ndim < 2 else x.data[(0,) * x.data.ndim], x.data.size)
        if _uniform(x.data):
            return np.broadcast_to(flat[0], np.empty(x.data.size, np.bool_).reshape(dims).shape)
    return x.data.reshape(dims)


def _concat(node: Node, *parts):
    return np.concatenate([p.data for p in parts], axis=node.int("axis"))


def _range(node: Node, *ends):
    if any(v.size != 1 for v in ends):
        node.refuse(f"works on scalars, got shapes {[v.shape for v in ends]}")
    start, limit, delta = (v.data.item() for v in ends)
    if delta == 0 or abs(float(limit) - float(start)) / abs(float(delta)) > 2**24:
        node.refuse("has too many values, or a step of 0")
    return np.arange(start, limit, delta, dtype=ends[0].data.dtype)


def _divide(node: Node, a, b):
    if a.data.dtype.kind == "f":
        return a.data / b.data
    if (b.data == 0).any():
        node.refuse("divides by zero")
    quotient = np.abs(a.data) // np.abs(b.data)  # rounds toward zero, as ONNX does
    return (quotient * np.sign(a.data) * np.sign(b.data)).astype(a.data.dtype)


def _mod(node: Node, a, b):
    if a.data.dtype.kind != "f" and (b.data == 0).any():
        node.refuse("divides by zero")
    return (np.fmod if node.int("fmod", 0) else np.mod)(a.data, b.data)


def _power(node: Node, a, b):
    return np.power(a.data, b.data.astype(a.data.dtype) if a.data.dtype.kind == "f" else b.data).astype(a.data.dtype)


def _clip(node: Node, x, low=None, high=None):
    if node.opset < 11:
        bounds = [node.float("min", None), node.float("max", None)]
    else:
        bounds = [None if v is None or v.size == 0 else v.data.reshape(()) for v in (low, high)]
    out = x.data
    for bound, function in zip(bounds, (np.maximum, np.minimum)):
        out = out if bound is None else function(out, np.asarray(bound, out.dtype))
    return out


def _trilu(node: Node, x, k=None):
    upper, offset = node.int("upper", 1), 0 if k is None else int(k.data.reshape(()))
    if x.data.ndim < 2:
        node.refuse(f"works on at least two dimensions, got shape {x.shape}")
    return (np.triu if upper else np.tril)(x.data, offset)


def _arg_extreme(function):
    def lowering(node: Node, x):
        axis, keep, last = node.int("axis", 0), bool(node.int("keepdims", 1)), node.int("select_last_index", 0)
        at = function(np.flip(x.data, axis) if last else x.data, axis=axis, keepdims=keep)
        return (x.shape[axis] - 1 - at if last else at).astype(np.int64)

    return lowering


def _cumsum(node: Node, x, axis):
    axis, reverse = int(axis.data.reshape(())), node.int("reverse", 0)
    data = np.flip(x.data, axis) if reverse else x.data
    sums = np.cumsum(data, axis, dtype=np.float64 if data.dtype.kind == "f" else data.dtype)
    sums = (sums - data if node.int("exclusive", 0) else sums).astype(data.dtype)
    return np.flip(sums, axis) if reverse else sums


def _shift(node: Node, x, by):
    left = node.string("direction", allowed=("LEFT", "RIGHT")) == "LEFT"
    return (np.left_shift if left else np.right_shift)(x.data, by.data)


def _many(function):
    def lowering(node: Node, first, *rest):
        out = first.data
        for x in rest:
            out = function(out, x.data)
        return out

    return lowering


def _split(node: Node, x, split=None):
    axis, count = node.int("axis", 0), node.int("num_outputs", node.outputs)
    sizes = node.ints("split", None) if split is None else split.data.tolist()
    each = -(-x.shape[axis] // max(count, 1))
    ends = np.cumsum(sizes) if sizes is not None else each * np.arange(1, node.outputs + 1)
    return [np.take(x.data, range(s, min(e, x.shape[axis])), axis) for s, e in zip([0, *ends], ends)]


def _transpose(node: Node, x):
    return x.data.transpose(node.ints("perm", None))


def _reduce(function):
    def lowering(node: Node, x, axes=None):
        axes = _axes(node, axes)
        keep, noop = bool(node.int("keepdims", 1)), node.int("noop_with_empty_axes", 0)
        if not axes:
            if noop:
                return x.data
            axes = range(x.data.ndim)
        return function(x.data, axis=tuple(axes), keepdims=keep).astype(x.data.dtype)

    return lowering


def _batch_normalization(node: Node, x, *parts):
    """Of weights, which networks standardize by it."""
    epsilon, momentum = node.float("epsilon", 1e-5), node.float("momentum", 0.9)
    node.int("spatial", 1, allowed=(1,))
    data, axes = x.data.astype(np.float64), tuple(i for i in range(x.data.ndim) if i != 1)
    scale, offset, *running = (v.data.astype(np.float64) for v in parts)
    own = [data.mean(axes), data.var(axes)]
    training = own_batch(node)
    mean, var = (v.reshape(-1, *[1] * (data.ndim - 2)) for v in (own if training else running))
    scale, offset = (v.reshape(-1, *[1] * (data.ndim - 2)) for v in (scale, offset))
    made = [(data - mean) / np.sqrt(var + epsilon) * scale + offset]
    made += [old * momentum + new * (1 - momentum) for old, new in zip(running, own)] + own
    return [v.astype(x.data.dtype) for v in made[: node.outputs]]


def own_batch(node: Node) -> bool:
    """Whether a BatchNormalization uses the mean and variance of its own input."""
    if node.opset < 14:
        return node.outputs > 1  # this is how it was said
    return bool(node.int("training_mode", 0, allowed=(0, 1)))


def _two(function):
    return lambda node, a, b: function(a.data, b.data)


def _one(function):
    return lambda node, x: np.asarray(function(x.data)).astype(x.data.dtype)


FOLD = {
    "Constant": _constant, "ConstantOfShape": _constant_of_shape, "Shape": _shape,
    "Size": lambda node, x: np.int64(x.size), "Cast": _cast, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Gather": _gather, "Slice": _slice, "Reshape": _reshape, "Concat": _concat, "Range": _range,
    "Transpose": _transpose, "Identity": lambda node, x: x.data,
    "Add": _two(np.add), "Sub": _two(np.subtract), "Mul": _two(np.multiply), "Div": _divide,
    "Equal": _two(np.equal), "Less": _two(np.less), "Greater": _two(np.greater),
    "And": _two(np.logical_and), "Or": _two(np.logical_or), "Not": lambda node, x: ~x.data,
    "Where": lambda node, c, a, b: np.where(c.data, a.data, b.data),
    "Expand": lambda node, x, shape: np.broadcast_to(x.data, np.broadcast_shapes(x.shape, tuple(shape.data.tolist()))),
    "ArgMax": _arg_extreme(np.argmax), "ArgMin": _arg_extreme(np.argmin), "CumSum": _cumsum, "BitShift": _shift,
    "BitwiseAnd": _two(np.bitwise_and), "BitwiseOr": _two(np.bitwise_or), "BitwiseXor": _two(np.bitwise_xor),
    "BitwiseNot": lambda node, x: np.invert(x.data), "IsNaN": lambda node, x: np.isnan(x.data),
    "Clip": _clip, "Round": _one(np.rint), "Trilu": _trilu, "Relu": _one(lambda x: np.maximum(x, x.dtype.type(0))),
    "Min": _many(np.minimum), "Max": _many(np.maximum), "Sum": _many(np.add), "Mod": _mod, "Pow": _power,
    "LessOrEqual": _two(np.less_equal), "GreaterOrEqual": _two(np.greater_equal), "Xor": _two(np.logical_xor),
    "Tile": lambda node, x, repeats: np.tile(x.data, repeats.data), "Split": _split,
    "NonZero": lambda node, x: np.array(np.nonzero(x.data), np.int64),
    "Exp": _one(np.exp), "Log": _one(np.log), "Sign": _one(np.sign), "Reciprocal": _one(np.reciprocal),
    "Floor": _one(np.floor), "Ceil": _one(np.ceil), "Neg": _one(np.negative), "Abs": _one(np.abs), "Sqrt": _one(np.sqrt),
    "ReduceProd": _reduce(np.prod), "ReduceSum": _reduce(np.sum), "ReduceMax": _reduce(np.max), "ReduceMin": _reduce(np.min),
    "BatchNormalization": _batch_normalization,
    **dict.fromkeys(OPERATORS, referred), "ReduceMean": _reduce(np.mean), "ReduceL2": _reduce(lambda x, **how: np.sqrt(np.sum(x * x, **how))),
}  # fmt: skip


LAZY = (
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Size",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Transpose",
    "Identity",
    "Expand",
)


def onnx_type(code: int) -> str:
    """The dtype word of an ONNX element type code; float16 and bfloat16 are float32 here."""
    word = WORD[helper.tensor_dtype_to_np_dtype(code).name]
    return "f32" if word in HALVES else word
