"""Cuts runs of steps on large images into tiles: a few lines pass through all steps before the next lines do.

What a step writes is then still in the cache when the next one reads it. Results are the same bytes: each output
is computed by the same kernel from the same inputs; only the order changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels import having, spec
from ..lower.values import Buffer, Program, Step, root
from .dataflow import Uses, covers, dense

PRODUCTS = having(lambda spec: spec.traits.tile == "rows")
DEPTHWISE = having(lambda spec: spec.traits.tile == "window")
CONVOLUTIONS = having(lambda spec: spec.traits.tile == "convolution")
CHW = having(lambda spec: spec.traits.layout == "chw")
LARGE = 3 << 18  # bytes passed from step to step; from here on a core's cache does not hold them, and tiles are faster
TILE = 3 << 17  # bytes of one tile; each tile costs one more barrier per step
# Of channel-first images, whose tiles are strips of every channel: few and large tiles, two products at most.
CHW_LARGE, CHW_TILE, CHW_RUN = 2 << 20, 3 << 18, 3


def tile(program: Program) -> None:
    """Cut convolution or product -> depthwise -> product -> depthwise ... on large images into tiles."""
    uses, steps, i = Uses(program), [], 0
    while i < len(program.steps):
        run = _run(program.steps, i, uses)
        steps += _cut(run, program) if len(run) > 1 else run
        i += len(run)
    program.steps = steps


def _run(steps: list[Step], i: int, uses: Uses) -> list[Step]:
    """The steps from `i` on that pass one large image from one to the next."""
    run = [steps[i]]
    for after in steps[i + 1 :]:
        before = run[-1]
        if (
            (len(run) >= CHW_RUN and _chw([*run, after]))
            or not _neighbours(before, after)
            or before.args["out"].nbytes < LARGE // 2
            or not _hands_on(before, after, uses)
        ):
            break
        run.append(after)
    large = CHW_LARGE if _chw(run) else LARGE
    return run if len(run) > 1 and max(step.args["out"].nbytes for step in run[:-1]) >= large else run[:1]


def _chw(run: list[Step]) -> bool:
    return any(step.kernel in CHW for step in run)


def _neighbours(before: Step, after: Step) -> bool:
    """Whether steps of these kernels may follow each other in a run."""
    depthwise = after if after.kernel in DEPTHWISE else before
    if depthwise.kernel not in DEPTHWISE:
        return False
    if depthwise.kernel not in CHW and depthwise.args["x"].shape[0] != 1:  # lines are cut out of one image
        return False
    other = before if depthwise is after else after
    return other.kernel in PRODUCTS or other is before and other.kernel in CONVOLUTIONS


def _hands_on(before: Step, after: Step, uses: Uses) -> bool:
    """Whether `before` writes the image that `after` reads, pixel by pixel, and no other step reads or writes it."""
    out, x = before.args["out"], _source(after)
    image, matrix = (x, out) if after.kernel in DEPTHWISE else (out, x)
    whole = image.shape if before.kernel in CONVOLUTIONS else None
    chw = before.kernel in CHW or after.kernel in CHW
    channels = image.shape[0 if chw else -1]
    if root(out) is not root(x) or not uses.is_buffer(x) or not uses.only_reader(x):
        return False
    if matrix.shape != (whole or (image.size // max(channels, 1), channels)):  # a Reshape stands between
        return False
    if chw:  # layout.py makes one buffer for each image
        return uses.writers(x) == [before]
    return covers(out) and covers(x) and dense(out) and dense(x) and uses.producer(x) is before


def _source(step: Step) -> np.ndarray:
    return step.args["x" if step.kernel in DEPTHWISE else "a"]


def _cut(run: list[Step], program: Program) -> list[Step]:
    """The steps of the run, tile by tile: each for the lines that the following steps need next."""
    sizes = [_size(run, j) for j in range(len(run))]
    tiles = -(-max(step.args["out"].nbytes for step in run[:-1]) // (CHW_TILE if _chw(run) else TILE))
    done, steps = [0] * len(run), []
    passed: list[_Passed | None] = [None] * len(run)  # what each step has written for the next one
    for k in range(tiles):
        end = sizes[-1][0] * (k + 1) // tiles
        ends = [end]
        for step in reversed(run[1:]):
            ends.insert(0, _reach(step, ends[0]) if step.kernel in DEPTHWISE else ends[0])
        for j, step in enumerate(run):
            if ends[j] <= done[j]:
                continue
            if j + 1 < len(run) and step.kernel not in CHW and run[j + 1].kernel not in CHW:
                needed = min(_top(run[j + 1], done[j + 1]), done[j])
                passed[j], copies = _handed(run[j + 1], program, passed[j], needed, done[j], ends[j], sizes[j][1])
                steps += copies
            steps.append(_lines(step, done[j], ends[j], sizes[j][1], passed[j - 1] if j else None, passed[j]))
            done[j] = ends[j]
    return steps


@dataclass(frozen=True)
class _Passed:
    """The lines of an image that a tile passes from step to step: in memory of its own, which stays in the cache."""

    first: int  # line of the whole image
    image: np.ndarray  # [1,h,w,c]

    def lines(self, first: int, end: int) -> np.ndarray:
        """The lines [first, end) of the whole image."""
        return self.image[:, first - self.first : end - self.first]

    def rows(self, first: int, end: int) -> np.ndarray:
        """The same as a matrix, a row per pixel."""
        return self.lines(first, end).reshape(-1, self.image.shape[-1], copy=False)


def _handed(
    after: Step, program: Program, before: _Passed | None, first: int, done: int, end: int, width: int
) -> tuple[_Passed, list[Step]]:
    """Memory for the lines [first, end) that `after` reads; those up to `done` are copied from the tile `before`."""
    x = _source(after)
    array = np.zeros((end - first) * width * x.shape[-1], x.dtype)
    program.buffers[id(array)] = Buffer(array)
    passed = _Passed(first, array.reshape(1, end - first, width, x.shape[-1], copy=False))
    if done == first:
        return passed, []
    kept, copy = (
        p.lines(first, done).view(np.uint8).reshape(1, 1, 1, 1, 1, done - first, -1) for p in (before, passed)
    )
    why = f"lines {first} to {done - 1}, which two tiles need"
    return passed, [Step("permute", {"x": kept, "out": copy}, after.node, after.op, why)]


def _size(run: list[Step], j: int) -> tuple[int, int]:
    """Lines, and pixels of a line, of what the j-th step writes; a product's are those of the image beside it."""
    if run[j].kernel not in PRODUCTS:
        return run[j].args["out"].shape[1:3]
    return run[j + 1].args["x"].shape[1:3] if j + 1 < len(run) else run[j - 1].args["out"].shape[1:3]


