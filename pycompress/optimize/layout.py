"""Chooses the layout of images: channel-first (CHW) between sparse products and large depthwise convolutions.

A sparse product multiplies one weight with many pixels of a channel, so it needs CHW; it transposes images that are
channel-last (HWC) as it reads and writes them. A tensor that only sparse products and large depthwise convolutions
write and read is stored in CHW instead, which saves the transposition.
"""

from __future__ import annotations

import numpy as np

from ..kernels import NAMES, spec
from ..lower.values import Buffer, Program, Step, root
from .dataflow import Uses, covers, dense, reads, writes

LINE = 16  # floats of a cache line
LARGE = 2048  # pixels; smaller depthwise convolutions were measured to lose more in CHW than the products gain
_TRAITS = {name: spec(name).traits for name in NAMES}
FREE = {
    name: t.chw for name, t in _TRAITS.items() if isinstance(t.chw, tuple) and t.chw
}  # slots that may have either layout
TWINS = {name: t.chw for name, t in _TRAITS.items() if isinstance(t.chw, str)}  # kernels, and their CHW counterparts


def choose_layout(program: Program) -> None:
    """Store the images between sparse products, and between those and depthwise convolutions, in CHW."""
    if not any(step.kernel in FREE for step in program.steps):
        return
    found = _closed(program, _candidates(program, Uses(program)))
    new = {}
    for key, (m, c) in found.items():
        new[key] = array = np.zeros(c * _pitch(m), np.float32)
        program.buffers[id(array)] = Buffer(array)
    program.steps = [_relaid(step, found, new) for step in program.steps]


def _pitch(m: int) -> int:
    """Floats from channel to channel: an odd number of cache lines, so that channels spread over all sets of a cache."""
    return LINE * (-(-m // LINE) | 1)


def _images(step: Step) -> dict[str, np.ndarray]:
    """The step's images that may be in CHW."""
    names = ("x", "out") if step.kernel in TWINS else FREE.get(step.kernel, ())
    return {name: step.args[name] for name in names if step.args[name] is not None}


def _able(step: Step) -> bool:
    """Whether the step is as fast in CHW."""
    if step.kernel not in TWINS:
        return step.kernel in FREE
    a = step.args
    window = a["kh"] == a["kw"] in (3, 5) and a["sh"] == a["sw"] in (1, 2) and a["dh"] == a["dw"] == 1
    return window and a["residual"] is None and a["x"].shape[0] == 1 and a["x"].shape[1] * a["x"].shape[2] >= LARGE


def _candidates(program: Program, uses: Uses) -> dict[int, tuple[int, int]]:
    """{id of a buffer's array: (pixels, channels)} for buffers whose every access is a whole image by a step that supports CHW."""
    found: dict[int, tuple[int, int]] = {}
    refused = {id(b.array) for b in program.buffers.values() if b.place[0] != "arena"}
    for step in program.steps:
        images = _images(step).values() if _able(step) else ()
        for x in (*reads(step), *writes(step)):
            key = id(root(x))
            if not uses.is_buffer(x):
                continue
            shape = (x.size // x.shape[-1], x.shape[-1]) if x.ndim and x.size else None
            whole = any(x is y for y in images) and covers(x) and dense(x)
            if not whole or found.setdefault(key, shape) != shape:
                refused.add(key)
    return {key: shape for key, shape in found.items() if key not in refused}


def _closed(program: Program, found: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """`found` without the buffers that some step uses together with images in HWC."""
    changed = True
    while changed:
        changed = False
        for step in program.steps:
            images = _images(step)
            keys = [id(root(x)) for name, x in images.items() if step.kernel in TWINS or name != "a"]
            inside = [key in found for key in keys]
            if any(inside) and not all(inside):
                found = {key: shape for key, shape in found.items() if key not in keys}
                changed = True
    return found


def _relaid(step: Step, found: dict[int, tuple[int, int]], new: dict[int, np.ndarray]) -> Step:
    """The step on the CHW buffers that replace its images."""
    moved = {}
    for name, x in _images(step).items():
        if (key := id(root(x))) in found:
            m, c = found[key]
            image = new[key].reshape(c, -1)[:, :m]
            moved[name] = image.T if step.kernel in FREE else image.reshape(c, *x.shape[1:3], copy=False)
    if not moved:
        return step
    names = " and ".join(name for name in moved if name != "residual")
    reason = "; ".join(filter(None, (step.reason, f"{names} in CHW")))
    if step.kernel in FREE:
        return step.replace(**moved, reason=reason)
    kept = {name: x for name, x in step.args.items() if name not in ("dh", "dw", "residual")}
    w = np.ascontiguousarray(step.args["w"].T)
    return Step(TWINS[step.kernel], kept | moved | {"w": w}, step.node, step.op, reason)
