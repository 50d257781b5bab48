"""Det, of small matrices."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .node import Node
from .registry import operator
from .values import Value

ADD, SUB, MUL = range(3)  # of the kernel binary
LARGEST = 4  # matrices whose determinant is the sum of its products


@operator("Det")
def det(ctx: Lowering, node: Node) -> Value:
    x = ctx.f32(node.input(0))
    n = x.shape[-1] if x.ndim > 1 else 0
    if not 0 < n <= LARGEST or x.shape[-2] != n:
        node.refuse(f"works on square matrices of at most {LARGEST} rows, got shape {x.shape}")
    return ctx.value(_det(ctx, x, list(range(n))))


def _det(ctx: Lowering, x: np.ndarray, columns: list[int]) -> np.ndarray:
    """The determinants of the last rows of `x` [..., n, n], as many as there are `columns`, by the first of these rows."""
    row = x[..., x.shape[-1] - len(columns), :]
    if len(columns) == 1:
        return row[..., columns[0]]
    total = None
    for i, column in enumerate(columns):
        part = ctx.binary(row[..., column], _det(ctx, x, columns[:i] + columns[i + 1 :]), MUL)
        total = part if total is None else ctx.binary(total, part, SUB if i % 2 else ADD)
    return total
