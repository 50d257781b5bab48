"""Functions of one 8-bit tensor as tables of 256 entries."""

from __future__ import annotations

import numpy as np

from .. import native
from ..lower.values import Step
from .dataflow import Uses, covers, dense

CODES = np.arange(256)
BINARY = (np.add, np.subtract, np.multiply, np.divide, np.power, np.minimum, np.maximum,
          lambda a, b: np.where(a < 0, a * b, a), np.fmod)  # fmt: skip
MAX_TABLES = 4096


def quantized(x: np.ndarray, scale, zero, clamp) -> np.ndarray:
    """The result of the quantize kernel for float32 `x`, in int64."""
    with np.errstate(all="ignore"):
        y = np.rint((x.astype(np.float32) / scale).astype(np.float64)) + zero
    return np.where(y > clamp[0], np.minimum(y, clamp[1]), clamp[0]).astype(np.int64)


def rounded(x: np.ndarray, zero: int, low: int, high: int) -> np.ndarray:
    """clamp(round_half_even(x) + zero, low, high), clamped in float first: the last step of integer kernels."""
    lower, upper = np.float32(low - zero), np.float32(high - zero)
    return np.rint(np.maximum(np.minimum(x, upper), lower)).astype(np.int64) + zero


def combined(a: np.ndarray, b: np.ndarray, op: int, zero, scale) -> np.ndarray:
    """The result of the qbinary kernel for the codes a and b, in int64."""
    za, zb, *rest = (int(z) for z in zero)
    a, b = a.astype(np.int64) - za, b.astype(np.int64) - zb
    if op == 1:
        return rounded((a * b).astype(np.float32) * scale[0], *rest)
    return rounded(a.astype(np.float32) * scale[0] + b.astype(np.float32) * scale[1], *rest)


def of_codes(x: np.ndarray, uses: Uses, depth: int = 0) -> tuple[np.ndarray, np.ndarray] | None:
    """(codes u8[N], table f32[t,256]) if element i of the whole buffer `x` is table[i % t, codes[i]]; else None."""
    if depth > 64 or not covers(x) or not dense(x):
        return None
    step = uses.producer(x)
    if step is None or not dense(step.args["out"]):
        return None
    reader = _READERS.get(step.kernel)
    return reader(step, uses, depth) if reader is not None else None


def _of_dequantize(step: Step, uses: Uses, depth: int):
    codes, zero, scale = (step.args[k] for k in ("x", "zero", "scale"))
    if (
        codes.dtype != np.uint8
        or (codes.shape[1] > 1 and codes.shape[2] != 1)
        or not uses.is_buffer(codes)
        or uses.is_buffer(zero)
        or uses.is_buffer(scale)
    ):
        return None
    return codes.reshape(-1), (CODES - zero[:, None]).astype(np.float32) * scale[:, None]


def _of_normalize(step: Step, uses: Uses, depth: int):
    scale, shift = step.args["scale"], step.args["shift"]
    return step.args["x"].reshape(-1), CODES.astype(np.float32) * scale[:, None] + shift[:, None]


def _of_unary(step: Step, uses: Uses, depth: int):
    found = of_codes(step.args["x"], uses, depth + 1)
    if found is None:
        return None
    return found[0], _function(found[1], step.args["op"], step.args["params"])


def _function(table: np.ndarray, op: int, params) -> np.ndarray:
    """One float function of each entry, by the scalar kernel, so that a plan does not depend on the CPU that makes it."""
    values, index = np.unique(table.astype(np.float32), return_inverse=True)
    out = np.empty((1, values.size), np.float32)
    native.unary(values.reshape(1, -1), op, params, out, isa="scalar")
    return out[0][index].reshape(table.shape)


def _of_binary(step: Step, uses: Uses, depth: int):
    a, b = (_operand(step, name, uses, depth) for name in ("a", "b"))
    if a is None or b is None or (a[0] is None and b[0] is None):
        return None
    codes = a[0] if a[0] is not None else b[0]
    if a[0] is not None and b[0] is not None and not same_memory(a[0], b[0]):
        return None
    tables = max(len(a[1]), len(b[1]))
    if tables > MAX_TABLES or any(len(t) not in (1, tables) for _, t in (a, b)):
        return None
    with np.errstate(all="ignore"):
        table = BINARY[step.args["op"]](a[1], b[1]).astype(np.float32)
    if step.args["act"]:
        table = _function(table, step.args["act"], step.args["act_params"])
    return codes, table


def _operand(step: Step, name: str, uses: Uses, depth: int):
    """An operand of a binary step as (codes or None, table f32[t,256 or 1])."""
    x, out = step.args[name], step.args["out"]
    if not uses.is_buffer(x):
        constant = last_axis(x)
        return None if constant is None else (None, constant[:, None])
    if not same_strides(x, out):
        return None
    return of_codes(x, uses, depth + 1)


def last_axis(x: np.ndarray) -> np.ndarray | None:
    """A broadcast constant as one value, or as one per index of its last axis; None if it varies along other axes."""
    if any(s and d > 1 for s, d in zip(x.strides[:-1], x.shape[:-1])) or x.size == 0:
        return None
    row = x[(0,) * (x.ndim - 1)]
    return row[:1] if x.strides[-1] == 0 else row


def same_strides(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays of one shape and type have the same strides."""
    return all(a == b or d <= 1 for a, b, d in zip(x.strides, y.strides, x.shape))


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same memory in the same order."""
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape
        and a.strides == b.strides
    )


_READERS = {"dequantize": _of_dequantize, "normalize": _of_normalize, "unary": _of_unary, "binary": _of_binary}
