"""Gives float convolutions over lines with long windows an image with its padding.

Windows that reach beyond the image are copied with zeros: where there are many and they are long, that is more work than
copying the image. Columns of one pixel are lines already (`Window.lying`).
"""

from __future__ import annotations

import numpy as np

from ..lower.values import Buffer, Program, Step

WORTH = 4  # copied floats of windows for one of the image with its padding
SMALL = 1 << 14  # floats; fewer are copied in less time than other steps take


def pad_lines(program: Program) -> None:
    """Pad lines where that is less work."""
    steps: list[Step] = []
    for step in program.steps:
        steps += _padded(program, step) if step.kernel == "sconv" else [step]
    program.steps = steps


def _padded(program: Program, step: Step) -> list[Step]:
    """The steps that make a line with its padding, and read it; `step` alone if that is no less work."""
    a = step.args
    b, ih, iw, c = a["x"].shape
    ow, kw, reach = a["out"].shape[2], a["kw"], (a["kw"] - 1) * a["dw"] + 1
    width = max(a["pl"] + iw, (ow - 1) * a["sw"] + reach)
    starts = np.arange(ow) * a["sw"]
    outside = int(((starts < a["pl"]) | (starts + reach > a["pl"] + iw)).sum())
    copied = b * outside * kw * c
    if ih != 1 or a["kh"] != 1 or a["pt"] or copied < SMALL or copied < WORTH * b * width * c:
        return [step]
    memory = np.empty(b * width * c, np.float32)  # never touched
    program.buffers[id(memory)] = Buffer(memory)
    image = memory.reshape(b, width, c)
    zero, past = np.zeros(4, np.uint8), a["pl"] + iw
    steps = [
        Step("fill", {"value": zero, "out": _bytes(border[..., None])}, step.node, step.op, "padding of long windows")
        for border in (image[:, : a["pl"]], image[:, past:])
        if border.size
    ]
    moved = {"x": _bytes(a["x"][:, 0]), "out": _bytes(image[:, a["pl"] : past])}
    steps.append(Step("permute", moved, step.node, step.op, "into an image with padding"))
    return [*steps, step.replace(x=image[:, None], pl=0)]


def _bytes(x: np.ndarray) -> np.ndarray:
    """`x` as bytes of seven dimensions, the last of which is dense."""
    return x.view(np.uint8)[(None,) * (7 - x.ndim)]
