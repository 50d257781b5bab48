"""Neighbours into one step.  A rule takes a step and what makes its inputs; it returns their replacement."""

from __future__ import annotations

import numpy as np

from ..lower.values import Program, Step, root
from .uses import Uses, covers, reads, writes

PRODUCTS = ("sgemm", "sconv", "dwconv", "qgemm", "qconv", "qdwconv")


def fuse(program: Program) -> None:
    """Apply every rule until none applies, then drop steps whose results nobody reads."""
    changed = True
    while changed:
        changed = any([_sweep(program, rule) for rule in RULES])
        _drop_dead(program)


def _sweep(program: Program, rule) -> bool:
    """Apply `rule` to each step in order; True where it did anything."""
    changed = False
    uses = Uses(program)
    for step in list(program.steps):
        if step not in program.steps:
            continue
        made = rule(step, uses)
        if made is None:
            continue
        new, gone = made
        program.steps = [new if s is step else s for s in program.steps if s not in gone]
        uses = Uses(program)
        changed = True
    return changed


def _drop_dead(program: Program) -> None:
    live: list[Step] = []
    wanted = {id(b.array) for b in program.buffers.values() if b.place[0] == "output"}
    for step in reversed(program.steps):
        if any(id(root(x)) in wanted for x in writes(step)):
            live.append(step)
            wanted.update(id(root(x)) for x in reads(step))
    program.steps = live[::-1]


def _float_product(step: Step | None) -> bool:
    return step is not None and step.kernel in PRODUCTS and step.args["out"].dtype == np.float32


def _sole(step: Step, uses: Uses, x) -> Step | None:
    """The producer of `x` where `step` is the only one to read it, whole; else None."""
    if not isinstance(x, np.ndarray) or not covers(x) or not uses.only_reader(x):
        return None
    return uses.producer(x)


def _as(target: np.ndarray, like: np.ndarray) -> np.ndarray:
    """The whole dense array `target` in the shape of `like`, cell by cell in memory order."""
    return root(target).reshape(like.shape)


def activation(step: Step, uses: Uses):
    """product -> unary: the activation joins the product's epilogue."""
    if step.kernel != "unary" or step.args["op"] >= 9 or not covers(step.args["out"]):
        return None
    made = _sole(step, uses, step.args["x"])
    if not _float_product(made) or made.args["act"]:
        return None
    out = _as(step.args["out"], made.args["out"])
    new = made.replace(
        act=step.args["op"], act_params=step.args["params"], out=out, reason=f"{made.reason}; {step.op} fused"
    )
    return new, [made]


RULES = [activation]
