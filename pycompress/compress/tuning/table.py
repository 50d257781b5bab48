"""The table of forms: what each layer costs in each form, as a plain value; and the choice of forms from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..model.layers import WEIGHTED
from .cut import Cut

FLOATS = ("float", "float16", "bfloat16", "lowrank")  # forms that read and write float tensors; the others read uint8
PRICES = 41  # of the error
SPAN = 1e5  # from the middle price to the outer ones


@dataclass(frozen=True)
class Cost:
    """Of a layer in one form: microseconds, error (noise over signal of the model's outputs), bytes in the .onnx file."""

    microseconds: float
    error: float
    bytes: float


@dataclass(frozen=True)
class Row:
    """A unit and its forms."""

    node: str
    op: str
    forms: dict[str, Cost]


@dataclass(frozen=True)
class Link:
    """A tensor between units: the error of rounding it to uint8, and the microseconds of converting it.

    copied : its maker, if it runs on integers, only rearranges rounded values
    emit : the microseconds that its maker, on integers, takes longer if it writes floats: no reader runs on integers
    """

    tensor: str
    maker: str | None
    readers: tuple[str, ...]
    error: float
    quantize: float
    dequantize: float
    copied: bool = False
    emit: float = 0.0


@dataclass(frozen=True)
class Totals:
    """Of a model: microseconds, error (noise over signal) and bytes."""

    microseconds: float
    error: float
    bytes: float

    @property
    def snr(self) -> float:
        """The signal-to-noise ratio in dB; at most 300."""
        return 300.0 if self.error <= 1e-30 else -10 * math.log10(self.error)


@dataclass(frozen=True)
class Plan:
    """A form for each unit, by name, with what the table predicts."""

    forms: dict[str, str]
    predicted: Totals

    @property
    def key(self) -> str:
        """The same for the same forms."""
        return ",".join(f"{node}:{form}" for node, form in self.forms.items())


@dataclass(frozen=True)
class Table:
    """What each form of each layer costs.

    Attributes
    ----------
    rows : of the units, in the order of the network
    links : the tensors between them
    rest : of the nodes without a choice, and of what does not depend on forms
    about : machine, threads, samples and so on
    """

    rows: list[Row]
    links: list[Link]
    rest: Totals
    about: dict[str, Any] = field(default_factory=dict)

    def totals(self, forms: Mapping[str, str]) -> Totals:
        """The prediction for a form of each unit: costs are added."""
        sums = [self.rest.microseconds, self.rest.error, self.rest.bytes]
        for row in self.rows:
            cost = row.forms[forms[row.node]]
            sums = [sums[0] + cost.microseconds, sums[1] + cost.error, sums[2] + cost.bytes]
        for link in self.links:
            readers = [forms[r] not in FLOATS for r in link.readers]
            made = link.maker is not None and forms[link.maker] not in FLOATS
            if any(readers):
                sums[1] += 0 if made and link.copied else link.error
                sums[0] += 0 if made else link.quantize
                sums[0] += link.dequantize if made and not all(readers) else 0
            elif made:
                sums[0] += link.emit
        return Totals(*sums)

    def plan(self, forms: Mapping[str, str]) -> Plan:
        """A form for each unit, with its prediction; what has no weights and no reader on integers is in float."""
        settled, read = dict(forms), {x.maker: x.readers for x in self.links}
        for row in reversed(self.rows):
            alone = all(settled[r] in FLOATS for r in read.get(row.node, ()))
            if row.op not in WEIGHTED and alone and "float" in row.forms:
                settled[row.node] = "float"
        return Plan(settled, self.totals(settled))

    def uniform(self, form: str) -> Plan:
        """All units in one form; those that cannot have it in the one for the same kind of tensors."""
        other = "float" if form in FLOATS else "int8"
        return self.plan({r.node: form if form in r.forms else other for r in self.rows})

    def cheapest(self, error: float, size: float, floats: Iterable[str]) -> Plan:
        """The plan of least microseconds + `error` * error + `size` * bytes: exactly, where tensors have one reader each.

        For given kinds of tensors the best form of each unit is independent of the others; which units run on integers
        is a minimum cut, since converting tensors costs something where the two meet.

        floats : the forms that units in float may have
        """
        cut, best, ops = Cut(), {}, {row.node: row.op for row in self.rows}
        for row in self.rows:
            for whole in (True, False):
                ways = [f for f in row.forms if (f not in FLOATS) == whole and (whole or f in floats)]
                prices = {f: self._price(row.forms[f], error, size) for f in ways}
                best[row.node, whole] = min(prices.items(), key=lambda x: x[1]) if prices else ("", math.inf)
            cut.choice(row.node, *(min(best[row.node, whole][1], 1e30) for whole in (True, False)))
        for i, link in enumerate(self.links):
            price, again = error * link.error, link.quantize + error * link.error * link.copied
            cut.choice(f"#{i}", 0.0 if link.copied else price, 0.0)
            for reader in link.readers:
                cut.differ(reader, f"#{i}", 1e30)
            if len(link.readers) == 1:
                cut.differ(f"#{i}", link.readers[0], 1e30)
            if link.maker is None:
                cut.choice(f"#{i}", again, 0.0)
            else:
                cut.differ(f"#{i}", link.maker, again)
                inner = ops[link.maker] not in WEIGHTED
                cut.differ(link.maker, f"#{i}", 1e30 if inner else link.emit)
            if link.maker is not None and len(link.readers) > 1:
                for reader in link.readers:
                    cut.differ(f"!{i}", reader, 1e30)
                cut.differ(link.maker, f"!{i}", link.dequantize)
        whole = cut.solve()
        return self.plan({r.node: best[r.node, whole[r.node]][0] for r in self.rows})

    @staticmethod
    def _price(cost: Cost, error: float, size: float) -> float:
        return cost.microseconds + error * cost.error + size * cost.bytes

    def front(self) -> list[Plan]:
        """Plans of which none is better in time, error and bytes than another, the fastest first."""
        if not self.rows:
            return []
        kinds = {f for row in self.rows for f in row.forms if f in FLOATS}
        sets = [kinds - {"bfloat16"}] + ([kinds - {"float"}] if "bfloat16" in kinds else [])
        middle = self.uniform("int8").predicted
        unit = middle.microseconds / max(middle.error, 1e-12)
        prices = [0.0] + [unit * SPAN ** (2 * i / (PRICES - 1) - 1) for i in range(PRICES)]
        sizes = [0.0] + [middle.microseconds / max(middle.bytes, 1) * 4.0**i for i in range(-3, 4)]
        found = {p.key: p for s in sets for b in sizes for e in prices for p in [self.cheapest(e, b, s)]}
        whole = [self.uniform(f) for f in {f for row in self.rows for f in row.forms}]
        return undominated([*found.values(), *whole])

    def filled(self, plan: Plan, fits, score) -> Plan:
        """`plan`, improved by one unit at a time as long as `score` falls and `fits` holds: what the prices leave over."""
        kind = "bfloat16" in plan.forms.values()
        while True:
            better = plan
            for row in self.rows:
                for form in row.forms:
                    if form == plan.forms[row.node] or form == ("float" if kind else "bfloat16"):
                        continue
                    other = self.plan(plan.forms | {row.node: form})
                    if fits(other.predicted) and score(other.predicted) < score(better.predicted) * (1 - 1e-9):
                        better = other
            if better is plan:
                return plan
            plan = better

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Table:
        """The table of which `to_dict` gave the value."""
        rows = [Row(r["node"], r["op"], {f: Cost(**c) for f, c in r["forms"].items()}) for r in told["rows"]]
        links = [Link(**(x | {"readers": tuple(x["readers"])})) for x in told["links"]]
        return replace(cls(rows, links, Totals(**told["rest"])), about=dict(told["about"]))


def undominated(plans: Iterable[Plan]) -> list[Plan]:
    """Those than which no other is at least as good in time, error and bytes; the fastest first."""

    def figures(p: Plan) -> tuple[float, float, float]:
        return p.predicted.microseconds, p.predicted.error, p.predicted.bytes

    kept: list[Plan] = []
    for plan in sorted(plans, key=figures):
        if not any(all(a <= b for a, b in zip(figures(k), figures(plan))) for k in kept):
            kept.append(plan)
    return kept
