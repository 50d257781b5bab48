"""factorize: replaces weights of an ONNX model by low-rank factors."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import helper

from ..compiler import InputShapes
from ..errors import ModelError
from .calibration.blas import one_blas_thread
from .calibration.computable import computable
from .calibration.observe import observe
from .calibration.output_error import Probe, float_outputs
from .calibration.samples import Calibration, Samples
from .calibration.sequential import Problem, following, problem
from .choice import Choice
from .lowrank import ranks as rk
from .lowrank.decompose import factor, lost, spectra
from .lowrank.nodes import Stopwatch, geometry, insert
from .model import graph as g
from .model.layers import Layer, computed_weights, float_model, unable, weighted_nodes
from .model.matrix import bias_of, matrix
from .model.prepare import check, readable
from .progress import Progress, counted
from .pruning.reconstruct import PROBED
from .verdict import check_min_snr, conclude

METADATA = "pycompress.factorize"
METHODS = ("svd", "channel", "spatial", "tucker")
BUDGETS = tuple(rk.PAYS)
TRIED = 0.1  # share of a layer's squared output that is removed to measure its effect on the model's error
SOFT = 0.3  # exponent of that effect: later layers compensate for much of it


@dataclass(frozen=True, eq=False)
class Candidate:
    """A layer that may be factorized: its kind, its sizes, the problem to solve, and its possible ranks with their costs."""

    layer: Layer
    kind: str
    sizes: rk.Geometry
    problem: Problem
    calibrated: bool
    tails: list[np.ndarray]
    options: list[Choice]

    def factors(self, ranks: tuple[int, ...], p: Problem | None = None):
        """The factors of the given `ranks` for the problem `p`, by default the layer's own."""
        p = p or self.problem
        return factor(self.kind, p.w, self.sizes.c, self.sizes.kernel, p.h if self.calibrated else None, ranks)

    def error(self, w: np.ndarray) -> float:
        """The relative error of the outputs with the weights `w`."""
        return float(np.sqrt(max(lost(self.layer.w, w, self.problem.h if self.calibrated else None), 0.0)))


