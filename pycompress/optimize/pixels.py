"""Stores a quantized input image as pixels of four bytes with its padding around it.

The first convolution of an integer network reads an image of three channels, which QuantizeLinear has made from floats. With
four bytes a pixel, each cell of a window is one step of four products; with the padding in memory, every window is read
where it stands. One pass over the floats (`qpixels`) quantizes them, changes their order and writes the border.
"""

from __future__ import annotations

import math

import numpy as np

from ..lower.values import Buffer, Program, Step
from .dataflow import Uses, copied_from, covers, dense, twin

BYTES = 4  # of a pixel: the products of a step
SMALL = 1 << 16  # pixels; larger images with their border are at most twice what they were


def pad_pixels(program: Program) -> None:
    """Give each integer convolution of a quantized image of up to four channels such an image."""
    uses = Uses(program)
    replaced: dict[Step, Step] = {}
    dropped: set[Step] = set()
    for step in program.steps:
        if step.kernel != "qconv" or not _able(step, uses):
            continue
        found = _source(step.args["x"], uses)
        if found is None:
            continue
        floats, quantize, between = found
        size = _size(step)
        if not np.array_equal(quantize.args["zero"], step.args["xzp"]) or math.prod(size) > max(
            2 * floats[..., 0].size, SMALL
        ):
            continue
        replaced[quantize], replaced[step] = _with_border(program, step, floats, quantize, size)
        dropped.update(between)
    if replaced:
        program.steps = [replaced.get(step, step) for step in program.steps if step not in dropped]


def _able(step: Step, uses: Uses) -> bool:
    """Whether only this step reads its image, which is of few channels, and reads it in place if that has a border."""
    x = step.args["x"]
    few = 0 < x.shape[-1] <= BYTES and x.size and uses.is_buffer(x)
    return few and step.args["wzp"] is None and covers(x) and uses.only_reader(x)


def _source(x: np.ndarray, uses: Uses) -> tuple[np.ndarray, Step, list[Step]] | None:
    """(floats of x's shape that become `x`, the step that quantizes them, the step between that reorders codes)."""
    made = uses.producer(x)
    between: list[Step] = []
    if made is not None and made.kernel == "permute":
        codes, between = copied_from(x, made), [made]
        if codes is None or not covers(codes) or not uses.only_reader(codes):
            return None
        x, made = codes, uses.producer(codes)
    if made is None or made.kernel != "quantize" or made.args["scale"].size != 1 or uses.is_buffer(made.args["scale"]):
        return None
    floats, out = made.args["x"], made.args["out"]
    if out.dtype != np.uint8 or not uses.is_buffer(floats) or not dense(floats) or not dense(out):
        return None
    return twin(x, out, floats), made, between


def _size(step: Step) -> tuple[int, int, int]:
    """Images, lines and pixels of a line of the step's image with its border."""
    a = step.args
    b, ih, iw, _ = a["x"].shape
    _, oh, ow, _ = a["out"].shape
    lines = max(a["pt"] + ih, (oh - 1) * a["sh"] + (a["kh"] - 1) * a["dh"] + 1)
    width = max(a["pl"] + iw, (ow - 1) * a["sw"] + (a["kw"] - 1) * a["dw"] + 1)
    return b, lines, width


def _with_border(
    program: Program, step: Step, floats: np.ndarray, quantize: Step, size: tuple[int, int, int]
) -> tuple[Step, Step]:
    """The steps that make the image with its border, and that read it."""
    memory = np.empty(math.prod(size) * BYTES, np.uint8)  # never touched
    program.buffers[id(memory)] = Buffer(memory)
    image = memory.reshape(*size, BYTES)
    given = {name: quantize.args[name] for name in ("scale", "zero", "clamp")}
    made = Step(
        "qpixels",
        {"x": floats.transpose(0, 3, 1, 2), **given, "top": step.args["pt"], "left": step.args["pl"], "out": image},
        quantize.node,
        quantize.op,
        "quantize to pixels of four bytes, with the padding",
    )
    return made, step.replace(x=image[..., : floats.shape[-1]], pt=0, pl=0)
