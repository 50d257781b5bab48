"""Measures how far each layer can be compressed on its own before the model's outputs suffer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

import numpy as np
import onnx

from .calibration.blas import one_blas_thread
from .calibration.engine import runner
from .calibration.observe import up_to
from .calibration.output_error import float_outputs
from .calibration.samples import Calibration, of_one_shape
from .factorize import factorize
from .model import graph as g
from .model.layers import find_layers, float_model
from .prune import prune
from .pruning.masks import parse
from .quantization.targets import Grid
from .tuning.inject import Injector, Section
from .tuning.measure import on_grid
from .tuning.rounded import Forms, calibrated
from .tuning.store import Store, fingerprint

SAMPLES = 8
OF = ("prune", "quantize", "factorize")
SPARSITIES = (0.5, 0.7, 0.9)
BITS = (8, 4)
ENERGIES = (0.99, 0.95, 0.9)


class Sensitivity(TypedDict):
    """What compressing a layer does to the outputs."""

    node: str
    kind: str
    weights: int
    errors: dict[float, float]
    cumulative: dict[float, float]


@dataclass(frozen=True, eq=False)
class Place:
    """A layer, or a tensor between layers: `x` is the layer's input, `output` what is replaced."""

    name: str
    kind: str
    weights: int
    output: str
    x: str = ""
    amounts: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Study:
    """What is compared.

    Attributes
    ----------
    model : in float
    whole : by amount, the model with all layers compressed
    places : the layers and tensors
    grids : of the tensors
    alone : by name of a layer whose weights several nodes share: makes the model with this layer compressed
    """

    model: onnx.ModelProto
    whole: Mapping[float, onnx.ModelProto]
    places: Sequence[Place]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    alone: Mapping[str, Callable[[float], onnx.ModelProto]] = field(default_factory=dict)