@one_blas_thread
def factorize(
    model: g.Model,
    *,
    energy: float | None = None,
    rank: int | Mapping[str, int | tuple[int, int]] | None = None,
    ratio: float | None = None,
    calibration: Calibration | None = None,
    method: str = "svd",
    budget: str = "macs",
    exclude: Iterable[str] | None = None,
    reconstruct: bool | None = None,
    input_shapes: InputShapes | None = None,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Replace layers of `model` by two or three low-rank layers where that is less work.

    Matrix products and 1x1 convolutions are split in two by a truncated singular value decomposition; the parts are
    called ``<node>/u`` and ``<node>/v``. `method` says how larger kernels are split. Without `calibration` the weights
    are approximated. With it, the outputs are: directions in which the inputs vary little are dropped first (as in
    DRONE, Chen et al., 2021, and SVD-LLM, arXiv:2403.07378), and the bias absorbs the mean error. Networks should be
    trained again afterwards: without training, a single early layer at 0.95 of its energy can change a third of the
    answers.

    Conv without groups, Gemm and MatMul with constant weights are factorized; batch norm is folded first. The result is
    an ordinary ONNX model. Its metadata "pycompress.factorize" lists for each layer the kind, the ranks, the break-even
    rank at which the factors cost as much as the layer, the relative error of its weights (with calibration, of its
    outputs), MACs and weights before and after; and why other layers were left alone.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed. Quantize afterwards.
    energy : float
        In (0, 1]: each layer gets the minimum rank that keeps this share of the squared singular values; with calibration,
        of the squared deviation of its outputs. Ranks are rounded up to multiples of 8.
    rank : int or {node name: int or pair}
        The rank of every layer that becomes cheaper by it. A dict gives the ranks of the layers it names, whether they
        become cheaper or not; all others are left alone. A Tucker decomposition has two ranks: of the input channels and
        of the output channels.
    ratio : float
        In (0, 1): keep this share of the `budget` of all layers together. Ranks are chosen to maximize the product of the
        energies that the layers keep; with calibration, layers count more that affect the model's outputs more.
    calibration : iterable, optional
        Samples as in ``pycompress.quantize``. With `reconstruct` they are held in memory and run through the network
        twice for each layer.
    method : {"svd", "channel", "spatial", "tucker"}
        For convolutions with kernels larger than 1x1. "svd" leaves them alone; "channel": one with the same kernel to few
        channels, then 1x1 (Zhang et al., arXiv:1505.06798); "spatial": a column of the kernel, then a row (Jaderberg et al.,
        arXiv:1405.3866); "tucker": 1x1 to few channels, the kernel among few, then 1x1 (Kim et al., arXiv:1511.06530).
    budget : {"macs", "parameters", "time"}
        The cost that `ratio` refers to, and that must fall for a layer to be factorized at all: multiply-accumulates (to at
        most 0.85 of the layer's, since narrow products are slower for each), weights, or time measured here on one thread.
    exclude : iterable of str, optional
        Names of nodes to leave alone; by default the first convolutions.
    reconstruct : bool, optional
        Fit the factors of each layer to its outputs in the original network, given its inputs after the preceding layers
        were factorized. Default: if there is calibration.
    input_shapes : dict or sequence, optional
        As for ``pycompress.compile``, for inputs of open size. An open batch counts as 1.
    min_snr : float, optional
        Refuse a result whose outputs have a lower signal-to-noise ratio against `model`, in dB, on calibration samples
        that are held back. Needs calibration.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Returns
    -------
    onnx.ModelProto
        `model` with more layers, each of them smaller. Its metadata says what was done.

    Raises
    ------
    ValueError
        If an argument is out of range or names a missing node; `ModelError`, a ValueError, if the model is invalid,
        already quantized, or has nothing to factorize.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> thin = pycompress.factorize(model, rank=16)
    >>> thin.ByteSize() < model.ByteSize()
    True
    """
    _check(energy, rank, ratio, calibration, method, budget, reconstruct, input_shapes)
    exclude = g.excluded(exclude)
    check_min_snr(min_snr, calibration is not None)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    model = float_model(model, "factorize")
    whole = g.copied(model)
    samples = None if calibration is None else Samples(whole, calibration)
    able = None if samples is None else computable(whole, samples.sample)
    blocked, seen = able.why if able else {}, None
    found, left = _find(whole, exclude, method, rank if isinstance(rank, Mapping) else {}, input_shapes, blocked)
    layers = [layer for layer, _, _ in found]
    refit = reconstruct is not False and calibration is not None
    if calibration is None:
        problems = [Problem(x.w, np.ones(0), None, np.zeros(x.w.shape[1])) for x in layers]
    else:
        tensors = list(dict.fromkeys(x.node.input[0] for x in layers))
        seen = observe(whole, samples, tensors, [x.node for x in layers], progress, keep=None if refit else PROBED)
        problems = [problem(x, seen.moments[x.name]) for x in layers]
    candidates = []
    for (layer, kind, sizes), p in counted(zip(found, problems), progress):
        tails = spectra(kind, layer.w, sizes.c, sizes.kernel, None if calibration is None else p.h)
        seconds = Stopwatch(whole, layer.node, kind, sizes).seconds if budget == "time" else None
        ways = rk.options(kind, sizes, tails, budget, seconds)
        candidates.append(Candidate(layer, kind, sizes, p, calibration is not None, tails, ways))
    if ratio is not None:
        parts = (
            _parts(able.part, candidates, seen.first, progress) if calibration is not None else [1.0] * len(candidates)
        )
        weighed = [[replace(o, cost=o.cost * part**SOFT) for o in t.options] for t, part in zip(candidates, parts)]
        chosen = [o.value for o in rk.within(weighed, ratio)]
        left |= {
            t.layer.name: "within the budget it is best kept as it is"
            for t, ranks in zip(candidates, chosen)
            if not ranks
        }
    else:
        chosen = [_ranks(t, energy, rank, budget, left) for t in candidates]
    rows = {}
    for t, ranks in counted(zip(candidates, chosen), progress):
        if not ranks:
            continue
        p = following(t.layer, whole, model, seen.first) if refit else t.problem
        parts = t.factors(ranks, p)
        bias = p.bias(t.layer, parts.w) if calibration is not None else None
        insert(model, t.layer.node, t.kind, parts.stages, t.layer.bias if bias is None else bias)
        rows[t.layer.name] = _row(t, ranks, budget, p.w if refit else None, parts.w)
    how = {"method": method, "budget": budget, "calibrated": calibration is not None, "reconstructed": refit}
    asked = {"energy": energy, "rank": dict(rank) if isinstance(rank, Mapping) else rank, "ratio": ratio}
    note(model, candidates, rows, left, how | {k: v for k, v in asked.items() if v is not None}, budget)
    g.drop_unused(model)
    check(model)
    conclude("factorize", whole, model, size, seen, able.ends if able else (), blocked, min_snr)
    return model


def check_sizes(model: onnx.ModelProto, input_shapes) -> None:
    """Raises ModelError where factorize would need the size of images that `model` and `input_shapes` leave open."""
    model = readable(g.copied(model))
    shapes = geometry(model, input_shapes)
    for node in weighted_nodes(model):
        shapes(node)


def _check(energy, rank, ratio, calibration, method, budget, reconstruct, input_shapes) -> None:
    given = [name for name, x in (("energy", energy), ("rank", rank), ("ratio", ratio)) if x is not None]
    if len(given) != 1:
        raise ValueError(f"give one of energy, rank and ratio, got {' and '.join(given) or 'none'}")
    for name, value, top in (("energy", energy, 1.0), ("ratio", ratio, np.nextafter(1.0, 0.0))):
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value <= top):
            raise ValueError(f"{name} must be in (0, 1{']' if name == 'energy' else ')'}, got {value!r}")
    if rank is not None and not isinstance(rank, Mapping) and not _whole(rank):
        raise ValueError(f"rank must be an integer of at least 1, or a dict, got {rank!r}")
    if isinstance(rank, Mapping) and not (rank and all(isinstance(n, str) and _is_rank(r) for n, r in rank.items())):
        raise ValueError(f"rank must name nodes, each with an integer of at least 1 or a pair of them, got {rank!r}")
    shapes = (
        list(input_shapes.values())
        if isinstance(input_shapes, Mapping)
        else [() if input_shapes is None else input_shapes]
    )
    if not all(isinstance(s, Sequence) and all(_whole(d) for d in s) for s in shapes):
        raise ValueError(f"input_shapes must be a shape, or one for each input by name, got {input_shapes!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if budget not in BUDGETS:
        raise ValueError(f"budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    if reconstruct and calibration is None:
        raise ValueError("reconstruct needs calibration")


def _is_rank(x) -> bool:
    return all(map(_whole, x)) and len(x) == 2 if isinstance(x, (list, tuple)) else _whole(x)


def _whole(x) -> bool:
    return isinstance(x, (int, np.integer)) and not isinstance(x, bool) and x >= 1


def _find(model, exclude, method: str, named: Mapping, input_shapes, blocked: Mapping[str, str]):
    """[(layer, kind, sizes)] of the layers that can be factorized, in order, and by name why others are left alone."""
    names = {n.name for n in model.graph.node}
    for what, some in (("exclude", set(exclude or ())), ("rank", set(named))):
        if unknown := some - names:
            raise ValueError(f"{what}: the model has no node {min(unknown)!r}")
    values, readers, outputs = g.constants(model), g.consumers(model), g.outputs(model)
    weighted, shapes = weighted_nodes(model), geometry(model, input_shapes)
    first = g.ends(model, {n.name for n in weighted})[0] if exclude is None else dict.fromkeys(exclude, "asked for")
    if exclude is None and len(first) == sum(not unable(n, values) for n in weighted):
        first = {}  # there are no other layers
    found, why = [], computed_weights(model)
    for node in weighted:
        kernel = tuple(values[node.input[1]].dims[2:]) if node.op_type == "Conv" else ()
        kind = "svd" if all(x == 1 for x in kernel) else method
        if not (said := unable(node, values) or blocked.get(node.name)):
            if len(readers[node.input[1]]) > 1 or node.input[1] in outputs:
                said = "its weights are shared"
            elif node.name in first and node.name not in named:
                said = first[node.name]
            elif kind == "svd" and any(x > 1 for x in kernel):
                said = "its kernel is larger than 1x1: methods channel, spatial and tucker are for it"
            elif kind == "spatial" and (len(kernel) != 2 or 1 in kernel):
                said = "spatial factors need a kernel with rows and columns"
            elif 0 in values[node.input[1]].dims:
                said = "it has no weights"
            elif named and node.name not in named:
                said = "not named"
        if said:
            if node.name in named:
                raise ValueError(f"rank: node {node.name!r} cannot be factorized: {said}")
            why[node.name] = said
            continue
        w, _, _ = matrix(model, node)
        layer = Layer([node], w, 1, bias_of(model, node, len(w)), correct=node.op_type != "MatMul")
        found.append((layer, kind, shapes(node)))
    if missing := set(named) - {layer.name for layer, _, _ in found}:
        raise ValueError(f"rank: node {min(missing)!r} has no constant weights")
    if not found:
        said = "; ".join(f"{name!r}: {reason}" for name, reason in why.items())
        raise ModelError(
            f"nothing to factorize: {said or 'the model has no Conv, Gemm or MatMul with constant weights'}"
        )
    return found, why


def _ranks(t: Candidate, energy, rank, budget: str, left: dict[str, str]) -> tuple[int, ...]:
    """The ranks of a layer by `energy` or `rank`; () if it stays as it is, with the reason in `left`."""
    full = rk.full_ranks(t.kind, t.sizes)
    if isinstance(rank, Mapping):
        asked = rank[t.layer.name]
        asked = (asked,) * len(full) if not isinstance(asked, (tuple, list)) else tuple(asked)
        if len(asked) != len(full) or not all(_whole(r) and r <= m for r, m in zip(asked, full)):
            raise ValueError(
                f"rank of {t.layer.name!r} must be at least 1 and at most {full}, got {rank[t.layer.name]!r}"
            )
        return tuple(int(r) for r in asked)
    if energy is not None:
        ranks = rk.wanted(t.kind, t.sizes, t.tails, energy)
    else:
        ranks = tuple(min(int(rank), m) for m in full)
    if budget == "time":
        pays = any(all(a >= b for a, b in zip(o.value, ranks)) for o in t.options[1:])
    else:
        before, after = (getattr(rk.work(t.kind, t.sizes, r), budget) for r in ((), ranks))
        pays = after <= rk.PAYS[budget] * before
    if pays:
        return ranks
    even = rk.break_even(t.kind, t.sizes, budget)
    left[t.layer.name] = f"rank {'x'.join(map(str, ranks))} does not pay; its break-even rank is {even}"
    return ()


def _parts(model, candidates: list[Candidate], samples: list[dict], progress: Progress | None) -> list[float]:
    """How much a squared error of each layer's outputs adds to the model's squared error, measured one layer at a time."""
    if not float_outputs(model):
        return [1.0] * len(candidates)
    some = samples[:: max(1, len(samples) // PROBED)][:PROBED]
    probe, found = Probe(model, [t.layer for t in candidates], some), []
    for t in counted(candidates, progress):
        ways = [o for o in t.options if o.value]
        if not ways:
            found.append(1.0)
            continue
        w = t.factors(min(ways, key=lambda o: abs(o.cost - TRIED)).value).w
        bias = t.problem.bias(t.layer, w)
        gone = t.error(w) ** 2
        error = probe.error(t.layer, w, t.layer.bias if bias is None else bias)
        found.append(error / gone if gone > 1e-12 else 0.0)
    largest = max(found) or 1.0
    return [max(x, 1e-6 * largest) for x in found]


def _row(t: Candidate, ranks: tuple[int, ...], budget: str, target: np.ndarray | None, w: np.ndarray) -> dict:
    """The report on a layer; its error is relative to its own outputs, not to a changed `target`."""
    own = w if target is None else t.factors(ranks).w
    before, after = rk.work(t.kind, t.sizes, ()), rk.work(t.kind, t.sizes, ranks)
    return {
        "kind": t.kind,
        "rank": ranks[0] if len(ranks) == 1 else list(ranks),
        "break_even": rk.break_even(t.kind, t.sizes, budget),
        "error": round(t.error(own), 6),
        "macs": [before.macs, after.macs],
        "parameters": [before.parameters, after.parameters],
    }


def note(
    model: onnx.ModelProto, candidates: list[Candidate], rows: dict, left: dict[str, str], how: dict, budget: str
) -> None:
    """Writes a report into the model's metadata; MACs and weights are totals of all layers that can be factorized."""
    totals = {}
    for unit in ("macs", "parameters"):
        before = {t.layer.name: getattr(rk.work(t.kind, t.sizes, ()), unit) for t in candidates}
        after = before | {name: row[unit][1] for name, row in rows.items()}
        totals[unit] = [sum(before.values()), sum(after.values())]
    told = {**how, **totals, "layers": rows, "excluded": left}
    text = json.dumps(told, default=lambda x: x.item())  # NumPy numbers
    helper.set_model_props(model, g.metadata(model) | {METADATA: text})
