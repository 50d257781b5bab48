"""Sparse segments plane by plane: between sparse products and depthwise convolutions images lie channel by channel.

A sparse product works on planes (one weight times many pixels of a channel), a depthwise convolution is at its best on
them, and only the rest of the network wants the channels of a pixel together. So a tensor that only such steps make and
read lies in planes, and nothing is turned within a segment; at its ends the sparse products turn what they read or write.
"""

from __future__ import annotations

import numpy as np

from ..lower.values import Buffer, Program, Step, root
from .uses import Uses, covers, dense, reads, writes

LINE = 16  # floats of a cache line


def lay_in_planes(program: Program) -> None:
    """Turn the images between sparse products, and depthwise convolutions among them, into planes."""
    uses = Uses(program)
    planes = _closed(program, _candidates(program, uses))
    if not planes:
        return
    new: dict[int, np.ndarray] = {}
    for key, (m, c) in planes.items():
        array = np.zeros(c * _stride(m), np.float32)
        program.buffers[id(array)] = Buffer(array)
        new[key] = array
    program.steps = [_turned(step, planes, new) for step in program.steps]


def _stride(m: int) -> int:
    """Floats from plane to plane: an odd number of lines, so that planes meet all sets of a cache."""
    return LINE * (-(-m // LINE) | 1)


def _images(step: Step) -> dict[str, np.ndarray]:
    """What of the step's arguments is an image that may lie in planes."""
    names = {"spmm": ("a", "residual", "out"), "dwconv": ("x", "residual", "out")}.get(step.kernel, ())
    return {name: step.args[name] for name in names if step.args[name] is not None}


def _fast(step: Step) -> bool:
    """Whether `pdwconv` takes this convolution, and faster than `dwconv`."""
    a = step.args
    return a["x"].shape[0] == 1 and a["kh"] == a["kw"] in (3, 5) and a["sh"] == a["sw"] in (1, 2) and a["dh"] == a["dw"] == 1


def _candidates(program: Program, uses: Uses) -> dict[int, tuple[int, int]]:
    """{id of a buffer's array: (pixels, channels)} where every access is the whole image, by steps that can."""
    found: dict[int, tuple[int, int]] = {}
    refused = {id(b.array) for b in program.buffers.values() if b.place[0] != "arena"}
    for step in program.steps:
        images = _images(step) if step.kernel != "dwconv" or _fast(step) else {}
        able = {id(x) for x in images.values()}
        for x in (*reads(step), *writes(step)):
            key = id(root(x))
            if not uses.is_buffer(x):
                continue
            shape = (x.size // x.shape[-1], x.shape[-1]) if x.ndim and x.size else None
            if id(x) not in able or not (covers(x) and dense(x)) or found.setdefault(key, shape) != shape:
                refused.add(key)
    return {key: shape for key, shape in found.items() if key not in refused}


def _closed(program: Program, planes: dict[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """`planes` without those that a step would have to mix with images of the other kind."""
    changed = True
    while changed:
        changed = False
        for step in program.steps:
            images = _images(step)
            together = [x for name, x in images.items() if step.kernel == "dwconv" or name in ("residual", "out")]
            inside = [id(root(x)) in planes for x in together]
            if any(inside) and not all(inside):
                for x in together:
                    planes.pop(id(root(x)), None)
                changed = True
    return planes


def _turned(step: Step, planes: dict[int, tuple[int, int]], new: dict[int, np.ndarray]) -> Step:
    """The step on the planes that took the place of its images."""
    moved = {}
    for name, x in _images(step).items():
        if (key := id(root(x))) in planes:
            m, c = planes[key]
            matrix = new[key].reshape(c, -1)[:, :m]
            image = step.args["x" if name == "x" else "out"]
            moved[name] = matrix.T if step.kernel == "spmm" else matrix.reshape(c, *image.shape[1:3])
    if not moved:
        return step
    if step.kernel == "spmm":
        return step.replace(**moved, reason=f"{step.reason}; {' and '.join(n for n in moved if n != 'residual')} in planes")
    w = np.ascontiguousarray(step.args["w"].T)
    return step.replace("pdwconv", **moved, w=w, reason=f"{step.reason}, in planes")
