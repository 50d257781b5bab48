"""Rules that keep quantized tensors in integers from one kernel to the next.

A product and its QuantizeLinear round once, and so do an average or a sum and its QuantizeLinear. Every other rounding
of the model is kept.
"""

from __future__ import annotations

import numpy as np

from ..kernels import having, spec
from ..lower.context import ACT, NO_PARAMS, reshaped
from ..lower.values import Buffer, Step, root
from . import lut as tables
from .dataflow import Uses, covers, dense, on, twin, writes

PRODUCTS = having(lambda spec: spec.traits.sums == "integer")
SPREAD = having(lambda spec: spec.spreads)
ADD, SUB, MUL = range(3)  # op of binary


def per_tensor(step: Step | None, kernel: str, uses: Uses) -> bool:
    """Whether `step` is a quantize or dequantize step from or to uint8 with one scale, a constant."""
    if step is None or step.kernel != kernel or step.args["scale"].size != 1 or not planned(step, uses):
        return False
    return step.args["out" if kernel == "quantize" else "x"].dtype == np.uint8 and bool(step.args["scale"].all())


def planned(step: Step, uses: Uses) -> bool:
    """Whether the scale and zero point of `step` are constants."""
    return not (uses.is_buffer(step.args["scale"]) or uses.is_buffer(step.args["zero"]))


def writers(step: Step, uses: Uses, x: np.ndarray) -> list[Step]:
    """The steps that together write the buffer of `x`, if `x` is all of it and only `step` reads it; else none."""
    if not uses.is_buffer(x) or uses.is_output(x) or not covers(x) or not x.size or not uses.only_reader(x):
        return []
    made = uses.writers(x)
    return made if sum(w.nbytes for s in made for w in writes(s) if root(w) is root(x)) == x.nbytes else []


def sole(step: Step, uses: Uses, x: np.ndarray, kernels: tuple[str, ...]) -> Step | None:
    """The only step that writes `x`, if it runs one of the `kernels` and only `step` reads `x`; else None."""
    made = writers(step, uses, x)
    return made[0] if len(made) == 1 and made[0].kernel in kernels and dense(made[0].args["out"]) else None


def _f32(x) -> np.ndarray:
    return np.asarray(x, np.float64).astype(np.float32).reshape(-1)


def _limits(quantize: Step, act: int, params) -> np.ndarray:
    """The zero point and limits of `quantize` after a clip as activation: both are monotone, so limits of codes suffice."""
    zero, (low, high) = int(quantize.args["zero"][0]), quantize.args["clamp"].tolist()
    if act != ACT["none"]:
        bounds = (0, np.inf) if act == ACT["relu"] else params
        scale = quantize.args["scale"]
        first, last = (int(tables.quantized(_f32(b), scale, zero, (low, high))[0]) for b in bounds)
        low, high = min(first, last), last
    return np.array([zero, low, high], np.int32)


@on("quantize")
def clip(step: Step, uses: Uses):
    """unary (relu, clip) -> quantize: the bounds become limits of the codes."""
    if not per_tensor(step, "quantize", uses):
        return None
    made = uses.producer(step.args["x"])
    if made is None or made.kernel != "unary" or made.args["op"] not in (ACT["relu"], ACT["clip"]):
        return None
    x = made.args["x"]
    if not (covers(step.args["x"]) and dense(x) and uses.is_buffer(x)):
        return None
    clamp = _limits(step, made.args["op"], made.args["params"])[1:]
    return step.replace(x=x.reshape(step.args["x"].shape), clamp=clamp, reason=f"{made.op}; {step.reason}"), []


@on("quantize")
def product(step: Step, uses: Uses):
    """integer product -> quantize: uint8 output."""
    if not per_tensor(step, "quantize", uses):
        return None
    made = writers(step, uses, step.args["x"])
    if not made or not dense(step.args["x"]) or not all(_requantizable(p, uses) for p in made):
        return None
    new = []
    for p in made:
        scales = _in_steps(p, np.float64(step.args["scale"][0]))
        if scales is None:
            return None
        clamp = _limits(step, p.args["act"], p.args["act_params"])
        out = twin(p.args["out"], step.args["x"], step.args["out"])
        new.append(p.replace(
            **scales, clamp=clamp, act=0, act_params=NO_PARAMS, out=out, reason=f"{p.reason}; to uint8"
        ))  # fmt: skip
    return new, made


def _in_steps(step: Step, size: np.float64) -> dict[str, np.ndarray | None] | None:
    """The arguments that make a product's results multiples of `size`; None if they overflow float32."""
    given = {n: step.args[n] for n in spec(step.kernel).traits.units if step.args[n] is not None}
    made = {
        n: np.broadcast_to(_f32(x[:1] / size), x.shape) if x.strides == (0,) else _f32(x / size)
        for n, x in given.items()
    }
    return made if all(np.isfinite(x).all() for x in made.values()) else None


