"""ONNX operators as functions of torch tensors: what a `Twin` evaluates its graph with.

A function takes a node's inputs in order and its attributes as keywords, so that its signature says what is
supported. Inputs that are values rather than data (shapes, axes, bounds) are numbers or lists of numbers if they are
constants of the model, tensors if they are computed; `numbers` makes them the same.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence

import onnx
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional as F

OPERATORS: dict[str, Callable] = {}
VALUE_INPUTS = {  # positions of inputs that are values
    "Clip": (1, 2), "Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "ReduceMean": (1,), "Pad": (1, 2, 3),
    "Slice": (1, 2, 3, 4), "Split": (1,), "Dropout": (1, 2), "Expand": (1,),
}  # fmt: skip
CONV = (None, F.conv1d, F.conv2d, F.conv3d)
AVERAGE = (None, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
MAXIMUM = (None, F.max_pool1d, F.max_pool2d, F.max_pool3d)


def operator(*names: str) -> Callable[[Callable], Callable]:
    """Registers the function for the operators `names`."""

    def register(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def attributes_of(node: onnx.NodeProto) -> dict:
    """The attributes of `node` as keyword arguments of its function.

    Raises
    ------
    NotImplementedError
        If there is no such operator here, or it lacks an attribute; the message names the node.
    """
    where = f"node {node.name!r} ({node.op_type})"
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise NotImplementedError(f"{where}: training does not support this operator")
    if sum(map(bool, node.output)) > 1 and node.op_type != "Split":
        raise NotImplementedError(f"{where}: training supports only its first output")
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    given = {k: v.decode() if isinstance(v, bytes) else v for k, v in given.items()}
    known = inspect.signature(OPERATORS[node.op_type]).parameters
    for name in given:
        if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY or name == "training":
            raise NotImplementedError(f"{where}: training does not support the attribute {name!r}")
    return given


def numbers(x) -> list:
    """A value input as a list of numbers."""
    x = x.tolist() if isinstance(x, Tensor) else x
    return list(x) if isinstance(x, (list, tuple)) else [x]


# layers with weights


def _ends(x: Tensor, kernel: Sequence[int], strides, dilations, pads, auto_pad: str) -> tuple[list[int], list[int]]:
    """The cells that are added before and after each spatial axis."""
    rank = len(kernel)
    if auto_pad in ("NOTSET", ""):
        pads = list(pads or [0] * 2 * rank)
        return pads[:rank], pads[rank:]
    if auto_pad == "VALID":
        return [0] * rank, [0] * rank
    total = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations):
        total.append(max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0))
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (small, large) if auto_pad == "SAME_UPPER" else (large, small)


def _padded(x: Tensor, first: Sequence[int], last: Sequence[int], value: float = 0.0) -> Tensor:
    """`x` with cells of `value` around its spatial axes."""
    if not any((*first, *last)):
        return x
    return F.pad(x, [n for pair in zip(reversed(first), reversed(last)) for n in pair], value=value)


@operator("Conv")
def conv(
    x, w, bias=None, *, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, pads=None, strides=None
) -> Tensor:
    rank = w.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    first, last = _ends(x, w.shape[2:], strides, dilations, pads, auto_pad)
    if first != last:
        x, first = _padded(x, first, last), [0] * rank
    if rank == 2 and w.stride() != (w[0].numel(), 1, w.shape[3] * w.shape[1], w.shape[1]):
        w = w.clone(memory_format=torch.channels_last)  # masked or rounded: their order decides how torch computes
    return CONV[rank](x, w, bias, strides, first, dilations, group)


@operator("BatchNormalization")
def batch_normalization(
    x, gamma, beta, mean, var, *, epsilon=1e-5, momentum=0.9, training_mode=0, training=False
) -> Tensor:
    return F.batch_norm(x, mean, var, gamma, beta, training, 1 - momentum, epsilon)


@operator("Gemm")
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0) -> Tensor:
    a, b = a.T if transA else a, b if transB else b.T
    if alpha == 1 and (c is None or beta == 1 and c.ndim == 1 and len(c) == len(b)):
        return F.linear(a, b, c)
    y = F.linear(a, b) * alpha
    return y if c is None else y + c * beta


@operator("MatMul")
def matmul(a, b) -> Tensor:
    return a @ b


# functions of each element


@operator("Clip")
def clip(x, low=None, high=None) -> Tensor:
    low, high = (None if v is None else numbers(v)[0] for v in (low, high))
    if None not in (low, high):
        return F.hardtanh(x, low, high)  # its gradient is one pass, that of clamp is four
    return x if low is None and high is None else torch.clamp(x, low, high)


@operator("HardSigmoid")
def hard_sigmoid(x, *, alpha=0.2, beta=0.5) -> Tensor:
    if beta == 0.5 and math.isclose(alpha, 1 / 6, rel_tol=1e-6):
        return F.hardsigmoid(x)
    return torch.clamp(x * alpha + beta, 0, 1)


@operator("Swish")
def swish(x, *, alpha=1.0) -> Tensor:
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(x * alpha)


@operator("LeakyRelu")
def leaky_relu(x, *, alpha=0.01) -> Tensor:
    return F.leaky_relu(x, alpha)


@operator("PRelu")
def prelu(x, slope) -> Tensor:
    return torch.where(x < 0, x * slope, x)


@operator("Elu")
def elu(x, *, alpha=1.0) -> Tensor:
    return F.elu(x, alpha)


@operator("Gelu")
def gelu(x, *, approximate="none") -> Tensor:
    return F.gelu(x, approximate=approximate)


@operator("Softmax")
def softmax(x, *, axis=-1) -> Tensor:
    return F.softmax(x, axis)


@operator("LogSoftmax")
def log_softmax(x, *, axis=-1) -> Tensor:
    return F.log_softmax(x, axis)


@operator("Dropout")
def dropout(x, ratio=0.5, mode=None, *, seed=None, training=False) -> Tensor:
    return F.dropout(x, numbers(ratio)[0], training)


@operator("Cast")
def cast(x, *, to, saturate=1) -> Tensor:
    kinds = {
        onnx.TensorProto.FLOAT: torch.float32,
        onnx.TensorProto.INT64: torch.int64,
        onnx.TensorProto.INT32: torch.int32,
    }
    if to not in kinds:
        raise NotImplementedError(f"Cast to {onnx.TensorProto.DataType.Name(to)}: training casts to FLOAT and integers")
    return x.to(kinds[to])


OPERATORS |= {
    "Relu": lambda x: F.relu(x), "HardSwish": lambda x: F.hardswish(x), "Sigmoid": lambda x: torch.sigmoid(x),
    "Tanh": lambda x: torch.tanh(x), "Softplus": lambda x: F.softplus(x), "Erf": lambda x: torch.erf(x),
    "Mish": lambda x: F.mish(x), "Exp": lambda x: torch.exp(x), "Sqrt": lambda x: torch.sqrt(x),
    "Neg": lambda x: -x, "Abs": lambda x: torch.abs(x), "Reciprocal": lambda x: 1 / x, "Identity": lambda x: x,
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Div": lambda a, b: a / b,
    "Pow": lambda a, b: a**b, "Max": lambda *x: _fold(torch.maximum, x), "Min": lambda *x: _fold(torch.minimum, x),
    "Sum": lambda *x: _fold(torch.add, x),
}  # fmt: skip


def _fold(function: Callable, x: Sequence[Tensor]) -> Tensor:
    total = x[0]
    for more in x[1:]:
        total = function(total, more)
    return total


# averages and maxima


@operator("GlobalAveragePool")
def global_average_pool(x) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(x) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


@operator("ReduceMean")
def reduce_mean(x, chosen=None, *, axes=None, keepdims=1, noop_with_empty_axes=0) -> Tensor:
    axes = numbers(chosen) if chosen is not None else axes
    if not axes:
        return x if noop_with_empty_axes else x.mean(tuple(range(x.ndim)), keepdim=bool(keepdims))
    return x.mean(tuple(axes), keepdim=bool(keepdims))


@operator("AveragePool")
def average_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, pads=None, strides=None
) -> Tensor:
    rank = len(kernel_shape)
    if any(d != 1 for d in dilations or ()):
        raise NotImplementedError("AveragePool: training does not support dilations")
    strides = strides or [1] * rank
    first, last = _ends(x, kernel_shape, strides, [1] * rank, pads, auto_pad)
    pool = AVERAGE[rank]
    if first == last and all(2 * n <= k for n, k in zip(first, kernel_shape)):
        return pool(x, kernel_shape, strides, first, bool(ceil_mode), bool(count_include_pad))
    total = pool(_padded(x, first, last), kernel_shape, strides, 0, bool(ceil_mode))
    if count_include_pad:
        return total
    return total / pool(_padded(torch.ones_like(x[:1, :1]), first, last), kernel_shape, strides, 0, bool(ceil_mode))


@operator("MaxPool")
def max_pool(
    x, *, kernel_shape, auto_pad="NOTSET", ceil_mode=0, dilations=None, pads=None, storage_order=0, strides=None
) -> Tensor:
    rank = len(kernel_shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    first, last = _ends(x, kernel_shape, strides, dilations, pads, auto_pad)
    x = _padded(x, first, last, -math.inf)
    return MAXIMUM[rank](x, kernel_shape, strides, 0, dilations, bool(ceil_mode))


# shapes


@operator("Flatten")
def flatten(x, *, axis=1) -> Tensor:
    axis = axis % (x.ndim + 1) if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Reshape")
def reshape(x, shape, *, allowzero=0) -> Tensor:
    wanted = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(numbers(shape))]
    if wanted[:1] == [1] and x.ndim:
        wanted[0] = x.shape[0]  # the model was written for one image
    return x.reshape(wanted)


@operator("Squeeze")
def squeeze(x, axes=None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(numbers(axes)))


@operator("Unsqueeze")
def unsqueeze(x, axes) -> Tensor:
    axes = numbers(axes)
    rank = x.ndim + len(axes)
    for axis in sorted(a % rank for a in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Transpose")
def transpose(x, *, perm=None) -> Tensor:
    return x.permute(perm or tuple(reversed(range(x.ndim))))


@operator("Concat")
def concat(*x, axis) -> Tensor:
    return torch.cat(x, axis)


@operator("Pad")
def pad(x, pads, value=None, axes=None, *, mode="constant") -> Tensor:
    pads, axes = numbers(pads), numbers(axes) if axes is not None else list(range(x.ndim))
    if mode != "constant":
        raise NotImplementedError(f"Pad: training supports the mode 'constant', not {mode!r}")
    ends = [[0, 0] for _ in range(x.ndim)]
    for i, axis in enumerate(axes):
        ends[axis % x.ndim] = [pads[i], pads[i + len(axes)]]
    return F.pad(x, [n for pair in reversed(ends) for n in pair], value=numbers(value)[0] if value is not None else 0.0)


@operator("Shape")
def shape_of(x, *, start=0, end=None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Gather")
def gather(x, at, *, axis=0) -> Tensor:
    at = at % x.shape[axis]
    return x.index_select(axis, at.reshape(-1)).reshape(*x.shape[:axis], *at.shape, *x.shape[axis % x.ndim + 1 :])


@operator("Slice")
def slice_(x, starts, ends, axes=None, steps=None) -> Tensor:
    starts, ends = numbers(starts), numbers(ends)
    axes = numbers(axes) if axes is not None else range(len(starts))
    steps = numbers(steps) if steps is not None else [1] * len(starts)
    for first, last, axis, step in zip(starts, ends, axes, steps):
        if step < 1:
            raise NotImplementedError("Slice: training supports positive steps only")
        x = x[(slice(None),) * (axis % x.ndim) + (slice(first, last, step),)]
    return x


@operator("Split")
def split(x, sizes=None, *, axis=0, num_outputs=None) -> tuple[Tensor, ...]:
    if sizes is not None:
        return x.split(numbers(sizes), axis)
    return x.split(-(-x.shape[axis] // num_outputs), axis)


@operator("Expand")
def expand(x, shape) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, tuple(numbers(shape))))
