"""The simplest fusion: every rule on every step, with all uses computed anew each time, until nothing changes.

``pycompress.optimize.fuse`` visits only what may have changed; its programs must be these, step by step.
"""

from __future__ import annotations

from pycompress.lower.values import Program, Step, root
from pycompress.optimize import fuse_lowrank
from pycompress.optimize.dataflow import Uses, reads, writes
from pycompress.optimize.fuse import LAST, RULES


def fuse(program: Program) -> None:
    """As ``pycompress.optimize.fuse.fuse``."""
    for rules in (RULES, LAST):
        while any([_sweep(program, rule) for rule in rules]):
            pass
    drop_dead(program)


def join_factors(program: Program) -> None:
    """As ``pycompress.optimize.fuse.join_factors``."""
    if any([_sweep(program, rule) for rule in fuse_lowrank.RULES]):
        fuse(program)


def _sweep(program: Program, rule) -> bool:
    drop_dead(program)
    uses = Uses(program)
    places: dict[int, list[Step]] = {id(step): [step] for step in program.steps}
    kept = []  # so that no id is given to another step
    changed = False
    for step in program.steps:
        if places[id(step)] != [step] or step.kernel not in getattr(rule, "kernels", {step.kernel}):
            continue
        made = rule(step, uses)
        if made is None:
            continue
        new, gone = made
        new = new if isinstance(new, list) else [new]
        kept += new
        for old in (step, *gone):
            uses.remove(old)
            places[id(old)] = []
        for added in new:
            uses.add(added)
        places[id(step)] = new
        changed = True
    if changed:
        program.steps = [s for step in program.steps for s in places[id(step)]]
    return changed


def drop_dead(program: Program) -> None:
    """Drop the steps whose results neither a later step nor an output takes."""
    live: list[Step] = []
    wanted = {id(b.array) for b in program.buffers.values() if b.place[0] == "output"}
    for step in reversed(program.steps):
        if any(id(root(x)) in wanted for x in writes(step)):
            live.append(step)
            wanted.update(id(root(x)) for x in reads(step))
    program.steps = live[::-1]
