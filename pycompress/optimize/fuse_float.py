"""Rules for float steps: activations, residual sums, constants folded into weights."""

from __future__ import annotations

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..kernels import having
from ..lower.context import ACT
from ..lower.values import Step, root
from ..weights import Dense
from .dataflow import Uses, address, copied_from, covers, on, twin, writes

ACTIVATED = having(lambda spec: spec.takes("act"))
SUMMED = having(lambda spec: spec.traits.sums == "float" and spec.takes("residual"))
OFFSET = having(lambda spec: "offset" in spec.traits.folds)
SCALED = having(lambda spec: "factor" in spec.traits.folds)
PADDED = having(lambda spec: spec.traits.sums == "float" and spec.traits.layout == "nhwc")  # with zeros
INTEGER = having(lambda spec: spec.traits.sums == "integer")
# Epilogues of integer sums compute exponentials one by one, the step `unary` sixteen at a time: worth a step for more than
ONE_BY_ONE = 256
ADD, SUB, MUL, DIV = range(4)


def whole(x) -> bool:
    """Whether `x` is a whole buffer in memory order."""
    return isinstance(x, np.ndarray) and covers(x) and bool(x.flags.c_contiguous)


def producer(uses: Uses, x, kernels: tuple[str, ...]) -> Step | None:
    """The only step that writes the buffer `x`, if it writes all of it and runs one of `kernels`; else None."""
    made = uses.producer(x) if whole(x) and uses.is_buffer(x) else None
    return made if made is not None and made.kernel in kernels else None


def sole(step: Step, uses: Uses, x, kernels: tuple[str, ...]) -> Step | None:
    """As ``producer``, if `step` is the only reader of `x`."""
    return producer(uses, x, kernels) if uses.only_reader(x) else None


def typed(x: np.ndarray) -> np.ndarray:
    """The whole buffer of `x` in the type of `x`: what ``where`` chose was written as unsigned integers."""
    return root(x).view(x.dtype)


