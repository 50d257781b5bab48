"""Neighbours into one step.

A rule takes a step and who makes and reads what; it returns (the step or steps to put in its place,
the steps that go), or None.  Rules see whole buffers only, which are written once.
"""

from __future__ import annotations

from ..lower.values import Program, Step, root
from . import fuse_float, fuse_integer, fuse_lowrank, fuse_tables
from .dataflow import Uses, reads, writes

RULES = [*fuse_integer.RULES, *fuse_tables.RULES, *fuse_float.RULES]
LAST = [*fuse_integer.LAST, *fuse_float.LAST]  # where results go: what is written into a part of a buffer fuses no more


def fuse(program: Program) -> None:
    """Apply every rule until none applies, then drop steps whose results nobody reads."""
    for rules in (RULES, LAST):
        while any([_sweep(program, rule) for rule in rules]):
            pass
    _drop_dead(program)


def join_factors(program: Program) -> None:
    """Two thin products in a row into one step, once nothing else can join either; then what follows may join that."""
    if any([_sweep(program, rule) for rule in fuse_lowrank.RULES]):
        fuse(program)


def _sweep(program: Program, rule) -> bool:
    """Apply `rule` to each step in order; True where it did anything."""
    _drop_dead(program)
    uses = Uses(program)
    places: dict[int, list[Step]] = {id(step): [step] for step in program.steps}
    changed = False
    for step in program.steps:
        if places[id(step)] != [step]:
            continue
        made = rule(step, uses)
        if made is None:
            continue
        new, gone = made
        new = new if isinstance(new, list) else [new]
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


def _drop_dead(program: Program) -> None:
    live: list[Step] = []
    wanted = {id(b.array) for b in program.buffers.values() if b.place[0] == "output"}
    for step in reversed(program.steps):
        if any(id(root(x)) in wanted for x in writes(step)):
            live.append(step)
            wanted.update(id(root(x)) for x in reads(step))
    program.steps = live[::-1]
