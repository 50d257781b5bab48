"""Fills the table of forms: the error, the time and the bytes of each layer in each form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import onnx

from ..progress import Progress
from ..quantization.functions import UNARY
from . import clock
from .inject import Injector, Section
from .network import Unit
from .rounded import Forms, Network
from .store import Store
from .table import FLOATS, Cost, Link, Row, Table, Totals

ROUNDS = 30  # runs of each plan


class Measurements:
    """Measurements of a network, each made once.

    Attributes
    ----------
    held : the samples that errors are measured with
    """

    def __init__(
        self,
        network: Network,
        forms: Forms,
        wanted: Sequence[str],
        held: Sequence[Mapping[str, np.ndarray]],
        threads: int,
        store: Store,
        progress: Progress | None = None,
    ):
        self.network, self.forms, self.threads, self.store, self.held = network, forms, threads, store, held
        self.ways = {u.name: forms.names(u, wanted) for u in network.units}
        self.kinds = [f for f in wanted if any(f in own for own in self.ways.values())]
        self._whole: dict[str, onnx.ModelProto] = {}
        self._progress, self._done = progress, 0
        errors = sum(len(own) - 1 for u, own in zip(network.units, self.ways.values()) if u.weighted)
        self._total = errors + len(network.links) + 1 + ROUNDS

    def tick(self, steps: int = 1) -> None:
        """Counts steps of the work."""
        self._done += steps
        if self._progress:
            self._progress(min(self._done, self._total), self._total)

    @cached_property
    def injector(self) -> Injector:
        """For errors; made when the first is not known."""
        inputs = [self.network.layers[u.name].node.input[0] for u in self.network.units if u.weighted]
        tensors = [*inputs, *(u.output for u in self.network.units), *(x.name for x in self.network.links)]
        return Injector(self.network.model, self.network.ends, tensors, self.held)

    def tensor_error(self, name: str) -> float:
        """The error of the outputs if the tensor `name` alone is rounded to uint8."""

        def measure() -> float:
            grid = self.network.grids[name]
            values = [on_grid(v[name], grid) for v in self.injector.values]
            return self.injector.error(name, values)

        return self.store.get(f"error of tensor {name}", measure)

    def form_error(self, unit: Unit, form: str) -> float:
        """The error of the outputs if the weights of `unit` alone have this form, with its inputs in float."""

        def measure() -> float:
            return self.injector.error(unit.output, self.changed(unit, form, self.injector.values))

        if form == "float" or not unit.weighted:
            return 0.0
        return self.store.get(f"error of {form} in {unit.name}", measure)

    def changed(self, unit: Unit, form: str, values: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
        """The output of `unit` in this form, for each sample; its inputs are in `values`."""
        x = self.network.layers[unit.name].node.input[0]
        products = "bfloat16" if form == "bfloat16" else "float32"
        return Section(self.whole(form), x, unit.output, products).run([v[x] for v in values])

    def whole(self, form: str) -> onnx.ModelProto:
        """The model with all layers in one form, as far as they can have it."""
        if form not in self._whole:
            self._whole[form] = self.forms.build(self.uniform(form))
        return self._whole[form]

    def times(self) -> dict[str, dict[str, float]]:
        """By form, the microseconds of each node where all layers have that form; measured together, in turns.

        "even" and "odd" are plans where int8 and float alternate, see `alternating`.
        """

        def measure() -> dict[str, dict[str, float]]:
            sessions = {}
            for kind in self.kinds:
                sessions[kind] = clock.session_of(self.whole(kind), self.held[0], self.threads, {kind})
            for name, forms in self.alternating().items():
                sessions[name] = clock.session_of(self.forms.build(forms), self.held[0], self.threads, {"float"})
            return clock.step_times(sessions, self.held[0], ROUNDS, lambda done, total: self.tick())

        return self.store.get("times", measure)

    def alternating(self) -> dict[str, dict[str, str]]:
        """Two plans that have every second layer on integers: all layers meet the other kind in one of them."""
        order = [u.name for u in self.network.units if u.weighted]
        inner = {u.name for u in self.network.units if u.op in UNARY}
        found = {}
        for name, odd in (("even", 0), ("odd", 1)):
            whole = {n for i, n in enumerate(order) if i % 2 == odd} | inner
            found[name] = {u.name: "int8" if u.name in whole else "float" for u in self.network.units}
        return found

    def emits(self, times: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """By tensor, the microseconds that its maker takes longer on integers if it writes floats.

        Activations on integers that no integer layer reads run in float, as part of the layer before them.
        """
        units, spent = (
            {u.name: u for u in self.network.units},
            {k: clock.by_unit(x, self.network.units)[0] for k, x in times.items()},
        )
        read = {x.name: x.readers for x in self.network.links}
        found = {}
        for name, forms in self.alternating().items():
            for unit in (u for u in units.values() if u.weighted and forms[u.name] == "int8"):
                after = read.get(unit.output, ())
                inner = units[after[0]] if len(after) == 1 and units[after[0]].op in UNARY else None
                last = inner or unit
                if any(forms[r] == "int8" for r in read.get(last.output, ())):
                    continue
                both = [unit.name, *([inner.name] if inner else [])]
                more = sum(spent[name][n] - spent["int8"][n] for n in both)
                found[last.output] = max(more, 0.0)
                if inner:
                    found[unit.output] = max(more + spent["int8"][inner.name] - spent["float"][inner.name], 0.0)
        return found

    def _converted(self, times: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
        """By tensor, the microseconds of quantizing and dequantizing it: in a plan where that happened, else by itself."""
        elements = self.store.get("elements", self._elements)
        alone = self.store.get(
            "conversions",
            lambda: {str(n): t for n, t in clock.conversions(elements.values(), self.threads, ROUNDS).items()},
        )
        found = {}
        for link in self.network.links:
            own = list(alone[str(elements[link.name])])
            for i, ending in enumerate((".quantize", ".dequantize")):
                seen = [x[link.name + ending] for x in times.values() if link.name + ending in x]
                own[i] = seen[0] if seen else own[i]
            found[link.name] = own
        return found

    def uniform(self, kind: str) -> dict[str, str]:
        """All layers in one form, as far as they can have it."""
        other = "float" if kind in FLOATS else "int8"
        return {name: kind if kind in own else other for name, own in self.ways.items()}

    def table(self, about: Mapping[str, object]) -> Table:
        """The table, with everything measured that is not known yet."""
        errors = {}
        for unit in self.network.units:  # in this order each part of the network is planned once
            errors |= {(unit.name, form): self._counted(unit, form) for form in self.ways[unit.name]}
            if unit.output in self.network.grids:
                self.tensor_error(unit.output)
        tensors = {}
        for link in self.network.links:
            tensors[link.name] = self.tensor_error(link.name)
            self.tick()
        times = self.times()
        spent = {kind: clock.by_unit(times[kind], self.network.units) for kind in self.kinds}
        sizes = self.store.get("bytes", lambda: {kind: self.whole(kind).ByteSize() for kind in self.kinds})
        converted, emits = self._converted(times), self.emits(times)
        payloads = {(u.name, f): self._bytes(u, f) for u in self.network.units for f in self.ways[u.name]}
        links = [
            Link(x.name, x.maker, x.readers, tensors[x.name], *converted[x.name], x.copied, emits.get(x.name, 0.0))
            for x in self.network.links
        ]
        rest, base = spent["float"][1], sizes["float"] - sum(payloads[u.name, "float"] for u in self.network.units)
        more = {"float": 0.0}
        for kind in sorted(self.kinds, key=lambda kind: kind != "int8"):  # names and nodes, spread over the layers
            forms = self.uniform(kind)
            known = sum(payloads[name, f] + more.get(f, 0.0) for name, f in forms.items())
            count = sum(f == kind for f in forms.values())
            more.setdefault(kind, (sizes[kind] - base - known) / max(count, 1))
        rows = [
            Row(u.name, u.op, {
                f: Cost(spent[f][0][u.name], errors[u.name, f], payloads[u.name, f] + more[f])
                for f in self.ways[u.name]
            })
            for u in self.network.units
        ]  # fmt: skip
        self.store.save()
        return Table(rows, links, Totals(rest, 0.0, base), dict(about))

    def _counted(self, unit: Unit, form: str) -> float:
        found = self.form_error(unit, form)
        if unit.weighted and form != "float":
            self.tick()
        return found

    def _elements(self) -> dict[str, int]:
        return {x.name: int(self.injector.values[0][x.name].size) for x in self.network.links}

    def _bytes(self, unit: Unit, form: str) -> float:
        """Of the weights in the file."""
        if not unit.weighted:
            return 0.0
        n, k = self.network.layers[unit.name].w.shape
        if form == "int4":
            return n * k / 2 + n * -(-k // 32) * 2 + 4 * n
        if form == "lowrank":
            return 4.0 * (n + k) * self.forms.rank(self.network.layers[unit.name]) + 4 * n
        each = {"float": 4, "float16": 2, "bfloat16": 2, "int8": 1, "sparse": 1}[form]
        return n * k * each + (4 if form in FLOATS else 13) * n


def on_grid(x: np.ndarray, grid) -> np.ndarray:
    """`x` rounded to uint8 and back."""
    codes = np.clip(np.rint(x / grid.scale) + np.float32(grid.zero), 0, 255)
    return ((codes - np.float32(grid.zero)) * grid.scale).astype(np.float32)
