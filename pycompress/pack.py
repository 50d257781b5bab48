"""Packs weights into the kernels' panels, after all passes; equal weights are packed once."""

from __future__ import annotations

import hashlib
from dataclasses import fields
from inspect import signature
from itertools import count

import numpy as np

from .kernels import module, spec
from .lower.values import Program, Step
from .weights import Q4, Q8, Dense, Facts, Half

IDENTITY = "by identity"  # in the cache: large weights are not compared, which takes as long as packing them
_numbers = count()  # of weights that are not compared


def pack(program: Program, cache: dict) -> None:
    """Replace every unpacked weight in `program` by the arrays its kernel reads.

    `cache` keeps packed weights by content: plans of one model for several shapes share them.
    """
    program.steps = [_packed(step, cache) for step in program.steps]


def _packed(step: Step, cache: dict) -> Step:
    exact = {n: step.args.get(n) for n in ("scale", "ascale", "bias")}
    exact = {n: x for n, x in exact.items() if isinstance(x, np.ndarray) and x.dtype == np.float64}
    step = step.replace(**{n: _single(x) for n, x in exact.items()})  # so that fusing rounded only once
    for slot, kernel in spec(step.kernel).traits.weights.items():
        step = _slot_packed(step, slot, kernel, cache)
    return step


def _slot_packed(step: Step, slot: str, kernel: str, cache: dict) -> Step:
    """`step` with the weights of one slot packed as `kernel` packs them; weights computed at run time stay as they are."""
    weights = step.args[slot]
    if isinstance(weights, Dense):
        m = step.args["a"].shape[0] if _depends_on_rows(kernel) else 0
        kind = f"{kernel}, few rows" if 0 < m <= module(kernel).FEW else kernel
        packed = _once(cache, kind, weights, lambda w: pack_for(kernel, w, m))
    elif isinstance(weights, Half):
        kind = f"{kernel}, {weights.w.dtype.name}"
        packed = _once(cache, kind, weights, lambda bits: module(kernel).pack(bits.view(weights.w.dtype)))
    elif isinstance(weights, Q8):
        packed = _once(cache, kernel, weights, module(kernel).pack)
    elif isinstance(weights, Q4):
        grid = hashlib.blake2b(np.stack([weights.scale, weights.zero]), digest_size=16).hexdigest()
        kind = f"{kernel}, groups of {weights.group}, {grid}"
        packed = _once(cache, kind, weights, lambda _: module(kernel).pack(weights))
    else:
        return step
    depth = _depth(kernel, packed.T) if not isinstance(packed, np.ndarray) and hasattr(packed, "T") else ""
    reason = "; ".join(filter(None, (step.reason, depth)))
    return step.replace(**given(packed, step.args, slot), reason=reason)


def _single(x: np.ndarray) -> np.ndarray:
    """`x` in float32; a repeated number stays one number in memory."""
    return np.broadcast_to(x[:1].astype(np.float32), x.shape) if x.strides == (0,) else x.astype(np.float32)


def pack_for(kernel: str, w: np.ndarray, m: int):
    """Weights [n,k] packed as `kernel` reads them for m rows."""
    return module(kernel).pack(w, m=m) if _depends_on_rows(kernel) else module(kernel).pack(w)


def _depends_on_rows(kernel: str) -> bool:
    return "m" in signature(module(kernel).pack).parameters


def given(packed, names, slot: str = "w") -> dict[str, np.ndarray]:
    """The packed weights of `slot` by argument name; `names` are all arguments of the kernel."""
    if isinstance(packed, np.ndarray):
        return {slot: packed}
    return {f.name: getattr(packed, f.name) for f in fields(packed) if f.name in names}


def _depth(kernel: str, T: np.ndarray) -> str:
    """The accumulation depths `T` of the panels in words, for CPUs that add products in int16."""
    unit, parts = spec(kernel).traits.accumulation
    slow = "widened" if unit == "pair" else "split or widened"
    depths = sorted({int(t) for t in T if t})
    if not depths:
        return f"full range: {slow}" if len(T) else ""
    reach = f"{depths[0]} to {depths[-1]}" if len(depths) > 1 else str(depths[0])
    text = f"accumulation depth of {reach} {unit}{'s' * (depths[-1] > 1)}"
    lacking = int((T == 0).sum())
    return f"{text}, {lacking} of {len(T)} {parts} {slow}" if lacking else text


def _hash(x: np.ndarray) -> bytes:
    return hashlib.blake2b(x, digest_size=16).digest()


def _once(cache: dict, kind: str, weights: Dense | Half | Q8 | Q4, function):
    """`function` of the weights as w[n,k] (integers in their own shape), computed once for equal weights.

    Or, with `cache` saying so by `IDENTITY`, once for the same array, without looking for others that are equal.
    """

    def digest() -> tuple:
        w = weights.w if isinstance(weights, (Q8, Q4)) else weights.w.reshape(len(weights.w), -1)
        w = w.view(np.uint16) if isinstance(weights, Half) else w
        lazy = w.strides[0] == 0  # one row, repeated
        alone = cache.get(IDENTITY) and w.nbytes >= Facts.LARGE
        content = next(_numbers) if alone else _hash(np.ascontiguousarray(w[:1] if lazy else w))
        key = (kind, w.shape, w.strides if lazy else None, w.dtype.name, content)
        if key not in cache:
            cache[key] = function(w)
        return key

    return cache[cache.setdefault("facts", Facts()).of(kind, weights, digest)]