@one_blas_thread
def sensitivity(
    model: g.Model,
    calibration: Calibration,
    sparsities: Sequence[float] = SPARSITIES,
    *,
    of: str = "prune",
    bits: Sequence[int] = BITS,
    energies: Sequence[float] = ENERGIES,
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    samples: int = SAMPLES,
    cache: str | os.PathLike | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """The error of the model's outputs when one layer at a time is compressed, and when all up to it are.

    Only what depends on a layer is run again: its output is replaced by that of the compressed layer.

    Parameters
    ----------
    model, base_dir
        As in ``pycompress.prune``.
    calibration : iterable of {input name: array}
        As for ``pycompress.quantize``; the first `samples` are used.
    sparsities : sequence of float
        For ``of="prune"``, by magnitude; each in (0, 1).
    of : {"prune", "quantize", "factorize"}
        "quantize" tells weights from activations: a row with ``kind`` "tensor" is about rounding this tensor to uint8. A
        quarter of the samples are held back, and measure the error.
    bits : sequence of int
        For ``of="quantize"``: of the weights, 8 or 4. Layers that cannot have 4 bits have one error.
    energies : sequence of float
        For ``of="factorize"``, as in ``pycompress.factorize``; layers that would not become cheaper are left out.
    pattern : str
        For ``of="prune"``, as in ``pycompress.prune``.
    exclude : iterable of str, optional
        Names of nodes to leave alone; default as in the pass. Layers that it would leave alone are not in the result.
    samples : int
        At least 1.
    cache : path, optional
        A file for the errors. An interrupted run goes on from it; one that is complete is only read.
    progress : callable, optional
        Called with the number of layers done and their total.

    Returns
    -------
    list of dict
        For each layer ``node``, ``kind`` ("weights" or "tensor"), ``weights`` (how many), ``errors`` by amount: the root
        of the mean squared error of the float outputs over the root of their variance; and ``cumulative``, the same if
        everything before the layer is compressed, too (everything that does not depend on it).

    Raises
    ------
    ValueError
        As in the pass, if an argument is out of range, or if `cache` holds errors of something else.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> rows = pycompress.sensitivity(model, samples, of="quantize")
    >>> worst = max(rows, key=lambda row: row["errors"][8])
    >>> sorted(worst)
    ['cumulative', 'errors', 'kind', 'node', 'weights']
    """
    exclude = g.excluded(exclude)
    _check(of, sparsities, bits, energies, pattern, samples)
    model = float_model(g.as_model(model, base_dir))
    outputs = float_outputs(model)
    if not outputs:
        raise ValueError("sensitivity: the model has no float output")
    inputs = of_one_shape(model, calibration, samples)
    amounts = {"prune": sparsities, "quantize": bits, "factorize": energies}[of]
    asked = [of, list(map(float, amounts)), pattern, sorted(exclude or ()), exclude is None]
    arrays = [x for feed in inputs for _, x in sorted(feed.items())]
    store = Store(cache, fingerprint([model.SerializeToString(deterministic=True), *asked, *arrays]))
    if "rows" not in store.values:
        held = inputs[3::4] if of == "quantize" and len(inputs) > 3 else inputs
        if of == "quantize":
            used = [x for i, x in enumerate(inputs) if i % 4 != 3] if held is not inputs else inputs
            study = _quantized(model, used, bits, exclude)
        elif of == "prune":
            study = _pruned(model, sparsities, pattern, exclude)
        else:
            study = _factorized(model, energies, exclude)
        rows = _rows(study, outputs, held, store, progress)
        store.values["rows"] = [row | {k: list(row[k].items()) for k in ("errors", "cumulative")} for row in rows]
        store.save()
    return [row | {k: dict(map(tuple, row[k])) for k in ("errors", "cumulative")} for row in store.values["rows"]]


def _rows(study: Study, outputs: list[str], held: list[dict], store: Store, progress) -> list[dict]:
    tensors = [name for p in study.places for name in (p.output, p.x) if name]
    injector = Injector(study.model, outputs, tensors, held, centered=True)
    changed = {amount: _values(study, whole, injector) for amount, whole in study.whole.items()}
    rows = []
    for place in study.places:
        rows.append(_row(study, place, changed, injector, store))
        if progress:
            progress(len(rows), len(study.places))
    return rows


def _row(study: Study, place: Place, changed, injector: Injector, store: Store) -> dict:
    def up_to_here(values: list[dict]) -> float:
        now = [v[f"{place.output} made"] if place.kind == "weights" else v[place.output] for v in values]
        return float(np.sqrt(injector.error(place.output, now, values)))

    def alone(amount: float) -> float:
        return _alone(study, place, amount, injector)

    name = f"{place.kind} {place.name}"
    return {
        "node": place.name,
        "kind": place.kind,
        "weights": place.weights,
        "errors": {a: store.get(f"{name} {a}", partial(alone, a)) for a in place.amounts},
        "cumulative": {a: store.get(f"up to {name} {a}", partial(up_to_here, x)) for a, x in changed.items()},
    }


def _alone(study: Study, place: Place, amount: float, injector: Injector) -> float:
    """The error of the outputs if this place alone is changed."""
    if place.kind == "tensor":
        now = [on_grid(v[place.output], study.grids[place.output]) for v in injector.values]
    elif place.name in study.alone:
        run, names = runner(study.alone[place.name](amount)), [i.name for i in g.graph_inputs(study.model)]
        answers = [run(injector.ends, {n: v[n] for n in names}) for v in injector.values]
        return float(np.sqrt(injector.difference(answers)))
    else:
        now = Section(study.whole[amount], place.x, place.output).run([v[place.x] for v in injector.values])
    return float(np.sqrt(injector.error(place.output, now)))


def _values(study: Study, whole: onnx.ModelProto, injector: Injector) -> list[dict[str, np.ndarray]]:
    """For each sample, all tensors in the compressed model; those with a grid rounded, and as made under "NAME made"."""
    given = [i.name for i in g.graph_inputs(study.model)]
    names = [n for n in injector.replaceable() if n not in given]
    run, found = runner(up_to(whole, names)), []
    for right in injector.values:
        values = right | dict(zip(names, run(names, {n: right[n] for n in given})))
        made = {f"{name} made": x for name, x in values.items()}
        found.append({n: on_grid(x, study.grids[n]) if n in study.grids else x for n, x in values.items()} | made)
    return found


def _pruned(model: onnx.ModelProto, sparsities: Sequence[float], pattern: str, exclude) -> Study:
    layers = find_layers(model, exclude, 0.5)[0]
    each = tuple(map(float, sparsities))
    whole = {s: prune(model, {x.name: s for x in layers}, pattern=pattern) for s in each}
    places = [_place(x.node, x.w.size, each) for x in layers]
    alone = {x.name: lambda s, x=x: prune(model, {x.name: s}, pattern=pattern) for x in layers if len(x.nodes) > 1}
    return Study(model, whole, places, alone=alone)


def _factorized(model: onnx.ModelProto, energies: Sequence[float], exclude) -> Study:
    whole = {float(e): factorize(model, energy=float(e), exclude=exclude) for e in energies}
    found: dict[str, list[float]] = {}
    for energy, made in whole.items():
        for name in json.loads(g.metadata(made)["pycompress.factorize"])["layers"]:
            found.setdefault(name, []).append(energy)
    values = g.constants(model)
    nodes = [n for n in model.graph.node if n.name in found]
    return Study(model, whole, [_place(n, int(np.prod(values[n.input[1]].dims)), tuple(found[n.name])) for n in nodes])


def _quantized(model: onnx.ModelProto, used: list[dict], bits: Sequence[int], exclude) -> Study:
    network = calibrated(model, used, exclude=exclude or set())
    forms = Forms(network, 0)
    whole, places = {}, []
    for b in bits:
        ways = {u.name: forms.names(u, ("int8", "int4")) for u in network.units}
        whole[float(b)] = forms.build({name: f"int{b}" if f"int{b}" in own else "int8" for name, own in ways.items()})
    links = {x.name: x for x in network.links}
    each = tuple(map(float, bits))
    tensors = {name: Place(name, "tensor", 0, name, amounts=each[:1]) for name in links}
    places += [tensors.pop(i.name) for i in g.graph_inputs(network.model) if i.name in tensors]
    for unit in network.units:
        if unit.weighted:
            layer = network.layers[unit.name]
            able = tuple(b for b in each if f"int{b:g}" in ways[unit.name])
            places.append(Place(unit.name, "weights", layer.w.size, unit.output, layer.node.input[0], able))
        if unit.output in tensors:
            places.append(tensors.pop(unit.output))
    return Study(network.model, whole, [*places, *tensors.values()], network.grids)


def _place(node: onnx.NodeProto, weights: int, amounts: tuple[float, ...]) -> Place:
    return Place(node.name, "weights", weights, node.output[0], node.input[0], amounts)


def _check(of: str, sparsities, bits, energies, pattern: str, samples) -> None:
    if of not in OF:
        raise ValueError(f"of must be one of {', '.join(OF)}, got {of!r}")
    if of == "prune" and parse(pattern).keep:
        raise ValueError(f"pattern {pattern} has one sparsity only; take unstructured or blocks")
    if bad := [s for s in sparsities if isinstance(s, bool) or not 0 < s < 1]:
        raise ValueError(f"sparsities must be in (0, 1), got {bad[0]!r}")
    if bad := [b for b in bits if isinstance(b, bool) or b not in BITS]:
        raise ValueError(f"bits must be 8 or 4, got {bad[0]!r}")
    if bad := [e for e in energies if isinstance(e, bool) or not 0 < e <= 1]:
        raise ValueError(f"energies must be in (0, 1], got {bad[0]!r}")
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(f"samples must be an integer of at least 1, got {samples!r}")
