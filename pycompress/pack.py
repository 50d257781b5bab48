"""Weights into the kernels' panels, last of all; equal weights are packed once."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import numpy as np

from .kernels import module
from .lower.values import Program, Step
from .optimize.forms import SPOKEN as SPARSE
from .weights import Q8, Dense


def pack(program: Program, cache: dict) -> None:
    """Replace every unpacked weight in `program` by the arrays its kernel reads.

    `cache` keeps packed weights by content: plans of one model for several shapes share them.
    """
    program.steps = [_packed(step, cache) for step in program.steps]


def _packed(step: Step, cache: dict) -> Step:
    scale = step.args.get("scale")
    if isinstance(scale, np.ndarray) and scale.dtype == np.float64:  # so that fusing rounded only once
        step = step.replace(scale=scale.astype(np.float32))
    weights = step.args.get("w")
    if isinstance(weights, Dense):
        matrix = weights.w.reshape(weights.w.shape[0], -1) if weights.w.ndim > 2 else weights.w
        kernel = step.kernel if step.kernel in SPARSE else "sgemm"
        function = module(kernel).pack
        if kernel == "spmm":  # its slices depend on the number of rows
            m = step.args["a"].shape[0]
            packed = _once(cache, f"spmm, m={m}", matrix, lambda w: function(w, m=m))
        else:
            packed = _once(cache, kernel, matrix, function)
        return step.replace(w=packed) if kernel == "sgemm" else step.replace(**_given(step, packed))
    if isinstance(weights, Q8):
        packed = _once(cache, step.kernel, weights.w, module(step.kernel).pack)
        form = "" if step.kernel in SPARSE else _form(step.kernel, packed.T)
        return step.replace(**_given(step, packed), reason="; ".join(filter(None, (step.reason, form))))
    return step


def _given(step: Step, packed) -> dict[str, np.ndarray]:
    """What of the packed weights are arguments of the step."""
    return {f.name: getattr(packed, f.name) for f in fields(packed) if f.name in step.args}


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
