"""The search for a plan that meets what the user asks for, once the table is filled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import ModelError
from ...session import InferenceSession
from ..calibration.observe import up_to
from ..model import graph as g
from ..verdict import looks_like_scores
from . import clock
from .measure import ROUNDS, Measurements
from .store import fingerprint
from .table import Plan, Table, Totals

REFERENCES = ("float", "int8")
ATTEMPTS = 5  # plans that are built and measured to meet a limit


Evaluate = Callable[[InferenceSession], float]


@dataclass(frozen=True)
class Goal:
    """What the user asks for; None: no limit."""

    max_drop: float | None = None
    min_snr: float | None = None
    latency: float | None = None
    size: float | None = None

    def __post_init__(self):
        for name, value in asdict(self).items():
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            least = -math.inf if name == "min_snr" else 0
            if value is not None and not (number and math.isfinite(value) and value >= least):
                raise ValueError(
                    f"{name} must be a number{'' if name == 'min_snr' else ' of at least 0'}, got {value!r}"
                )


class Tuner:
    """The search for a plan once everything can be measured."""

    def __init__(self, table: Table, measured: Measurements, goal: Goal, evaluate: Evaluate | None):
        self.table, self.measured, self.goal, self.evaluate = table, measured, goal, evaluate
        self.network, self.store = measured.network, measured.store
        self.marks: dict[str, float] = {}
        self.references = {form: self.verified(table.uniform(form)) for form in REFERENCES}
        self.front = table.front()

    def chosen(self) -> tuple[Plan, dict]:
        """The plan, and what was measured of it: what the search finds, or one form everywhere where that is better."""
        goal, known = self.goal, self.references
        latency = None if goal.latency is None else goal.latency * 1e6
        if (goal.latency, goal.min_snr, goal.max_drop, goal.size) == (None, None, None, None):
            latency = max(known["int8"]["microseconds"], self.table.uniform("int8").predicted.microseconds)
        fastest = goal.min_snr is not None or goal.max_drop is not None
        able = [(self.table.uniform(form), x) for form, x in known.items() if self._meets(x, latency)]
        try:
            able.append(self._searched(latency, fastest))
        except ModelError:
            able = able or self._small(latency)
            if not able:
                raise
        return min(able, key=lambda x: x[1]["microseconds"] if fastest else -x[1]["snr"])

    def _small(self, latency: float | None) -> list[tuple[Plan, dict]]:
        """int4 in all layers that can have it, if that keeps the limits: near the least size predicted bytes are not exact enough."""
        if self.goal.size is None or "int4" not in self.measured.kinds:
            return []
        plan = self.table.uniform("int4")
        found = self.verified(plan)
        return [(plan, found)] if self._meets(found, latency) else []

    def _searched(self, latency: float | None, fastest: bool) -> tuple[Plan, dict]:
        """A plan of the front that keeps the limits when it is measured."""
        goal, front = self.goal, self.front
        least = None if goal.min_snr is None else 10 ** (-goal.min_snr / 10)
        slack = {"error": 1.0, "microseconds": 1.0, "bytes": 1.0}
        budgets = [least]
        if goal.max_drop is not None:
            budgets = [
                e for e in sorted({p.predicted.error for p in front}, reverse=True) if least is None or e <= least
            ]
        tried = []
        for budget in budgets:
            for _ in range(ATTEMPTS):
                plan = self._best(front, budget, latency, goal.size, fastest, slack)
                if plan is None:
                    break
                found = self.verified(plan)
                tried.append((plan, found))
                if self._meets(found, latency):
                    return plan, found
                if goal.max_drop is not None and not found["drop"] <= goal.max_drop:
                    break
                got = {"error": 10 ** (-found["snr"] / 10)} | {k: found[k] for k in ("microseconds", "bytes")}
                slack = {k: min(s, getattr(plan.predicted, k) / max(got[k], 1e-30)) * 0.999 for k, s in slack.items()}
        if not tried:
            raise ModelError(f"tune: no plan meets the limits, by the table; {_nearest(front)}")
        plan, found = min(tried, key=lambda x: -x[1]["snr"])
        raise ModelError(
            f"tune: no plan that was built meets the limits; the most exact of them has {found['snr']:.1f} dB, "
            f"{found['microseconds']:.0f} us, {found['bytes']:,} bytes"
        )

    def _best(self, front: list[Plan], error, latency, size, fastest: bool, slack) -> Plan | None:
        """The best plan within the limits, by the table."""

        def fits(t: Totals) -> bool:
            return (
                (error is None or t.error <= error * slack["error"])
                and (latency is None or t.microseconds <= latency * slack["microseconds"])
                and (size is None or t.bytes <= size * slack["bytes"])
            )

        def score(t: Totals) -> float:
            return t.microseconds if fastest else t.error

        able = [p for p in front if fits(p.predicted)]
        return self.table.filled(min(able, key=lambda p: score(p.predicted)), fits, score) if able else None

    def _meets(self, found: dict, latency: float | None) -> bool:
        goal = self.goal
        if goal.min_snr is not None and not found["snr"] >= goal.min_snr:
            return False
        if goal.max_drop is not None and found["drop"] is None:
            raise ValueError("max_drop: no output looks like class scores; give evaluate, or min_snr instead")
        if goal.max_drop is not None and found["drop"] > goal.max_drop:
            return False
        if goal.size is not None and found["bytes"] > goal.size:
            return False
        return latency is None or found["microseconds"] <= latency

    def verified(self, plan: Plan) -> dict[str, Any]:
        """The whole model with the forms of `plan`: microseconds, snr, bytes and drop, measured."""

        def measure() -> dict[str, Any]:
            model = self.measured.forms.build(plan.forms)
            session = self._session(plan, model)
            error, agreement = self._judged(self._judge(plan, model, session))
            told = said(Totals(self._microseconds(session), error, model.ByteSize()))
            return told | {"drop": None if agreement is None else 1 - agreement}

        found = dict(self.store.get(f"plan {fingerprint([plan.forms])[:16]}", measure))
        if self.evaluate is not None:
            found["drop"] = self._mark(self.table.uniform("float")) - self._mark(plan)
        return found

    def _microseconds(self, session: InferenceSession) -> float:
        """The time of all steps, at the speed that the machine had when the table was measured.

        Clocks of shared machines vary by a third. So the plans with one form everywhere are timed in turns with this
        one, and the result is scaled by what they took then over what they take now.
        """
        was = self.measured.times()
        times = clock.step_times({"": session, **self._pace}, self.measured.held[0], ROUNDS)
        ratios = [sum(was[form].values()) / sum(times[form].values()) for form in self._pace]
        return sum(times[""].values()) * math.prod(ratios) ** (1 / len(ratios))

    @cached_property
    def _pace(self) -> dict[str, InferenceSession]:
        return {form: self._session(self.table.uniform(form)) for form in REFERENCES}

    def _session(self, plan: Plan, model=None) -> InferenceSession:
        model = self.measured.forms.build(plan.forms) if model is None else model
        return clock.session_of(model, self.measured.held[0], self.measured.threads, plan.forms.values())

    def _mark(self, plan: Plan) -> float:
        """The user's metric; each plan is evaluated once."""
        if plan.key not in self.marks:
            mark = self.evaluate(self._session(plan))
            try:
                self.marks[plan.key] = float(mark)
            except (TypeError, ValueError):
                self.marks[plan.key] = math.nan
            if not math.isfinite(self.marks[plan.key]):
                raise ValueError(f"evaluate must return a finite number, got {mark!r}")
        return self.marks[plan.key]

    def _judge(self, plan: Plan, model, session: InferenceSession) -> InferenceSession:
        """A session that gives the tensors by which errors are measured."""
        ends = self.network.ends
        if set(ends) <= g.outputs(model):
            return session
        return clock.session_of(up_to(model, ends), self.measured.held[0], self.measured.threads, plan.forms.values())

    def _judged(self, session: InferenceSession) -> tuple[float, float | None]:
        """Noise over signal of the outputs on the samples that were held back, and the share of equal classes."""
        injector, same, classes, answers = self.measured.injector, 0, 0, []
        for right in injector.values:
            answers.append(session.run(injector.ends, {n: right[n] for n in self.measured.held[0]}))
            for end, y in zip(injector.ends, answers[-1]):
                if looks_like_scores(right[end]):
                    same += int((y.argmax(-1) == right[end].argmax(-1)).sum())
                    classes += y[..., 0].size
        return injector.difference(answers), same / classes if classes else None


def said(totals: Totals) -> dict[str, Any]:
    """`totals` for people: with decibels."""
    return {"microseconds": totals.microseconds, "snr": totals.snr, "bytes": int(round(totals.bytes))}


def _nearest(front: list[Plan]) -> str:
    """What the front reaches."""
    fast, exact = front[0].predicted, max(front, key=lambda p: p.predicted.snr).predicted
    small = min(front, key=lambda p: p.predicted.bytes).predicted
    return (
        f"the fastest takes {fast.microseconds:.0f} us, the most exact has {exact.snr:.1f} dB, "
        f"the smallest has {small.bytes:,.0f} bytes"
    )
