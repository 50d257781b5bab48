"""Rules for functions of one 8-bit tensor: they become tables, and tables are fused into other kernels."""

from __future__ import annotations

import numpy as np

from ..lower.values import Step
from . import lut as tables
from .dataflow import Uses, covers, dense, on, twin, writes
from .fuse_integer import PRODUCTS, placed, planned, writers

IDENTITY = np.arange(256)


@on("quantize")
def table(step: Step, uses: Uses):
    """dequantize -> elementwise functions -> quantize: one table."""
    if step.args["out"].dtype != np.uint8 or not step.args["x"].size:
        return None
    if not planned(step, uses):
        return None
    x, scale = step.args["x"], step.args["scale"]
    if scale.size > 1 and x.shape[2] != 1:
        return None
    found = tables.of_codes(x, uses)
    if found is None:
        return None
    codes, real = found
    count = max(len(real), scale.size)
    if count > tables.MAX_TABLES or any(len(v) not in (1, count) for v in (real, scale)):
        return None
    entries = tables.quantized(real, scale[:, None], step.args["zero"][:, None], step.args["clamp"].tolist())
    return _lut(step, codes, np.broadcast_to(entries, (count, 256)), step.args["out"], "function of the codes"), []


def _lut(step: Step, codes: np.ndarray, entries: np.ndarray, out: np.ndarray, reason: str) -> Step:
    """The step that looks up the flat `codes` in one table, or in one table per channel of the last axis."""
    entries = np.ascontiguousarray(entries, np.uint8)
    if (entries == entries[0]).all():
        entries = entries[:1]
    shape = (1, -1) if len(entries) == 1 else (-1, len(entries))
    shape = shape if dense(out) else out.shape
    args = {"x": codes.reshape(-1, copy=False).reshape(shape), "table": entries, "out": out.reshape(shape, copy=False)}
    return Step("lut", args, step.node, step.op, reason)


@on("lut")
def epilogue_table(step: Step, uses: Uses):
    """integer products, qbinary or qpool -> lut: a table that only clips becomes limits, any other the epilogue's table."""
    if len(step.args["table"]) != 1 or not dense(step.args["x"]):
        return None
    made = writers(step, uses, step.args["x"])
    if not made or not all(
        p.kernel in (*PRODUCTS, "qbinary", "qpool") and p.args["out"].dtype == np.uint8 for p in made
    ):
        return None
    new = [_with_table(p, step, len(made) == 1) for p in made]
    return None if any(p is None for p in new) else (new, made)


def _with_table(made: Step, step: Step, alone: bool) -> Step | None:
    """`made`, which writes what the lut `step` reads, with the table fused; None if its kernel cannot take the table."""
    x, entries, target = step.args["x"], step.args["table"][0], step.args["out"]
    if dense(target):
        out = twin(made.args["out"], x, target)
    else:
        out = placed(made.args["out"], target) if alone and dense(made.args["out"]) else None
    if out is None:
        return None
    limits = _clipped(made, entries)
    if limits is not None:
        return made.replace(**limits, out=out, reason=f"{made.reason}; {step.op} as limits")
    if made.kernel not in PRODUCTS or made.args["residual"] is not None:
        return None
    entries = entries if made.args["lut"] is None else entries[made.args["lut"]]
    return made.replace(lut=entries, out=out, reason=f"{made.reason}; {step.op} as a table")


def _clipped(made: Step, entries: np.ndarray) -> dict[str, np.ndarray] | None:
    """New limits for `made` if `entries` only clips its possible results; else None."""
    name = {"qbinary": "zero", "qpool": "clamp"}.get(
        made.kernel, "clamp" if made.args.get("residual") is None else "add_zero"
    )
    if name == "clamp" and (made.args.get("lut") is not None or made.args.get("mode") == 0):
        return None
    zero = made.args[name]
    first, last = int(zero[-2]), int(zero[-1])
    low, high = int(entries[first]), int(entries[last])
    if not np.array_equal(entries[first : last + 1], IDENTITY[first : last + 1].clip(low, high)):
        return None
    return {name: np.array([*zero[:-2], low, high], np.int32)}


@on("lut")
def compose(step: Step, uses: Uses):
    """lut -> lut: one lut."""
    if not step.args["x"].size:
        return None
    found = _codes(step.args["x"], uses)
    if found is None or found[0] is step.args["x"]:
        return None
    if not dense(step.args["out"]) and max(len(found[1]), len(step.args["table"])) > 1:
        return None
    return _composed(step, found, uses)


def _composed(step: Step, found, uses: Uses):
    before, entries = found[1], step.args["table"]
    count = max(len(before), len(entries))
    if any(len(v) not in (1, count) for v in (before, entries)) or count > tables.MAX_TABLES:
        return None
    after = np.broadcast_to(entries, (count, 256))
    made = np.take_along_axis(after, np.broadcast_to(before, (count, 256)), 1)
    return _lut(step, found[0], made, step.args["out"], step.reason), []


@on("qbinary")
def self_product(step: Step, uses: Uses):
    """qbinary of two functions of the same codes, or of one and a constant: one table."""
    if not step.args["out"].size or not dense(step.args["out"]):
        return None
    a, b = (_factor(step, name, uses) for name in ("a", "b"))
    if a is None or b is None or (a[0] is None and b[0] is None):
        return None
    if a[0] is not None and b[0] is not None and not tables.same_memory(a[0].reshape(-1), b[0].reshape(-1)):
        return None
    count = max(len(a[1]), len(b[1]))
    if any(len(v[1]) not in (1, count) for v in (a, b)) or count > tables.MAX_TABLES:
        return None
    made = tables.combined(a[1], b[1], step.args["op"], step.args["zero"], step.args["scale"])
    codes = a[0] if a[0] is not None else b[0]
    return _lut(step, codes, np.broadcast_to(made, (count, 256)), step.args["out"], "function of the codes"), []


def _codes(x: np.ndarray, uses: Uses) -> tuple[np.ndarray, np.ndarray] | None:
    """(codes, table[t,256]) with `x` = table[codes], both dense; `x` itself and the identity if no lut made it."""
    if not dense(x):
        return None
    made = uses.producer(x) if covers(x) else None
    if made is None or made.kernel != "lut" or not dense(made.args["x"]) or not dense(made.args["out"]):
        return x, IDENTITY[None]
    return made.args["x"], made.args["table"].astype(int)


def _factor(step: Step, name: str, uses: Uses):
    x = step.args[name]
    if not uses.is_buffer(x):
        constant = tables.last_axis(x)
        return None if constant is None else (None, constant[:, None])
    return _codes(x, uses) if tables.same_strides(x, step.args["out"]) else None


def identity(step: Step, uses: Uses):
    """identity lut -> any step: the step reads the codes instead."""
    if not uses.has("lut"):
        return None
    changed = {}
    outputs = [id(x) for x in writes(step)]
    for name, x in step.args.items():
        if not isinstance(x, np.ndarray) or id(x) in outputs or not uses.is_buffer(x):
            continue
        made = uses.producer(x)
        if made is None or made.kernel != "lut" or not (made.args["table"] == IDENTITY).all():
            continue
        if dense(made.args["x"]) and dense(made.args["out"]) and uses.is_buffer(made.args["x"]):
            changed[name] = twin(x, made.args["out"], made.args["x"])
    return (step.replace(**changed), []) if changed else None


RULES = [table, compose, self_product, identity, epilogue_table]
