"""Functions of each element."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import OPERATORS, numbers, operator


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
        onnx.TensorProto.BOOL: torch.bool,
    }
    if to not in kinds:
        raise NotImplementedError(
            f"Cast to {onnx.TensorProto.DataType.Name(to)}: training casts to FLOAT, INT64, INT32 and BOOL"
        )
    return x.to(kinds[to])


OPERATORS |= {
    "Relu": lambda x: F.relu(x), "HardSwish": lambda x: F.hardswish(x), "Sigmoid": lambda x: torch.sigmoid(x),
    "Tanh": lambda x: torch.tanh(x), "Softplus": lambda x: F.softplus(x), "Erf": lambda x: torch.erf(x),
    "Mish": lambda x: F.mish(x), "Exp": lambda x: torch.exp(x), "Sqrt": lambda x: torch.sqrt(x),
    "Neg": lambda x: -x, "Abs": lambda x: torch.abs(x), "Reciprocal": lambda x: 1 / x, "Identity": lambda x: x,
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b,
    "Pow": lambda a, b: a**b, "Max": lambda *x: _fold(torch.maximum, x), "Min": lambda *x: _fold(torch.minimum, x),
    "Sum": lambda *x: _fold(torch.add, x), "Log": lambda x: torch.log(x), "Sin": lambda x: torch.sin(x),
    "Cos": lambda x: torch.cos(x), "Ceil": lambda x: torch.ceil(x), "Floor": lambda x: torch.floor(x),
    "Round": lambda x: torch.round(x), "Sign": lambda x: torch.sign(x), "Equal": lambda a, b: a == b,
    "Greater": lambda a, b: a > b, "GreaterOrEqual": lambda a, b: a >= b, "Less": lambda a, b: a < b,
    "LessOrEqual": lambda a, b: a <= b, "Not": lambda x: ~x, "And": lambda a, b: a & b, "Or": lambda a, b: a | b,
    "Where": lambda c, a, b: torch.where(c, a, b), "IsNaN": lambda x: torch.isnan(x),
}  # fmt: skip


@operator("Div")
def div(a, b) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Mod")
def mod(a, b, *, fmod=0) -> Tensor:
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


def _fold(function: Callable, x: Sequence[Tensor]) -> Tensor:
    total = x[0]
    for more in x[1:]:
        total = function(total, more)
    return total