def _reach(step: Step, end: int) -> int:
    """How many lines of its input a convolution needs for the first `end` lines of its output."""
    a = step.args
    return max(0, min((end - 1) * a["sh"] - a["pt"] + (a["kh"] - 1) * a.get("dh", 1) + 1, a["x"].shape[1]))


def _top(step: Step, first: int) -> int:
    """The first line of its input that a step needs for its output from line `first` on."""
    return max(0, first * step.args["sh"] - step.args["pt"]) if step.kernel in DEPTHWISE else first


def _lines(step: Step, first: int, end: int, width: int, source: _Passed | None, target: _Passed | None) -> Step:
    """`step` for the lines [first, end) of its output, `width` pixels each."""
    a = step.args
    rows = slice(first * width, end * width)
    if step.kernel not in PRODUCTS:
        top = first * a["sh"] - a["pt"]
        meets = max(top, 0), max(_reach(step, end), max(top, 0))
        changed = {
            "x": source.lines(*meets) if source else a["x"][:, slice(*meets)],
            "pt": max(-top, 0),
            "out": target.lines(first, end) if target else a["out"][:, first:end],
        }
        changed |= {} if a.get("residual") is None else {"residual": a["residual"][rows]}
    else:
        changed = {name: a[name][rows] for name in spec(step.kernel).rowwise if a[name] is not None}
        changed |= {"a": source.rows(first, end)} if source else {}
        changed |= {"out": target.rows(first, end)} if target else {}
    return step.replace(**changed, reason=f"{step.reason}, lines {first} to {end - 1}")
