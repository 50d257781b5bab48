"""Einsum, two operands at a time: a matrix product where both are float32, else products and sums."""

from __future__ import annotations

import math

import numpy as np

from .context import Lowering
from .emit import to_shape
from .node import Node
from .registry import OPERATORS, operator
from .values import Value

Term = tuple[Value, str]  # a tensor, and a letter for each of its axes


@operator("Einsum")
def einsum(ctx: Lowering, node: Node) -> Value:
    values = [node.input(i) for i in range(len(node.inputs))]
    if len({v.dtype for v in values}) > 1:
        node.refuse(f"works on values of one type, got {', '.join(v.dtype for v in values)}")
    inputs, output = _parsed(node, [len(v.shape) for v in values])
    sizes: dict[str, int] = {}
    for value, letters in zip(values, inputs):
        own: dict[str, int] = {}
        for letter, size in zip(letters, value.shape):
            total = sizes.setdefault(letter, size)
            if own.setdefault(letter, size) != size or 1 not in (total, size) and total != size:
                node.refuse(f"= {node.string('equation')!r}: {letter!r} is {total} and {size} long", "equation")
            sizes[letter] = size if total == 1 else total
    terms = [_diagonal(Value(v.dtype, v.shape, ctx.data(v), v.runtime), letters) for v, letters in zip(values, inputs)]
    terms = [_without_ones(term, sizes) for term in terms]
    total, letters = terms[0]
    for i, (value, its) in enumerate(terms[1:], 1):
        needed = set(output).union(*inputs[i + 1 :])
        total, letters = _contracted(ctx, node, (total, letters), (value, its), needed)
    total, letters = _summed(ctx, node, (total, letters), set(output))
    data = total.data.transpose([letters.index(c) for c in output])
    return Value(total.dtype, data.shape, data, total.runtime)


def _parsed(node: Node, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of each input and of the output; those of an ellipsis are digits, counted from the end."""
    text = node.string("equation").replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    plain = "".join(parts) + right
    if len(parts) != len(ranks) or any(not (c.isascii() and c.isalpha() or c == ".") for c in plain):
        node.refuse(f"= {text!r} does not fit {len(ranks)} inputs", "equation")
    dots = [r - len(p.replace("...", "")) for p, r in zip(parts, ranks)]
    full = [p.replace("...", "0123456789"[10 - d :]) if "..." in p else p for p, d in zip(parts, dots)]
    if any(d < 0 or d > 8 or ("..." not in p and d) for p, d in zip(parts, dots)) or any("." in p for p in full):
        node.refuse(f"= {text!r} does not fit inputs of {ranks} dimensions", "equation")
    most = "0123456789"[10 - max((d for p, d in zip(parts, dots) if "..." in p), default=0) :]
    counted = "".join(full)
    output = (
        right.replace("...", most)
        if arrow
        else most + "".join(sorted(c for c in set(counted) - set(most) if counted.count(c) == 1))
    )
    if len(set(output)) != len(output) or set(output) - set(counted):
        node.refuse(f"= {text!r}: its output is not valid", "equation")
    return full, output


def _diagonal(value: Value, letters: str) -> Term:
    """Repeated letters once: the diagonal of their axes."""
    own = "".join(dict.fromkeys(letters))
    if own == letters:
        return value, letters
    names = {c: chr(ord("a") + i) for i, c in enumerate(own)}
    data = np.einsum(f"{''.join(names[c] for c in letters)}->{''.join(names[c] for c in own)}", value.data)  # a view
    return Value(value.dtype, data.shape, data, value.runtime), own


def _without_ones(term: Term, sizes: dict[str, int]) -> Term:
    """A term without axes of extent 1 that another operand makes longer: they broadcast."""
    value, letters = term
    ones = tuple(i for i, c in enumerate(letters) if value.shape[i] != sizes[c])
    data = value.data.squeeze(ones)
    return Value(value.dtype, data.shape, data, value.runtime), "".join(
        c for i, c in enumerate(letters) if i not in ones
    )


def _summed(ctx: Lowering, node: Node, term: Term, needed: set[str]) -> Term:
    """A term without the letters that nothing else needs."""
    value, letters = term
    gone = [i for i, c in enumerate(letters) if c not in needed]
    if not gone:
        return term
    axes = Value.constant(np.array(gone, np.int64))
    out = OPERATORS["", "ReduceSum"](ctx, _without(node, "ReduceSum", [value, axes]))
    data = np.squeeze(ctx.data(out), tuple(gone))
    return Value(out.dtype, data.shape, data, out.runtime), "".join(c for c in letters if c in needed)


def _without(node: Node, op: str, inputs: list[Value | None]) -> Node:
    return node.become(op, inputs, 18, without=("equation",))


def _contracted(ctx: Lowering, node: Node, a: Term, b: Term, needed: set[str]) -> Term:
    """The product of two terms, summed over the letters that nothing else needs."""
    a, b = _summed(ctx, node, a, needed | set(b[1])), _summed(ctx, node, b, needed | set(a[1]))
    shared = [c for c in a[1] if c in b[1]]
    batch, inner = [c for c in shared if c in needed], [c for c in shared if c not in needed]
    left, right = ([c for c in t[1] if c not in shared] for t in (a, b))
    if not inner or a[0].dtype != "f32":
        letters = "".join((*batch, *left, *right, *inner))
        views = [_spread(t, letters) for t in (a, b)]
        product = OPERATORS["", "Mul"](ctx, _without(node, "Mul", views))
        return _summed(ctx, node, (product, letters), needed)
    sizes = dict(zip(a[1] + b[1], a[0].shape + b[0].shape))
    count = [math.prod(sizes[c] for c in group) for group in (batch, left, inner, right)]
    x = _matrix(ctx, a, (batch, left, inner), (count[0], count[1], count[2]))
    w = _matrix(ctx, b, (batch, inner, right), (count[0], count[2], count[3]))
    out = OPERATORS["", "MatMul"](ctx, _without(node, "MatMul", [x, w]))
    shape = [sizes[c] for c in (*batch, *left, *right)]
    data = to_shape(ctx, ctx.data(out), shape)
    return Value("f32", data.shape, data, out.runtime), "".join((*batch, *left, *right))


def _spread(term: Term, letters: str) -> Value:
    """A term with an axis for each of `letters`, of extent 1 where it has none."""
    value, own = term
    data = value.data.transpose([own.index(c) for c in letters if c in own])
    data = np.expand_dims(data, tuple(i for i, c in enumerate(letters) if c not in own))
    return Value(value.dtype, data.shape, data, value.runtime)


def _matrix(ctx: Lowering, term: Term, groups, shape) -> Value:
    value, own = term
    data = to_shape(ctx, value.data.transpose([own.index(c) for group in groups for c in group]), shape)
    return Value("f32", data.shape, data, value.runtime)
