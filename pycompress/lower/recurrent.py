"""RNN, GRU and LSTM: one product of all inputs with their weights, then one step over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.recurrent import ACTS, GRU, LSTM, RNN
from ..weights import Q8, Dense
from .arithmetic import ADD, MUL
from .context import Lowering
from .emit import cast
from .integer import MAX_K, integer_product, integer_tail
from .matmul import product
from .node import Node
from .registry import MICROSOFT, operator
from .values import Quant, Value

GATES = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
DEFAULT_ACTS = {RNN: ["tanh"], GRU: ["sigmoid", "tanh"], LSTM: ["sigmoid", "tanh", "tanh"]}
# What activations have of alpha and beta, where the node gives none.
ALPHA = {"leakyrelu": 0.01, "affine": 1.0, "hardsigmoid": 0.2, "scaledtanh": 1.0, "thresholdedrelu": 1.0, "elu": 1.0}
BETA = {"affine": 0.0, "hardsigmoid": 0.5, "scaledtanh": 1.0}
SIDES = {"forward": 0, "reverse": 1, "bidirectional": 2}  # bit i: whether direction i runs backward


@operator("RNN", "GRU", "LSTM")
def recurrent(ctx: Lowering, node: Node) -> list[Value]:
    weights = [ctx.f32(node.input(i, name)) for i, name in ((1, "W"), (2, "R"))]
    bias, lengths, state = (node.optional(i) for i in (3, 4, 5))
    cell, holes = (node.optional(i) if node.op == "LSTM" else None for i in (6, 7))
    return _steps(ctx, node, node.op, weights, bias, lengths, state, cell, holes)


@dataclass(frozen=True)
class Codes:
    """8-bit weights [d,n,k], i8, with a scale f32[d,n] and a zero point i32[d,n] for each row."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape


@operator("DynamicQuantizeLSTM", domain=MICROSOFT)
def dynamic_quantize_lstm(ctx: Lowering, node: Node) -> list[Value]:
    weights = [_codes(node, 1 + i, 8 + 2 * i, name) for i, name in enumerate("WR")]
    return _steps(ctx, node, "LSTM", weights, *(node.optional(i) for i in range(3, 8)))


def _codes(node: Node, index: int, scales: int, name: str) -> Codes:
    """Weights [d,k,4 h] of 8 bits; their scale and zero point are one number, or one per column, of each direction."""
    codes = node.plan_time(index, name, required=True)
    scale = node.plan_time(scales, f"{name}_scale", required=True)
    zero = node.plan_time(scales + 1, f"{name}_zero_point", required=True)
    fits = codes.ndim == 3 and zero.dtype == codes.dtype and zero.shape == scale.shape
    if not fits or codes.dtype not in (np.uint8, np.int8) or scale.dtype != np.float32:
        node.refuse(
            f"{name}: {codes.dtype.name}{list(codes.shape)}, scale {scale.shape} and zero point {zero.shape} do not fit"
        )
    d, k, n = codes.shape
    if scale.shape not in ((d,), (d, n)):
        node.refuse(f"the scale of {name} must have one number or one per column of each direction, got {scale.shape}")
    if k > MAX_K:
        node.refuse(f"sums over more than {MAX_K} products are not supported")
    scale, zero = (np.broadcast_to(v.reshape(d, -1), (d, n)) for v in (scale, zero.astype(np.int32)))
    if codes.dtype == np.uint8:
        codes, zero = (codes ^ 0x80).view(np.int8), zero - 128
    return Codes(codes.transpose(0, 2, 1), scale, zero)


