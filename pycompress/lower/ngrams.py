"""TfIdfVectorizer of integers: how often each n-gram of a list occurs."""

from __future__ import annotations

import numpy as np

from .context import Lowering
from .emit import cast, pick, to_shape
from .movement import joined
from .node import Node
from .reduction import reduced
from .registry import operator
from .values import Value
from .whole_numbers import AND, EQUAL, GREATER, combined, compared, constant

SUM, ADD, MUL = 0, 0, 2  # of the kernels reduce and binary


@operator("TfIdfVectorizer")
def tf_idf_vectorizer(ctx: Lowering, node: Node) -> Value:
    x, mode = node.input(0), node.string("mode", allowed=("TF", "IDF", "TFIDF"))
    short, long, skips = (node.int(name) for name in ("min_gram_length", "max_gram_length", "max_skip_count"))
    pool, places = np.array(node.ints("pool_int64s", []), np.int64), node.ints("ngram_indexes", minimum=0)
    weights = node.floats("weights", [])
    if not pool.size or x.dtype not in ("i32", "i64") or len(x.shape) not in (1, 2):
        node.refuse(
            f"must list n-grams of integers for an input of one or two dimensions, {x.dtype} {x.shape}", "pool_int64s"
        )
    grams = _grams(node, node.ints("ngram_counts", minimum=0), pool)
    count = sum(map(len, grams))
    if len(places) != count or len(set(places)) != count:
        node.refuse(f"must be another place for each of the {count} n-grams", "ngram_indexes")
    if weights and (len(weights) != count or places != list(range(count))):
        node.refuse("must be one for each n-gram, whose places are in the same order", "weights")
    rows = (1, *x.shape) if len(x.shape) == 1 else x.shape
    tokens = Value(x.dtype, rows, to_shape(ctx, ctx.data(x), rows), x.runtime)
    parts = [
        _counts(ctx, tokens, wanted, skips) if short <= n <= long else _none(rows[0], len(wanted))
        for n, wanted in enumerate(grams, 1)
    ]
    ctx.tensor_bytes((rows[0], max(places) + 1), "f32")
    found = joined(ctx, [*parts, _none(rows[0], 1)], 1)
    if mode == "IDF":
        found = cast(ctx, compared(ctx, found, constant(found, 0), GREATER), "f32")
    columns = np.full(max(places) + 1, count)
    columns[places] = np.arange(count)
    data = pick(ctx, ctx.data(found), 1, columns)
    if weights and mode != "TF":
        data = ctx.binary(data, np.array([weights], np.float32), MUL)
    return ctx.value(to_shape(ctx, data, (*x.shape[:-1], len(columns))))


def _none(rows: int, count: int) -> Value:
    return Value.constant(np.zeros((rows, count), np.float32))


def _grams(node: Node, starts: list[int], pool: np.ndarray) -> list[np.ndarray]:
    """The n-grams of one number, of two ...: [count, length] each."""
    ends = [*starts[1:], len(pool)]
    if any(not a <= b <= len(pool) or (b - a) % n for n, (a, b) in enumerate(zip(starts, ends), 1)):
        node.refuse(f"= {starts} does not fit a pool of {len(pool)} numbers", "ngram_counts")
    return [pool[a:b].reshape(-1, n) for n, (a, b) in enumerate(zip(starts, ends), 1)]


def _counts(ctx: Lowering, tokens: Value, wanted: np.ndarray, skips: int) -> Value:
    """How often each of `wanted` [count, length] occurs in each row of `tokens`, with up to `skips` others between numbers."""
    (rows, size), (count, length) = tokens.shape, wanted.shape
    total = None
    for step in range(1, 2 + (skips if length > 1 else 0)):
        places = size - (length - 1) * step
        if places < 1 or not count:
            break
        ctx.tensor_bytes((rows, places, count), "f32")
        match = None
        for k in range(length):
            part = tokens.data[:, k * step : k * step + places, None]
            same = compared(
                ctx,
                Value(tokens.dtype, part.shape, part, tokens.runtime),
                constant(tokens, wanted[None, None, :, k]),
                EQUAL,
            )
            match = same if match is None else combined(ctx, match, same, AND)
        hits = reduced(ctx, ctx.data(cast(ctx, match, "f32")), [1], SUM)[:, 0]
        total = hits if total is None else ctx.binary(total, hits, ADD)
    return _none(rows, count) if total is None else ctx.value(total)