def _requantizable(step: Step, uses: Uses) -> bool:
    return (
        step.kernel in PRODUCTS
        and step.args["out"].dtype == np.float32
        and step.args["act"] in (ACT["none"], ACT["relu"], ACT["clip"])
        and not uses.is_buffer(step.args[spec(step.kernel).traits.units[0]])
    )


def _of_dequantize(x: np.ndarray, uses: Uses):
    """(codes, scale, zero) of the dequantized tensor `x`, a buffer or a constant; None if `x` is no dequantized tensor."""
    constant = uses.program.coded.get(id(root(x)))
    if constant is not None and dense(constant.real):
        return twin(x, constant.real, constant.codes), np.float64(constant.scale), constant.zero
    made = uses.producer(x) if uses.is_buffer(x) else None
    if not per_tensor(made, "dequantize", uses):
        return None
    codes = twin(x, made.args["out"], made.args["x"])
    return codes, np.float64(made.args["scale"][0]), int(made.args["zero"][0])


@on("quantize")
def elementwise(step: Step, uses: Uses):
    """dequantize, dequantize -> add, sub or mul -> quantize: qbinary."""
    if not per_tensor(step, "quantize", uses):
        return None
    made = sole(step, uses, step.args["x"], ("binary",))
    if made is None or made.args["op"] > MUL or made.args["act"] not in (ACT["none"], ACT["relu"], ACT["clip"]):
        return None
    a, b = (_of_dequantize(made.args[name], uses) for name in ("a", "b"))
    if a is None or b is None:
        return None
    clamp = _limits(step, made.args["act"], made.args["act_params"])
    scale = np.float64(step.args["scale"][0])
    if made.args["op"] == MUL:
        scales = _f32([a[1] * b[1] / scale, 0])
    else:
        scales = _f32([a[1] / scale, (b[1] if made.args["op"] == ADD else -b[1]) / scale])
    if not np.isfinite(scales).all():
        return None
    out = twin(made.args["out"], step.args["x"], step.args["out"])
    args = {
        "a": a[0], "b": b[0], "op": int(made.args["op"] == MUL), "zero": np.array([a[2], b[2], *clamp], np.int32),
        "scale": scales, "out": out,
    }  # fmt: skip
    return Step("qbinary", args, made.node, made.op, "on codes"), [made]


@on("quantize")
def pool(step: Step, uses: Uses):
    """dequantize -> average -> quantize: qpool."""
    if not per_tensor(step, "quantize", uses):
        return None
    made = sole(step, uses, step.args["x"], ("pool", "reduce"))
    if made is None or (made.args["mode"] != 1 and (made.kernel, made.args["mode"]) != ("pool", 2)):
        return None
    given = _of_dequantize(made.args["x"], uses)
    if given is None:
        return None
    codes, scale, zero = given
    out = twin(made.args["out"], step.args["x"], step.args["out"])
    if made.kernel == "reduce":
        codes, out = codes[:, :, None], out[:, None, None]
        window = {"kh": codes.shape[1], "kw": 1, "sh": 1, "sw": 1, "dh": 1, "dw": 1, "pt": 0, "pl": 0, "pb": 0, "pr": 0}
        if not codes.shape[1]:
            return None
    else:
        window = {k: made.args[k] for k in ("kh", "kw", "sh", "sw", "dh", "dw", "pt", "pl", "pb", "pr")}
    factor = _f32(scale / np.float64(step.args["scale"][0]))
    if not np.isfinite(factor).all():
        return None
    args = {"x": codes, "mode": made.args["mode"], **window, "xzp": np.array([zero], np.int32), "scale": factor,
            "clamp": _limits(step, ACT["none"], None), "out": out}  # fmt: skip
    return Step("qpool", args, made.node, made.op, "average of codes"), [made]


@on("quantize")
def max_pool(step: Step, uses: Uses):
    """max pool -> quantize: quantize first, then pool codes. Rounding keeps the order, so results are the same."""
    if not per_tensor(step, "quantize", uses):
        return None
    made = sole(step, uses, step.args["x"], ("pool",))
    if made is None or made.args["mode"] != 0:
        return None
    x, a = made.args["x"], made.args
    inside = (
        a["pt"] < a["kh"] and a["pb"] < a["kh"] and a["pl"] < a["kw"] and a["pr"] < a["kw"] and a["dh"] == a["dw"] == 1
    )
    if not inside or not dense(x) or not writers(made, uses, x):
        return None
    codes = Buffer(np.zeros(x.size, np.uint8))
    uses.program.buffers[id(codes.array)] = codes
    first = step.replace(x=x.reshape(1, 1, -1), out=codes.array.reshape(1, 1, -1))
    second = made.replace(
        "qpool", x=codes.array.reshape(x.shape), xzp=np.zeros(1, np.int32), scale=np.ones(1, np.float32),
        clamp=np.array([0, 0, 255], np.int32), out=twin(a["out"], step.args["x"], step.args["out"]),
    )  # fmt: skip
    return [first, second], [made]