def in_shape_of(target: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The whole buffer of `target`, reshaped to the shape of `like`."""
    return typed(target).reshape(like.shape)


def columns(step: Step, uses: Uses, x, kernels: tuple[str, ...]) -> list[tuple[Step, int]]:
    """[(step, its first column)]: the steps that write `x`, if all run one of `kernels` without activation and only `step` reads `x`."""
    if not (whole(x) and uses.is_buffer(x) and uses.only_reader(x)):
        return []
    made = uses.channel_producers(x)
    return made if all(m.kernel in kernels and not m.args["act"] for m, _ in made) else []


def reordered(step: Step, uses: Uses, x, kernels: tuple[str, ...]) -> tuple[list[tuple[Step, int]], Step | None]:
    """(columns, None), or, where a permute stands between, (the columns that it alone reads, the permute)."""
    made = columns(step, uses, x, kernels)
    copy = None if made else sole(step, uses, x, ("permute",))
    return (columns(copy, uses, root(copy.args["x"]), kernels), copy) if copy is not None else (made, None)


def _copied_to(copy: Step, target: np.ndarray) -> Step:
    """The permute `copy`, writing into the buffer of `target` instead."""
    old = copy.args["out"]
    return copy.replace(out=twin(old, root(old).view(np.uint8), root(target).view(np.uint8)))


def part(buffer: np.ndarray, like: np.ndarray, first: int, made: list[tuple[Step, int]]) -> np.ndarray:
    """The view of `buffer` that one of the steps `made` writes: columns from `first` on, in the shape of `like`."""
    width = sum(m.args["out"].shape[-1] for m, _ in made)
    return typed(buffer).reshape(*like.shape[:-1], width)[..., first : first + like.shape[-1]]


@on("unary")
def activation(step: Step, uses: Uses):
    """Fuse a unary activation into the epilogue of the products or the sum before it, which may be copied in between."""
    if step.args["op"] >= len(ACT) or not whole(step.args["out"]):
        return None
    made, copy = reordered(step, uses, step.args["x"], ACTIVATED)
    if not made or any(m.args["out"].dtype != np.float32 for m, _ in made):
        return None
    exponential = step.args["op"] >= ACT["sigmoid"]  # it and those behind it in ACT
    if exponential and any(m.kernel in INTEGER and m.args["out"].size > ONE_BY_ONE for m, _ in made):
        return None
    act = {"act": step.args["op"], "act_params": step.args["params"]}
    new = []
    for m, first in made:
        out = m.args["out"] if copy else part(step.args["out"], m.args["out"], first, made)
        new.append(m.replace(**act, out=out, reason=f"{m.reason or m.op}, {step.op} fused"))
    return _with_copy(new, made, copy, step)


def _with_copy(new: list[Step], made: list[tuple[Step, int]], copy: Step | None, step: Step):
    """A rule's result: the steps `new` instead of those `made`; a `copy` of what they write takes the place of `step`."""
    gone = [m for m, _ in made]
    return (new, gone) if copy is None else ([*new, _copied_to(copy, step.args["out"])], [*gone, copy])


@on("binary")
def residual(step: Step, uses: Uses):
    """product + tensor: fuse the sum into the product's epilogue, before its activation."""
    if step.args["op"] != ADD or not whole(step.args["out"]):
        return None
    for own, other in ((step.args["a"], step.args["b"]), (step.args["b"], step.args["a"])):
        if not (whole(other) and uses.is_buffer(other) and other.shape == own.shape):
            continue
        made = columns(step, uses, own, SUMMED)
        if not made or any(m.args["residual"] is not None for m, _ in made):
            continue
        new = []
        for m, first in made:
            out = part(step.args["out"], m.args["out"], first, made)
            rows = part(other, out.reshape(-1, out.shape[-1]), first, made)
            new.append(m.replace(
                residual=rows, act=step.args["act"], act_params=step.args["act_params"], out=out,
                reason=f"{m.reason}, {step.op} fused",
            ))  # fmt: skip
        return new, [m for m, _ in made]
    return None


def per_channel(x, channels: int) -> np.ndarray | None:
    """A constant operand of ``binary`` as one number per channel (the last dimension); None if it varies along others."""
    row = row_of(x)
    if row is None or len(row) == channels:
        return row
    return np.full(channels, row[0], np.float32) if len(row) == 1 else None


def row_of(x) -> np.ndarray | None:
    """A constant operand of ``binary`` along its last dimension (one number if it repeats); None if it varies along others."""
    if any(s for s, d in zip(x.strides[:-1], x.shape[:-1]) if d > 1):
        return None
    row = x[(0,) * (x.ndim - 1)]
    return row[:1].astype(np.float32) if x.strides[-1] == 0 else row  # one number: the row may be as long as an image


@on("binary")
def constant(step: Step, uses: Uses):
    """product * constant + constant, per channel (BatchNormalization): fold them into the weights and the bias."""
    if step.args["op"] not in (ADD, SUB, MUL, DIV) or not whole(step.args["out"]):
        return None
    a, b, op = step.args["a"], step.args["b"], step.args["op"]
    if not uses.is_buffer(a) and op in (ADD, MUL):
        a, b = b, a
    if uses.is_buffer(b):
        return None
    made, copy = reordered(step, uses, a, OFFSET if op in (ADD, SUB) else SCALED)
    if not made or any(not _foldable(m, op, uses) for m, _ in made):
        return None
    channels = sum(m.args["out"].shape[-1] for m, _ in made)
    factor = per_channel(b, channels) if copy is None else _per_phase(b, copy, channels)
    if factor is None:
        return None
    new = []
    for m, first in made:
        out = m.args["out"] if copy else part(step.args["out"], m.args["out"], first, made)
        own = _folded(m, op, factor[first : first + out.shape[-1]])
        act = {"act": step.args["act"], "act_params": step.args["act_params"]}
        reason = m.reason if f"{step.op} folded" in m.reason else f"{m.reason}, {step.op} folded"
        new.append(own.replace(out=out, **act, reason=reason))
    return _with_copy(new, made, copy, step)


def _per_phase(x, copy: Step, channels: int) -> np.ndarray | None:
    """As ``per_channel``, for the `channels` before a permute that copies pixels of x's channels as a whole."""
    row = row_of(x)
    if row is None or channels % len(row):
        return None
    pixel = len(row) * row.itemsize
    source, target = copy.args["x"], copy.args["out"]
    moved = [s for v in (source, target) for d, s in zip(v.shape[:-1], v.strides) if d > 1]
    if len(row) > 1 and any(v % pixel for v in (*moved, source.shape[-1], address(source) - address(root(source)))):
        return None
    return np.tile(row, channels // len(row))


def _foldable(m: Step, op: int, uses: Uses) -> bool:
    bias, w = m.args.get("bias"), m.args.get("w")
    if m.args["residual"] is not None:
        return False
    if bias is not None and uses.is_buffer(bias):
        return False
    return op in (ADD, SUB) or isinstance(w, Dense) or not uses.is_buffer(w)


def _folded(m: Step, op: int, constant: np.ndarray) -> Step:
    """The product `m` followed by + - * / `constant` (one number per output channel)."""
    bias = m.args["bias"]
    if op in (ADD, SUB):
        constant = constant if op == ADD else -constant
        return m.replace(bias=np.ascontiguousarray(constant if bias is None else bias + constant))
    factor = constant if op == MUL else 1 / constant
    w = m.args["w"]
    if isinstance(w, Dense):
        w = w.times(factor)
    else:
        w = w * factor  # depthwise: [kh * kw, c]
    return m.replace(w=w, bias=None if bias is None else bias * factor)


@on("binary")
def affine(step: Step, uses: Uses):
    """x * constant + constant per channel, if they cannot be folded into a product: one depthwise 1x1 convolution."""
    if step.args["op"] not in (ADD, SUB) or not whole(step.args["out"]):
        return None
    sign = 1 if step.args["op"] == ADD else -1
    scaled, offset, c = step.args["a"], step.args["b"], step.args["out"].shape[-1]
    inner = sole(step, uses, scaled, ("binary",))
    if inner is None or inner.args["op"] != MUL or inner.args["act"] or uses.is_buffer(offset):
        return None
    x, factor = inner.args["a"], inner.args["b"]
    if not whole(x) or not uses.is_buffer(x) or uses.is_buffer(factor) or not offset.strides[-1]:
        return None
    before = columns(inner, uses, x, SCALED)
    if before and all(_foldable(m, MUL, uses) for m, _ in before):  # both fold into what has just been made
        return None
    factor, offset = (per_channel(v, c) for v in (factor, offset))
    if factor is None or offset is None:
        return None
    rows = x.size // c
    wide = max(d for d in range(1, 65) if rows % d == 0)
    image = (1, rows // wide, wide, c)
    sizes = {"kh": 1, "kw": 1, "sh": 1, "sw": 1, "dh": 1, "dw": 1, "pt": 0, "pl": 0}
    return Step("dwconv", {
        "x": typed(x).reshape(image), "w": factor.reshape(1, c), **sizes, "bias": sign * offset, "act": step.args["act"],
        "act_params": step.args["act_params"], "residual": None, "out": typed(step.args["out"]).reshape(image),
    }, step.node, step.op, "scale and shift of each channel"), [inner]  # fmt: skip


@on(*PADDED)
def padded(step: Step, uses: Uses):
    """zero padding -> convolution: use the convolution's own padding."""
    if not whole(step.args["x"]) or not uses.is_buffer(step.args["x"]):
        return None
    x = step.args["x"]
    made = uses.writers(x)
    if (
        [m.kernel for m in made] != ["fill", "permute"]
        or made[0].args["value"].any()
        or not covers(made[0].args["out"])
    ):
        return None
    source, inside = made[1].args["x"], made[1].args["out"]
    n, high, wide, c = x.shape
    first, past = (v - address(x) for v in byte_bounds(inside))
    image = high * wide * c * x.itemsize
    (top, left, start), last = _place(first, x), _place((past - 1) % image, x)
    h, w = last[0] - top + 1, last[1] - left + 1
    if start or first >= image or n * h * w * c * x.itemsize != inside.size or not whole(source):
        return None  # not an image's interior, or in another order
    pads = {"pt": step.args["pt"] + top, "pl": step.args["pl"] + left}
    reason = f"{step.reason}, Pad fused"
    return step.replace(x=root(source).view(x.dtype).reshape(n, h, w, c), **pads, reason=reason), []


def _place(offset: int, x: np.ndarray) -> tuple[int, int, int]:
    """(row, column, bytes within the pixel) of the byte at `offset` in the first image of `x`, which is [n,h,w,c] and dense."""
    pixel = x.shape[3] * x.itemsize
    return offset // (x.shape[2] * pixel), offset // pixel % x.shape[2], offset % pixel


@on("permute")
def moved(step: Step, uses: Uses):
    """A copy of a copy: the second one reads what the first one reads."""
    x = step.args["x"]
    first = uses.producer(x) if uses.is_buffer(x) and covers(x) else None
    source = copied_from(x, first) if first is not None and first.kernel == "permute" else None
    if source is None or source.shape[-1] > 1 and source.strides[-1] != 1:
        return None
    return step.replace(x=source), []


@on("permute")
def output(step: Step, uses: Uses):
    """A plain copy into a program's output: let the step that makes the data write it there."""
    if not whole(step.args["out"]) or not uses.is_output(step.args["out"]):
        return None
    x = step.args["x"]
    made = uses.producer(x) if whole(x) and uses.is_buffer(x) and uses.only_reader(x) else None
    if made is None or len(made.written) > 1:  # it would move behind the readers of what else it writes
        return None
    name, old = next((n, y) for n, y in made.args.items() if isinstance(y, np.ndarray) and root(y) is root(x))
    others = [y for y in writes(made) if root(y) is not root(x)]
    if not old.flags.c_contiguous or any(uses.readers(y) for y in others):  # `made` moves here, behind those
        return None
    return made.replace(**{name: root(step.args["out"]).view(old.dtype).reshape(old.shape)}), [made]


RULES = [constant, affine, residual, activation, padded, moved]
LAST = [output]
