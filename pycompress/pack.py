"""Weights into the kernels' panels, last of all; equal weights are packed once."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np

from .kernels import module
from .lower.values import Program, Step
from .weights import Q4, Q8, Dense, Half


def pack(program: Program, cache: dict) -> None:
    """Replace every unpacked weight in `program` by the arrays its kernel reads.

    `cache` keeps packed weights by content: plans of one model for several shapes share them.
    """
    program.steps = [_packed(step, cache) for step in program.steps]


def _packed(step: Step, cache: dict) -> Step:
    exact = {n: step.args.get(n) for n in ("scale", "ascale", "bias")}
    exact = {n: x for n, x in exact.items() if isinstance(x, np.ndarray) and x.dtype == np.float64}
    step = step.replace(**{n: _single(x) for n, x in exact.items()})  # so that fusing rounded only once
    weights = step.args.get("w")
    if step.kernel == "lowrank":
        factors = {name: step.args[name].w for name in "uv"}
        return step.replace(**{name: _once(cache, "sgemm", w, module("sgemm").pack) for name, w in factors.items()})
    if step.kernel == "qlowrank":
        step = step.replace(v=_once(cache, "qlowrank", step.args["v"].w, module("qlowrank").pack))
    if isinstance(weights, Dense):
        w = weights.w.reshape(weights.w.shape[0], -1) if weights.w.ndim > 2 else weights.w
        kernel = "sgemm" if step.kernel == "sconv" else step.kernel  # the same panels
        m = step.args["a"].shape[0] if kernel == "spmm" else 0
        kind = f"{kernel}, few rows" if 0 < m <= module("spmm").FEW else kernel
        return step.replace(**given(_once(cache, kind, w, lambda w: pack_for(kernel, w, m)), step.args))
    if isinstance(weights, Half):
        w = weights.w.reshape(weights.w.shape[0], -1)
        packed = _once(cache, f"hgemm, {w.dtype.name}", w.view(np.uint16), lambda bits: bits_packed(bits, w.dtype))
        return step.replace(w=packed)
    if isinstance(weights, Q8):
        kernel = "qgemm" if step.kernel == "qlowrank" else step.kernel  # the same panels
        packed = _once(cache, kernel, weights.w, module(kernel).pack)
        form = _form(step.kernel, packed.T) if hasattr(packed, "T") else ""
        return step.replace(**given(packed, step.args), reason="; ".join(filter(None, (step.reason, form))))
    if isinstance(weights, Q4):
        grid = hashlib.blake2b(np.stack([weights.scale, weights.zero]), digest_size=16).hexdigest()
        kind = f"{step.kernel}, groups of {weights.group}, {grid}"
        packed = _once(cache, kind, weights.w, lambda _: module(step.kernel).pack(weights))
        return step.replace(**given(packed, step.args))
    return step


def _single(x: np.ndarray) -> np.ndarray:
    """`x` in float32, repeated without memory where it is."""
    return np.broadcast_to(x[:1].astype(np.float32), x.shape) if x.strides == (0,) else x.astype(np.float32)


def pack_for(kernel: str, w: np.ndarray, m: int):
    """Weights [n,k] as `kernel` reads them where they meet m rows."""
    pack = module(kernel).pack
    return pack(w, m=m) if kernel == "spmm" else pack(w)  # whose slices are for many rows


def bits_packed(bits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The panels of weights [n,k] of 16 bits, which are `dtype`."""
    return module("hgemm").pack(bits.view(dtype))


def given(packed, names) -> dict[str, np.ndarray]:
    """What of packed weights are arguments, `names` being all arguments of the kernel."""
    if isinstance(packed, np.ndarray):
        return {"w": packed}
    return {f.name: getattr(packed, f.name) for f in fields(packed) if f.name in names}


def _form(kernel: str, T: np.ndarray) -> str:
    """What the weights let the kernel do on CPUs that add products in int16: `T` is proven for each of its panels."""
    unit, parts = ("pair", "groups") if kernel == "qdwconv" else ("step", "panels")
    slow = "widened" if kernel == "qdwconv" else "split or widened"
    proven = sorted({int(t) for t in T if t})
    if not proven:
        return f"full range: {slow}" if len(T) else ""
    reach = f"{proven[0]} to {proven[-1]}" if len(proven) > 1 else str(proven[0])
    form = f"windows of {reach} {unit}{'s' * (proven[-1] > 1)}"
    lacking = int((T == 0).sum())
    return f"{form}, {lacking} of {len(T)} {parts} {slow}" if lacking else form


def _once(cache: dict, kind: str, w: np.ndarray, function):
    lazy = w.strides[0] == 0  # all rows are the first
    digest = hashlib.blake2b(np.ascontiguousarray(w[:1] if lazy else w), digest_size=16).digest()
    key = (kind, w.shape, w.strides if lazy else None, w.dtype.name, digest)
    if key not in cache:
        cache[key] = function(w)
    return cache[key]