@on("binary")
def scaled(step: Step, uses: Uses):
    """integer product -> cast -> * scale per channel (dynamic quantization): the product writes float32."""
    if not uses.has("cast") or step.args["op"] != MUL or not step.args["out"].size or not dense(step.args["out"]):
        return None
    for own, other in (("a", "b"), ("b", "a")):
        x, factor = step.args[own], tables.last_axis(step.args[other])
        convert = sole(step, uses, x, ("cast",)) if dense(x) else None
        if convert is None or factor is None or convert.args["x"].dtype != np.int32:
            continue
        made = sole(convert, uses, convert.args["x"], PRODUCTS)
        if made is None or factor.size not in (1, made.args["out"].shape[-1]):
            continue
        before, factor = _row(step, uses, factor, made.args["out"].shape[-1])
        out = twin(twin(made.args["out"], convert.args["x"], convert.args["out"]), x, step.args["out"])
        act = {"act": step.args["act"], "act_params": step.args["act_params"]}
        new = made.replace(scale=factor, **act, out=out, reason=f"{made.reason}; scaled")
        return [*before, new], [convert, made]
    return None


def _row(step: Step, uses: Uses, x: np.ndarray, count: int) -> tuple[list[Step], np.ndarray]:
    """(steps that compute it, `x` repeated to a dense row of `count` numbers)."""
    if not uses.is_buffer(x):
        return [], np.ascontiguousarray(np.broadcast_to(x, count))
    if x.size == count:
        return [], x
    buffer = Buffer(np.zeros(count, np.float32))
    uses.program.buffers[id(buffer.array)] = buffer
    wide = np.broadcast_to(x[:, None].view(np.uint8), (*[1] * 5, count, 4))
    args = {"x": wide, "out": buffer.array[:, None].view(np.uint8).reshape(*[1] * 5, count, 4)}
    return [Step("permute", args, step.node, step.op, "one scale for all columns")], buffer.array


@on("qbinary")
def residual(step: Step, uses: Uses):
    """integer product -> qbinary add: fuse the add into the product's epilogue; both roundings are kept."""
    if step.args["op"] != 0 or not dense(step.args["out"]):
        return None
    zero, scale = step.args["zero"], step.args["scale"]
    for own, summand, i in (("a", "b", 0), ("b", "a", 1)):
        x, other = step.args[own], step.args[summand]
        made = sole(step, uses, x, PRODUCTS)
        if made is None or made.args["out"].dtype != np.uint8 or made.args["residual"] is not None or not dense(x):
            continue
        if not tables.same_strides(other, step.args["out"]) or not dense(other) or root(other) is root(x):
            continue
        out = twin(made.args["out"], x, step.args["out"])
        rows = other.reshape(-1, copy=False).reshape(-1, out.shape[-1])
        new = made.replace(
            residual=rows, add_scale=scale[[i, 1 - i]], add_zero=zero[[i, 1 - i, 2, 3, 4]], out=out,
            reason=f"{made.reason}; added to {step.node}",
        )  # fmt: skip
        return new, [made]
    return None


def placed(out: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """`target`, which is dense or rows of a wider array, in the shape of the dense `out`; None if it is neither."""
    width = out.shape[-1]
    rows, like = reshaped(target, (-1, width)), reshaped(target, out.shape)
    if rows is None or like is None or (width > 1 and rows.strides[1] != rows.itemsize):
        return None
    return like


@on("permute")
def copied(step: Step, uses: Uses):
    """kernel -> copy into rows of a wider array (Concat): the kernel writes its result there."""
    if not dense(step.args["x"]):
        return None
    made = sole(step, uses, step.args["x"], SPREAD)
    if made is None or step.args["out"].shape[-1] % made.args["out"].itemsize:
        return None
    target = step.args["out"].view(made.args["out"].dtype)
    reason = f"{made.reason}; in place for {step.op}"
    if made.kernel not in ("lut", "unary"):
        out = placed(made.args["out"], target)
        return None if out is None else (made.replace(out=out, reason=reason), [made])
    x, rows = made.args["x"], reshaped(target, (-1, target.shape[-1]))
    if rows is None or not dense(x) or (x.shape != rows.shape and len(made.args.get("table", "1")) > 1):
        return None
    return made.replace(x=x.reshape(rows.shape), out=rows, reason=reason), [made]


RULES = [clip, scaled, max_pool, product, elementwise, pool, residual]
LAST = [copied]