def _steps(ctx: Lowering, node: Node, op: str, weights, bias, lengths, state, cell=None, holes=None) -> list[Value]:
    x, g = ctx.f32(node.input(0, "X")), GATES[op]
    side = SIDES[node.string("direction", "forward", allowed=tuple(SIDES))]
    layout = node.int("layout", 0, allowed=(0, 1))
    d = 2 if side == 2 else 1
    if x.ndim != 3:
        node.refuse(f"X must have three dimensions, got shape {x.shape}")
    x = x.transpose(1, 0, 2) if layout else x
    t, b, k = x.shape
    h = _hidden(node, weights, d, g, k)
    state, cell = (
        _state(ctx, node, v, name, (d, b, h), layout) for v, name in ((state, "initial_h"), (cell, "initial_c"))
    )
    lengths = _lengths(ctx, node, lengths, t, b)
    holes = None if holes is None else _shaped(ctx, node, holes, "P", (d, 3 * h)).reshape(d, 3, h)
    linear = node.int("linear_before_reset", 0, allowed=(0, 1)) if op == "GRU" else 0
    coupled = node.int("input_forget", 0, allowed=(0, 1)) if op == "LSTM" else 0
    acts, params = _activations(node, g, d)
    clip = node.float("clip", None)
    if clip is not None and clip <= 0:
        node.refuse(f"= {clip} must be positive", "clip")
    node.ignore("output_sequence")  # of old opsets: whether anyone reads Y
    before, inside = _biases(ctx, node, bias, d, g, h, linear)
    W, R = weights
    out, last, last_cell = ctx.new((t, b, d, h)), ctx.new((d, b, h)), ctx.new((d, b, h if g == LSTM else 0))
    common = dict(
        backward=side, peepholes=holes, lengths=lengths, h0=state, c0=cell, acts=acts, act_params=params,
        clip=np.full(1, np.inf if clip is None else clip, np.float32), out=out.transpose(0, 2, 1, 3), out_h=last,
        out_c=last_cell, coupled=coupled, reason=f"{t} time steps of {h} numbers",
    )  # fmt: skip
    if isinstance(W, Codes):
        sums = _inputs(ctx, x, d * g * h, lambda rows, out: _integer_product(ctx, rows, W, before, out))
        ctx.step("qrecurrent", x=sums, prepared=None, **_state_codes(R), **common)
    else:
        why = "the inputs of all time steps"
        sums = _inputs(ctx, x, d * g * h, lambda rows, out: product(ctx, rows, W.reshape(-1, k), out, before, why))
        ctx.step("recurrent", g=g, linear=linear, x=sums, w=_state_weights(ctx, R), bias=inside, **common)
    results = [out.transpose(1, 0, 2, 3) if layout else out.transpose(0, 2, 1, 3)]
    results += [v.transpose(1, 0, 2) if layout else v for v in (last, last_cell)[: 2 if g == LSTM else 1]]
    return [ctx.value(v) for v in results][: node.outputs]


def _hidden(node: Node, weights, d: int, g: int, k: int) -> int:
    """The numbers of a state, from the shapes of W and R."""
    W, R = (w.shape for w in weights)
    h = R[-1] if len(R) == 3 else 0
    if h < 1 or W != (d, g * h, k) or R != (d, g * h, h):
        node.refuse(f"W {W} and R {R} do not fit {d} direction{'s' * (d > 1)}, {g} gates and inputs of {k}")
    declared = node.int("hidden_size", h)
    if declared != h:
        node.refuse(f"= {declared}, but R has {h} columns", "hidden_size")
    return h


def _shaped(ctx: Lowering, node: Node, value: Value, name: str, shape) -> np.ndarray:
    """The floats of an input, dense; another shape is refused."""
    if value.shape != shape:
        node.refuse(f"{name} of shape {value.shape} must have shape {shape}")
    return ctx.contiguous(ctx.f32(value))


def _state(ctx: Lowering, node: Node, value: Value | None, name: str, shape, layout: int) -> np.ndarray | None:
    """The initial state [d, b, h]; None where it is absent or all zeros, of whatever batch."""
    if value is None:
        return None
    # Zeros of another width say that the state has another size than R: an LSTM with a projection, which ONNX has not.
    if value.shape[-1:] == shape[-1:] and not value.runtime and value.data is not None and not value.data.any():
        return None
    if not layout:
        return _shaped(ctx, node, value, name, shape)
    d, b, h = shape
    return ctx.contiguous(_shaped(ctx, node, value, name, (b, d, h)).transpose(1, 0, 2))


def _lengths(ctx: Lowering, node: Node, value: Value | None, t: int, b: int) -> np.ndarray | None:
    """The time steps of each row, int32; None where all rows have them all."""
    if value is None:
        return None
    if value.dtype not in ("i32", "i64") or value.shape != (b,):
        node.refuse(f"sequence_lens must be int32[{b}], got {value.dtype}{list(value.shape)}")
    if value.runtime:
        return ctx.contiguous(cast(ctx, value, "i32").data)
    if (value.data < 0).any() or (value.data > t).any():
        node.refuse(f"sequence_lens {value.data.tolist()} must be in [0, {t}]")
    return None if (value.data == t).all() else np.ascontiguousarray(value.data, np.int32)


