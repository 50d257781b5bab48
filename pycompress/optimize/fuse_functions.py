"""Rules that find functions of one tensor which a model writes as several operators."""

from __future__ import annotations

import numpy as np

from ..lower.context import ACT
from ..lower.values import Step, root
from .dataflow import Uses, on
from .fuse_float import ADD, DIV, MUL, row_of, sole, typed, whole

ERF, GELU = 18, 19  # of the kernel unary


@on("binary")
def decomposed(step: Step, uses: Uses):
    """x * sigmoid(x), x * hardsigmoid(x), and x * clip(x + 3, 0, 6) / 6 in any order, as exporters write them."""
    if step.args["op"] not in (MUL, DIV) or step.args["act"] or not whole(step.args["out"]):
        return None
    a, b = step.args["a"], step.args["b"]
    found = None
    if uses.is_buffer(a) and uses.is_buffer(b):
        found = _gated(step, uses, a, b) or _gated(step, uses, b, a)
    else:  # x * clip(x + 3, 0, 6), then / 6
        a, b = (a, b) if uses.is_buffer(a) else (b, a)
        product = sole(step, uses, a, ("binary",))
        if _is_sixth(step, b) and product is not None and product.args["op"] == MUL and not product.args["act"]:
            left, right = product.args["a"], product.args["b"]
            gone = _relu6_gate(product, uses, left, right) or _relu6_gate(product, uses, right, left)
            if gone:
                x = left if gone[1] is left else right
                found = ("hardswish", x, [product, *gone[0]])
    if not found:
        return None
    name, x, gone = found
    args = {
        "x": typed(x).reshape(1, -1), "op": ACT[name], "params": np.zeros(2, np.float32),
        "out": typed(step.args["out"]).reshape(1, -1),
    }  # fmt: skip
    return Step("unary", args, step.node, name, "decomposed in the model"), gone


def _gated(step: Step, uses: Uses, x, gate):
    """(activation, x, steps that it replaces) if `step` is x * gate and `gate` is a known function of `x`; else None."""
    made = sole(step, uses, gate, ("unary", "binary"))
    if made is None or step.args["op"] != MUL or not whole(x):
        return None
    if made.kernel == "unary":
        if root(made.args["x"]) is not root(x) or not whole(made.args["x"]):
            return None
        op, p = made.args["op"], made.args["params"]
        if op == ACT["sigmoid"]:
            return "silu", x, [made]
        if op == ACT["hardsigmoid"] and np.allclose(p, (1 / 6, 0.5), rtol=1e-6):
            return "hardswish", x, [made]
        return None
    inner, b = made.args["a"], made.args["b"]
    if uses.is_buffer(inner) and not uses.is_buffer(b) and _is_sixth(made, b):
        gone = _relu6_gate(made, uses, inner, x)
        return ("hardswish", x, [made, *gone[0]]) if gone else None
    return None


def _is_sixth(step: Step, constant) -> bool:
    """Whether `step` divides by 6 or multiplies by 1/6 everywhere."""
    wanted = {DIV: 6, MUL: 1 / 6}.get(step.args["op"])
    value = row_of(constant) if wanted is not None else None
    return value is not None and bool((np.abs(value.astype(np.float64) - wanted) <= 1e-6 * wanted).all())


def _relu6_gate(step: Step, uses: Uses, gate, x):
    """(steps that it replaces, x) if `gate` is clip(x + 3, 0, 6) and only `step` reads it; else None."""
    clip = sole(step, uses, gate, ("unary", "binary"))
    if clip is None or not whole(x):
        return None
    gone = [clip]
    if clip.kernel == "unary":
        op, p = clip.args["op"], clip.args["params"]
        plus = sole(clip, uses, clip.args["x"], ("binary",))
        gone.append(plus)
    else:
        op, p, plus = clip.args["act"], clip.args["act_params"], clip
    if plus is None or op != ACT["clip"] or not np.array_equal(p, (0, 6)) or plus.args["op"] != ADD:
        return None
    a, b = (plus.args["a"], plus.args["b"]) if uses.is_buffer(plus.args["a"]) else (plus.args["b"], plus.args["a"])
    if uses.is_buffer(b) or root(a) is not root(x) or not whole(a):
        return None
    offset = row_of(b)
    return (gone, x) if offset is not None and (offset == 3).all() else None


@on("binary")
def gelu(step: Step, uses: Uses):
    """x (1 + erf(x / sqrt(2))) / 2, whichever factors come first: one function."""
    if step.args["op"] != MUL or step.args["act"] or not whole(step.args["out"]):
        return None
    leaves, gone = _factors(step, uses)
    constants = [row_of(v) for _, v in leaves if not uses.is_buffer(v)]
    gates = [(v, found) for m, v in leaves if uses.is_buffer(v) and (found := _erf_gate(m, uses, v))]
    if (
        len(leaves) != 3
        or len(constants) != 1
        or len(gates) != 1
        or constants[0] is None
        or (constants[0] != 0.5).any()
    ):
        return None
    gate, (source, inside) = gates[0]
    x = next(v for _, v in leaves if uses.is_buffer(v) and v is not gate)
    if root(source) is not root(x) or not whole(x):
        return None
    args = {
        "x": typed(x).reshape(1, -1), "op": GELU, "params": np.zeros(2, np.float32),
        "out": typed(step.args["out"]).reshape(1, -1),
    }  # fmt: skip
    return Step("unary", args, step.node, "Gelu", "decomposed in the model"), [*gone, *inside]


def _factors(step: Step, uses: Uses, inner: bool = False):
    """([(step that reads it, factor)], products that it replaces): of a product, one factor of which may be a product."""
    leaves, gone = [], []
    for x in (step.args["a"], step.args["b"]):
        made = None if inner or not uses.is_buffer(x) else sole(step, uses, x, ("binary",))
        if made is not None and made.args["op"] == MUL and not made.args["act"]:
            leaves += _factors(made, uses, inner=True)[0]
            gone.append(made)
        else:
            leaves.append((step, x))
    return leaves, gone


def _erf_gate(step: Step, uses: Uses, gate):
    """(x, steps that it replaces) if `gate` is 1 + erf(x / sqrt(2)) and only `step` reads it; else None."""
    plus = sole(step, uses, gate, ("binary",))
    if plus is None or plus.args["op"] != ADD or plus.args["act"]:
        return None
    a, b = (plus.args["a"], plus.args["b"]) if uses.is_buffer(plus.args["a"]) else (plus.args["b"], plus.args["a"])
    one = None if uses.is_buffer(b) else row_of(b)
    erf = sole(plus, uses, a, ("unary",))
    if one is None or (one != 1).any() or erf is None or erf.args["op"] != ERF:
        return None
    scaled = sole(erf, uses, erf.args["x"], ("binary",))
    if scaled is None or scaled.args["op"] not in (MUL, DIV) or scaled.args["act"]:
        return None
    x, factor = scaled.args["a"], scaled.args["b"]
    if scaled.args["op"] == MUL and not uses.is_buffer(x):
        x, factor = factor, x
    value = None if uses.is_buffer(factor) or not uses.is_buffer(x) else row_of(factor)
    wanted = np.sqrt(2 if scaled.args["op"] == DIV else 0.5)
    if value is None or not whole(x) or (np.abs(value.astype(np.float64) - wanted) > 1e-6).any():
        return None
    return x, [plus, erf, scaled]


RULES = [decomposed, gelu]
