"""DFT and STFT: products with the matrix of sines and cosines; of a signal's frames, a convolution."""

from __future__ import annotations

import math

import numpy as np

from .constants import PLAN_TIME
from .context import Lowering
from .emit import to_shape
from .node import Node
from .registry import OPERATORS, operator
from .values import Value

PLAN_TIME |= {("", "DFT"): (1, 2), ("", "STFT"): (1, 3)}
LARGEST = 1 << 25  # elements of the matrix, 128 MiB: a one-sided transform of 5,792 real numbers


@operator("DFT")
def dft(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    inverse, one_sided = (node.int(name, 0, allowed=(0, 1)) for name in ("inverse", "onesided"))
    axis = node.int("axis", 1) if node.opset < 20 else _number(node, 2, "axis", -2)
    if x.ndim < 2 or x.shape[-1] not in (1, 2) or not -x.ndim <= axis < x.ndim or axis % x.ndim == x.ndim - 1:
        node.refuse(f"needs real or complex numbers along the last axis and another axis, got {x.shape} and {axis}")
    axis %= x.ndim
    parts, given = x.shape[-1], x.shape[axis]
    if one_sided and not inverse and parts == 2:
        node.refuse("of complex numbers has no one-sided result", "onesided")
    length = _number(node, 1, "dft_length", 2 * (given - 1) if inverse and one_sided else given)
    if length < 1:
        node.refuse(f"has length {length}")
    half = length // 2 + 1
    taken = min(given, half if inverse and one_sided else length)
    kept = half if one_sided and not inverse else length
    matrix = _matrix(node, length, taken, parts, kept, bool(inverse), bool(one_sided))
    rows = np.moveaxis(x[(slice(None),) * axis + (slice(taken),)], axis, -2)
    outer = rows.shape[:-2]
    flat = ctx.value(to_shape(ctx, rows, (math.prod(outer), taken * parts)))
    inputs = [flat, Value.constant(matrix)]
    y = OPERATORS["", "MatMul"](ctx, node.become("MatMul", inputs, without=("inverse", "onesided", "axis")))
    data = to_shape(ctx, ctx.data(y), (*outer, kept, matrix.shape[1] // kept))
    return ctx.value(np.moveaxis(data, -2, axis))


@operator("STFT")
def stft(ctx: Lowering, node: Node) -> Value:
    x, window = ctx.f32(node.input(0, "signal")), node.optional(2)
    step = _number(node, 1, "frame_step")
    one_sided = node.int("onesided", 1, allowed=(0, 1))
    if x.ndim == 2:
        x = x[..., None]
    if x.ndim != 3 or x.shape[-1] not in (1, 2):
        node.refuse(f"needs a signal [batch, length] or [batch, length, 1 or 2], got {x.shape}")
    batch, size, parts = x.shape
    length = _number(node, 3, "frame_length", window.shape[0] if window is not None and window.shape else size)
    if step < 1 or not 1 <= length <= size or window is not None and window.shape != (length,):
        seen = None if window is None else window.shape
        node.refuse(f"frames of {length}, every {step}, do not fit {size} samples and the window {seen}")
    if one_sided and parts == 2:
        node.refuse("of complex numbers has no one-sided result", "onesided")
    kept = length // 2 + 1 if one_sided else length
    taps = _matrix(node, length, length, parts, kept, False, bool(one_sided)).T.reshape(2 * kept, length, parts)
    weights = Value.constant(np.ascontiguousarray(taps.swapaxes(1, 2)))
    if window is not None:
        weights = OPERATORS["", "Mul"](ctx, node.become("Mul", [weights, window], 14, without=("onesided",)))
    inputs = [ctx.value(x.swapaxes(1, 2)), weights]
    y = OPERATORS["", "Conv"](ctx, node.become("Conv", inputs, without=("onesided",), given={"strides": [step]}))
    data = ctx.data(y).swapaxes(1, 2)
    return ctx.value(to_shape(ctx, data, (batch, data.shape[1], kept, 2)))


def _number(node: Node, index: int, name: str, default: int | None = None) -> int:
    """An input of one integer, known while planning."""
    value = node.plan_time(index, name, required=default is None)
    if value is None or not value.size:
        return default
    if value.size != 1 or value.dtype.kind != "i":
        node.refuse(f"{name} must be one integer, got {value.dtype.name}{list(value.shape)}")
    return int(value.reshape(-1)[0])


def _matrix(node: Node, length: int, taken: int, parts: int, kept: int, inverse: bool, one_sided: bool) -> np.ndarray:
    """[taken*parts,kept*2], or [taken*parts,kept] for real results: what each number adds to each part of each result."""
    real = inverse and one_sided
    if taken * parts * kept * (2 - real) > LARGEST:
        node.refuse(f"of length {length} is not supported: its matrix would have more than {LARGEST} elements")
    turns = np.outer(np.arange(taken, dtype=np.int64), np.arange(kept, dtype=np.int64)) % length
    angle = turns * (2 * np.pi / length)
    cos, sin = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    rows = [[cos, -sin][:parts]] if real else [[cos, -sin][:parts], [sin, cos][:parts]]
    matrix = np.stack([np.stack(row, 1) for row in rows], -1)  # [taken,parts,kept,1 or 2]
    if inverse:
        matrix /= length
    if real:  # each frequency but the lowest, and the highest of an even length, stands for its mirror image, too
        twice = np.full(taken, 2.0)
        twice[0] = 1
        if length % 2 == 0 and taken == length // 2 + 1:
            twice[-1] = 1
        matrix *= twice[:, None, None, None]
    return matrix.reshape(taken * parts, -1).astype(np.float32)
