"""Fuses neighbouring steps into one.

A rule takes a step and the uses of all buffers. It returns None, or (the step or steps that replace it, the other
steps to remove). Rules work on whole buffers only, which are written once.
"""

from __future__ import annotations

from collections.abc import Callable

from ..lower.values import Program, Step
from . import fuse_branches, fuse_float, fuse_functions, fuse_integer, fuse_lowrank, fuse_tables
from .dataflow import Uses

Rule = Callable[[Step, Uses], "tuple[Step | list[Step], list[Step]] | None"]
RULES: list[Rule] = [
    *fuse_integer.RULES,
    *fuse_tables.RULES,
    *fuse_functions.RULES,
    *fuse_float.RULES,
    *fuse_branches.RULES,
]
LAST: list[Rule] = [
    *fuse_integer.LAST,
    *fuse_float.LAST,
]  # change where results are written; parts of buffers do not fuse


def fuse(program: Program) -> None:
    """Apply every rule until none applies, then drop the steps whose results are not read."""
    fusing = Fusing(program)
    for rules in (RULES, LAST):
        fusing.until_done(rules)
    fusing.drop_dead()


def join_factors(program: Program) -> None:
    """Fuse the two products of each low-rank pair into one step; if there are any, fuse what follows into those."""
    if Fusing(program).once(fuse_lowrank.RULES):
        fuse(program)


def _concerns(rule: Rule, step: Step) -> bool:
    kernels = getattr(rule, "kernels", None)
    return kernels is None or step.kernel in kernels


class Fusing:
    """Applies rules to a program, in sweeps that visit only the steps for which something may have changed.

    The result of a rule depends only on the step and on the writers and readers that the rule asks `Uses` for. So a
    rule that did not apply is tried again only when one of those has changed. The result is the same as trying every
    rule on every step until none applies.
    """

    def __init__(self, program: Program):
        self.program = program
        self.uses = Uses(program)
        self.alive = set(program.steps)
        self.suspects = list(program.steps)  # steps whose results may be unused
        self.due: dict[Rule, set[Step]] = {}  # steps that each rule has yet to be tried on
        self.waiting: dict[
            int | str, set[tuple[Rule, Step]]
        ] = {}  # by what was asked for: who is tried again if it changes

    def until_done(self, rules: list[Rule]) -> None:
        """Apply the `rules` in turn until none applies."""
        self._expect(rules)
        while any([self._sweep(rule) for rule in rules]):
            pass

    def once(self, rules: list[Rule]) -> bool:
        """Apply each of the `rules` once to each step; return whether any applied."""
        self._expect(rules)
        return any([self._sweep(rule) for rule in rules])

    def _expect(self, rules: list[Rule]) -> None:
        self.drop_dead()
        by: dict[str, set[Step]] = {}
        for step in self.alive:
            by.setdefault(step.kernel, set()).add(step)
        wanted = {rule: getattr(rule, "kernels", None) for rule in rules}
        self.due = {
            rule: set(self.alive) if kernels is None else set().union(*(by.get(name, ()) for name in kernels))
            for rule, kernels in wanted.items()
        }
        self.waiting.clear()

    def _sweep(self, rule: Rule) -> bool:
        """Apply `rule` to each due step, in order; return whether it applied to any."""
        self.drop_dead()
        due = self.due[rule]
        replaced: dict[Step, list[Step]] = {}
        touched: set[int | str] = set()
        for step in self.program.steps if due else ():
            if not due:
                break
            if step not in due:
                continue
            due.remove(step)
            if step not in self.alive:
                continue
            self.uses.asked.clear()
            made = rule(step, self.uses)
            if made is None:
                for key in self.uses.asked:
                    self.waiting.setdefault(key, set()).add((rule, step))
                continue
            new, gone = made
            replaced[step] = new if isinstance(new, list) else [new]
            for old in (step, *gone):
                self._remove(old)
            for added in replaced[step]:
                self._add(added)
            touched |= self.uses.changed
            self._wake()
        if replaced:
            steps = [s for step in self.program.steps for s in replaced.get(step, (step,))]
            self.program.steps = [step for step in steps if step in self.alive]
            self.uses.sort(touched, {step: i for i, step in enumerate(self.program.steps)})
            self._wake()
            for steps in replaced.values():
                for each, due in self.due.items():
                    due.update(s for s in steps if _concerns(each, s))  # from the next sweep on
        return bool(replaced)

    def _add(self, step: Step) -> None:
        self.uses.add(step)
        self.alive.add(step)
        self.suspects.append(step)

    def _remove(self, step: Step) -> None:
        self.suspects += self.uses.sources(step)
        self.uses.remove(step)
        self.alive.discard(step)

    def _wake(self) -> None:
        """Make the rules and steps that asked for what has changed due again."""
        for key in self.uses.changed:
            for rule, step in self.waiting.pop(key, ()):
                self.due[rule].add(step)
        self.uses.changed.clear()

    def drop_dead(self) -> None:
        """Drop the steps whose results are not read."""
        before = len(self.alive)
        while self.suspects:
            step = self.suspects.pop()
            if step in self.alive and self.uses.unread(step):
                self._remove(step)
        if len(self.alive) < before:
            self.program.steps = [step for step in self.program.steps if step in self.alive]
            self._wake()
