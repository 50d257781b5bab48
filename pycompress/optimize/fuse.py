"""Neighbours into one step.

A rule takes a step and who makes and reads what; it returns (the step or steps to put in its place,
the steps that go), or None.  Rules see whole buffers only, which are written once.
"""

from __future__ import annotations

from collections.abc import Callable

from ..lower.values import Program, Step
from . import fuse_float, fuse_integer, fuse_lowrank, fuse_tables
from .dataflow import Uses

Rule = Callable[[Step, Uses], "tuple[Step | list[Step], list[Step]] | None"]
RULES: list[Rule] = [*fuse_integer.RULES, *fuse_tables.RULES, *fuse_float.RULES]
LAST: list[Rule] = [*fuse_integer.LAST, *fuse_float.LAST]  # where results go: parts of buffers fuse no more


def fuse(program: Program) -> None:
    """Apply every rule until none applies, then drop steps whose results nobody reads."""
    fusing = Fusing(program)
    for rules in (RULES, LAST):
        fusing.until_done(rules)
    fusing.drop_dead()


def join_factors(program: Program) -> None:
    """Two thin products in a row into one step, once nothing else can join either; then what follows may join that."""
    if Fusing(program).once(fuse_lowrank.RULES):
        fuse(program)


def _concerns(rule: Rule, step: Step) -> bool:
    kernels = getattr(rule, "kernels", None)
    return kernels is None or step.kernel in kernels


class Fusing:
    """Rules applied to a program, in sweeps over its steps that visit only those for which something may have changed.

    What a rule says of a step follows from the step and from the writers and readers that the rule asks `Uses` for.
    So a rule that did not apply is asked again only when one of those has changed: the result is that of asking
    every rule for every step, over and over.
    """

    def __init__(self, program: Program):
        self.program = program
        self.uses = Uses(program)
        self.alive = set(program.steps)
        self.suspects = list(program.steps)  # steps whose results perhaps nobody reads
        self.due: dict[Rule, set[Step]] = {}  # the steps that a rule has not seen as they are now
        self.waiting: dict[int | str, set[tuple[Rule, Step]]] = {}  # who asked `Uses` for what

    def until_done(self, rules: list[Rule]) -> None:
        """Apply the `rules` in turn until none applies."""
        self._expect(rules)
        while any([self._sweep(rule) for rule in rules]):
            pass

    def once(self, rules: list[Rule]) -> bool:
        """Apply each of the `rules` once to each step; True where one did anything."""
        self._expect(rules)
        return any([self._sweep(rule) for rule in rules])

    def _expect(self, rules: list[Rule]) -> None:
        self.drop_dead()
        self.due = {rule: {step for step in self.alive if _concerns(rule, step)} for rule in rules}
        self.waiting.clear()

    def _sweep(self, rule: Rule) -> bool:
        """Apply `rule` to each step in order that it has not seen as it is; True where it did anything."""
        self.drop_dead()
        due = self.due[rule]
        replaced: dict[Step, list[Step]] = {}
        touched: set[int | str] = set()
        for step in self.program.steps if due else ():
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
        """Those who asked for what has changed are due again."""
        for key in self.uses.changed:
            for rule, step in self.waiting.pop(key, ()):
                self.due[rule].add(step)
        self.uses.changed.clear()

    def drop_dead(self) -> None:
        """Drop the steps whose results nobody reads."""
        before = len(self.alive)
        while self.suspects:
            step = self.suspects.pop()
            if step in self.alive and self.uses.unread(step):
                self._remove(step)
        if len(self.alive) < before:
            self.program.steps = [step for step in self.program.steps if step in self.alive]
            self._wake()