def _activations(node: Node, g: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(the activations i32[d,3], their alpha and beta f32[d,3,2]); alphas and betas go to those that have some, in order."""
    given = node.raw("activations")
    names = [s.decode("utf-8", "replace").lower() for s in given.strings] if given is not None else []
    names = names or DEFAULT_ACTS[g] * d
    count = len(DEFAULT_ACTS[g])
    if len(names) != count * d or any(name not in ACTS for name in names):
        node.refuse(f"= {names} must be {count * d} of {', '.join(ACTS)}", "activations")
    acts, params = np.zeros((d, 3), np.int32), np.zeros((d, 3, 2), np.float32)
    left = [list(node.floats(name, [])) for name in ("activation_alpha", "activation_beta")]
    for i, name in enumerate(names):
        acts[i // count, i % count] = ACTS.index(name)
        for j, (values, defaults) in enumerate(zip(left, (ALPHA, BETA))):
            if name in defaults:
                params[i // count, i % count, j] = values.pop(0) if values else defaults[name]
    return acts, params


def _biases(ctx: Lowering, node: Node, bias: Value | None, d: int, g: int, h: int, linear: int):
    """(what is added to the product of the inputs f32[d*g*h], what a linear GRU adds to that of the state f32[d,h]), or None."""
    if bias is None:
        return None, None
    data = _shaped(ctx, node, bias, "B", (d, 2 * g * h))
    first, second = data[:, : g * h], data[:, g * h :]
    inside = ctx.contiguous(second[:, 2 * h :]) if linear else None
    count = 2 * h if linear else g * h
    if not bias.runtime:
        total = first.copy()
        total[:, :count] += second[:, :count]
        return total.reshape(-1), inside
    total = ctx.new((d, g * h))
    ctx.copy(ctx.binary(first[:, :count], second[:, :count], ADD), total[:, :count])
    if linear:
        ctx.copy(first[:, count:], total[:, count:])
    return total.reshape(-1), inside


def _inputs(ctx: Lowering, x: np.ndarray, n: int, multiply) -> np.ndarray:
    """`multiply` (rows, out) on all inputs x [t,b,k]: [t,b,n], in the order in which x lies in memory."""
    t, b, k = x.shape
    turned = t > 1 and b > 1 and x.strides[0] < x.strides[1]
    x = x.transpose(1, 0, 2) if turned else x
    out = ctx.new((*x.shape[:2], n))
    multiply(ctx.rows(x), out.reshape(t * b, n))
    return out.transpose(1, 0, 2) if turned else out


def _integer_product(ctx: Lowering, x: np.ndarray, w: Codes, bias: np.ndarray | None, out: np.ndarray) -> None:
    """out[m,n] = x[m,k] . w' + bias, x quantized over its own range as a whole."""
    x, (m, n) = ctx.contiguous(x), out.shape
    if not x.size:
        return ctx.copy(np.broadcast_to(np.float32(0) if bias is None else bias, out.shape), out)
    codes, scale, zero = ctx.new(x.shape, "u8"), ctx.new((1,)), ctx.new((1,), "i32")
    ctx.step(
        "dynquant", x=x.reshape(1, -1), out=codes.reshape(1, -1), out_scale=scale, out_zero=zero,
        reason="the inputs of all time steps",
    )  # fmt: skip
    total = ctx.new((m, n), "i32")
    rows = Value("i8", (n, w.shape[2]), np.ascontiguousarray(w.codes.reshape(n, -1)), False)
    integer_product(ctx, codes, zero, Quant(rows, np.ones(1, np.float32), w.zero.reshape(-1)), integer_tail(), total)
    worth = ctx.binary(scale, np.ascontiguousarray(w.scale.reshape(-1)), MUL)
    real = ctx.binary(cast(ctx, ctx.value(total), "f32").data, worth, MUL)
    ctx.copy(real if bias is None else ctx.binary(real, bias, ADD), out)


def _state_codes(r: Codes) -> dict[str, object]:
    """The arguments of qrecurrent that come from R [d,4 h,h]."""
    d, n, h = r.shape
    zero = np.zeros((4 * d, -(-h // 16) * 16), np.int32)
    zero[:, :h] = r.zero.reshape(4 * d, h)
    scale = np.ascontiguousarray(r.scale.reshape(4 * d, h), np.float32)
    w = Q8(np.ascontiguousarray(r.codes.reshape(-1, h)), scale.reshape(-1), r.zero.reshape(-1))
    return {"w": w, "colsum": None, "wzp": zero if zero.any() else None, "scale": scale}


def _state_weights(ctx: Lowering, r: np.ndarray):
    """R [d,g*h,h] as the kernel reads it: packed later, or at run time gate by gate."""
    h = r.shape[2]
    if not ctx.is_runtime(r):
        return Dense(r.reshape(-1, h))
    r = ctx.contiguous(r).reshape(-1, h, h)
    out = ctx.new((len(r), -(-h // 16), h, 16))
    for gate, panels in zip(r, out):
        ctx.step("spack", x=gate, out=panels, reason="weights are computed at run time")
    return out
