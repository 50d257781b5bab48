"""Measures models beside one another: time, size, error, and both layer by layer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import peers
from ..peers.interleave import interleave
from ..plan import Plan
from ..session import InferenceSession, SessionOptions

OURS = "pycompress"
EXACT = 120.0  # dB, for equal outputs
BINS = 32
SHOWN = 12  # layers whose values are counted
ROUNDS = 10

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Model:
    """A model to report on.

    Attributes
    ----------
    name : as it is called in the report
    nbytes : of its file
    plan, proto : one of the two is None
    """

    name: str
    nbytes: int
    plan: Plan | None = None
    proto: Any = None

    def session(self, more: Sequence[str] = (), threads: int = 1) -> InferenceSession:
        """A session whose outputs are also the tensors `more`."""
        model = self.plan or self.proto
        if more:
            import onnx

            model = onnx.ModelProto()
            model.CopyFrom(self.proto)
            model.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in more)
        return InferenceSession(model, SessionOptions(intra_op_num_threads=threads))


def measure(
    models: Sequence[Model],
    feeds: Sequence[Feed],
    *,
    engines: Sequence[str] = (),
    runs: int = 20,
    threads: int = 1,
    cpu_time: bool = False,
    tick: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """The figures of `models` on `feeds`; the first model is the one that the others are compared with.

    Parameters
    ----------
    cpu_time : whether runs are measured in CPU time, which a busy machine disturbs less; layers are not

    Returns
    -------
    dict
        ``models``, ``engines`` (peers on the same files), ``missing`` (peers that are left out, and why), ``layers`` (names and
        operators), ``histograms`` and ``samples``: numbers and texts only, as JSON holds them.
    """
    runners, missing = _load(models, engines, threads)
    answers = {key: [runner.run(feed) for feed in feeds] for key, runner in runners.items()}
    calls = {key: peers.call(runner, feeds[0]) for key, runner in runners.items()}
    timings = interleave(
        calls, runs=runs, rounds=ROUNDS, tick=tick, clock=time.process_time if cpu_time else time.perf_counter
    )
    wanted = answers[OURS, models[0].name]
    found, layers = [], {}
    for model in models:
        key = OURS, model.name
        rows = runners[key].session.profile(feeds[0], max(runs, 3))
        layers = layers or {row["node"]: row["op"] for row in rows if row["macs"] and row["node"]}
        found.append(
            {"name": model.name, "bytes": model.nbytes, **_times(timings[key]), **agreement(wanted, answers[key])}
            | {"isa": sorted({row["isa"] for row in rows}), **_by_layer(rows, layers)}
        )
        tick()
    for row, errors in zip(found, layer_errors(models, feeds[:2], list(layers))):
        for name, error in errors.items():
            row["layers"][name]["error"] = error
    others = [
        {"engine": engine, "model": name, "version": peers.engine(engine).version(), **_times(timings[engine, name])}
        | agreement(wanted, answers[engine, name])
        for engine, name in runners
        if engine != OURS
    ]
    return {
        "models": found,
        "engines": others,
        "missing": missing,
        "layers": [{"name": name, "op": op} for name, op in layers.items()],
        "histograms": histograms(models, feeds[0], worst(found, list(layers))),
        "samples": len(feeds),
        "cpu_time": cpu_time,
    }


def _load(models: Sequence[Model], engines: Sequence[str], threads: int):
    """({(engine, model): runner}, {engine and model: why it is left out})."""
    runners, missing = {}, {}
    for model in models:
        runners[OURS, model.name] = peers.engine(OURS).load(model.plan or model.proto, threads)
    for engine in engines:
        for model in models:
            if model.proto is None:
                missing[f"{engine}, {model.name}"] = "a plan runs here only"
                continue
            try:
                runners[engine, model.name] = peers.engine(engine).load(model.proto.SerializeToString(), threads)
            except ModuleNotFoundError as error:
                missing[engine] = str(error)
            except Exception as error:  # each engine has its own exceptions
                missing[f"{engine}, {model.name}"] = f"it cannot load this model: {' '.join(str(error).split())[:200]}"
    return runners, missing


def _times(timing) -> dict[str, float]:
    return {"min_ms": timing.best * 1e3, "median_ms": timing.median * 1e3, "runs": timing.n}


def agreement(wanted: Sequence[Sequence[np.ndarray]], got: Sequence[Sequence[np.ndarray]]) -> dict[str, float | None]:
    """{snr: of the worst output, in dB, at most `EXACT`; agreement: share of equal best classes, or None}."""
    worst, rows, same = EXACT, 0, 0
    for a, b in zip(zip(*wanted), zip(*got)):
        worst = min(worst, snr(a, b))
        if all(x.ndim == 2 and x.shape[1] > 1 and x.shape == y.shape for x, y in zip(a, b)):
            rows += sum(len(x) for x in a)
            same += sum(int((x.argmax(1) == y.argmax(1)).sum()) for x, y in zip(a, b))
    return {"snr": worst, "agreement": same / rows if rows else None}


def snr(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """The signal-to-noise ratio of `got`, in dB, within +-`EXACT`; -`EXACT` where shapes differ or values are not finite."""
    signal = noise = 0.0
    for a, b in zip(wanted, got):
        if a.shape != b.shape:
            return -EXACT
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        signal, noise = signal + float(a @ a), noise + float((a - b) @ (a - b))
    if not np.isfinite(noise):
        return -EXACT
    if noise == 0:
        return EXACT
    return float(np.clip(10 * np.log10(max(signal, 1e-300) / noise), -EXACT, EXACT))


def _by_layer(rows: Sequence[Mapping], layers: Mapping[str, str]) -> dict[str, Any]:
    """{layers: {name: {us, form}}, rest_us: of all other steps}."""
    found: dict[str, dict[str, Any]] = {name: {"us": 0.0, "form": ""} for name in layers}
    rest, most = 0.0, dict.fromkeys(layers, -1.0)
    for row in rows:
        own = next((n for n in (row["node"], row["node"].rpartition("/")[0]) if n in found), None)
        micro = row["seconds"] * 1e6
        if own is None:
            rest += micro
            continue
        found[own]["us"] += micro
        if row["macs"] > most[own]:  # the step that computes: others of the node only convert
            most[own], found[own]["form"] = row["macs"], form(row)
    return {"layers": found, "rest_us": rest}


def form(row: Mapping) -> str:
    """How a step's weights are stored: from its kernel's name and the type that it computes in."""
    kernel = row["kernel"]
    if "spmm" in kernel or kernel in ("csrmv", "csrmm"):
        return "sparse int8" if kernel.startswith("q") else "sparse"
    if "lowrank" in kernel:
        return "low-rank int8" if kernel.startswith("q") else "low-rank"
    if kernel.startswith("q4"):
        return "int4"
    if kernel.startswith("q"):
        return "int8"
    return {"hgemm": "float16", "bgemm": "bfloat16", "bconv": "bfloat16"}.get(kernel, "float")


def outputs_of(model: Model) -> dict[str, str]:
    """The float tensor that each named node computes."""
    if model.proto is None:
        return {}
    import onnx

    from ..formats.onnx_structure import name_of

    known = onnx.shape_inference.infer_shapes(model.proto).graph
    float32 = onnx.TensorProto.FLOAT
    typed = {p.name for p in [*known.value_info, *known.output] if p.type.tensor_type.elem_type == float32}
    nodes = [n for n in model.proto.graph.node if n.output and n.output[0] in typed]
    return {name_of(n): n.output[0] for n in nodes}


def tensors_of(models: Sequence[Model], layers: Sequence[str]) -> list[dict[str, str]]:
    """For each model the tensor in which a layer's output can be compared with that of the first model.

    Passes fold nodes (batch norm) into layers: then a layer computes what a later node of the first model does. Factors
    of a layer are called ``<layer>/u`` and ``<layer>/v``.
    """
    made = [outputs_of(model) for model in models]
    known = set(made[0].values())
    found: list[dict[str, str]] = [{} for _ in models]
    for at in range(1, len(models)):
        for name in layers:
            own = (made[at].get(key) for key in (name, f"{name}/v", f"{name}/u"))
            if tensor := next((t for t in own if t in known), None):
                found[at][name] = tensor
                found[0].setdefault(name, tensor)
    found[0] = {name: t for name in layers if (t := found[0].get(name, made[0].get(name)))}
    return found


def layer_errors(models: Sequence[Model], feeds: Sequence[Feed], layers: Sequence[str]) -> list[dict[str, float]]:
    """For each model the error of each layer's output: squared, relative to the output of the first model."""
    tensors = tensors_of(models, layers)
    found: list[dict[str, float]] = [{} for _ in models]
    for at in range(1, len(models)):
        shared = list(dict.fromkeys(tensors[at].values()))
        if not shared:
            continue
        sessions = [models[i].session([t for t in shared if not _is_output(models[i], t)]) for i in (0, at)]
        noise, signal = dict.fromkeys(shared, 0.0), dict.fromkeys(shared, 0.0)
        for feed in feeds:
            for tensor, a, b in zip(shared, *(session.run(shared, feed) for session in sessions)):
                if a.shape == b.shape:
                    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
                    noise[tensor] += float((a - b) @ (a - b))
                    signal[tensor] += float(a @ a)
        found[at] = {n: noise[t] / signal[t] for n, t in tensors[at].items() if signal[t] > 0}
    return found


def _is_output(model: Model, tensor: str) -> bool:
    return any(port.name == tensor for port in model.proto.graph.output)


def worst(found: Sequence[Mapping], layers: Sequence[str]) -> list[str]:
    """The layers whose outputs have the largest errors in any model, in the model's order."""
    errors = {n: max((m["layers"][n].get("error", 0.0) for m in found), default=0.0) for n in layers}
    return sorted(sorted(layers, key=lambda n: -errors[n])[:SHOWN], key=list(layers).index)


def histograms(models: Sequence[Model], feed: Feed, layers: Sequence[str]) -> list[dict[str, Any]]:
    """For each layer, ``weights`` and ``outputs``: how the values of each model are distributed over one range."""
    values: dict[str, dict[str, dict[str, np.ndarray]]] = {n: {"weights": {}, "outputs": {}} for n in layers}
    for model, made in zip(models, tensors_of(models, layers)):
        for name, w in weights_of(model, layers, feed).items():
            values[name]["weights"][model.name] = w
        if made:
            session = model.session([t for t in dict.fromkeys(made.values()) if not _is_output(model, t)])
            wanted = list(dict.fromkeys(made.values()))
            got = dict(zip(wanted, session.run(wanted, feed)))
            for name, tensor in made.items():
                values[name]["outputs"][model.name] = got[tensor]
    return [{"layer": name, **{what: counted(of) for what, of in own.items()}} for name, own in values.items()]


def counted(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """{low, high, counts: {name: shares in `BINS` bins of that range}} of the arrays' finite values."""
    flat = {name: x[np.isfinite(x)].astype(np.float64) for name, x in arrays.items()}
    flat = {name: x for name, x in flat.items() if x.size}
    if not flat:
        return {"low": 0.0, "high": 0.0, "counts": {}}
    low, high = float(min(x.min() for x in flat.values())), float(max(x.max() for x in flat.values()))
    if low == high:
        low, high = low - 0.5, high + 0.5
    shares = {name: np.histogram(x, BINS, (low, high))[0] / x.size for name, x in flat.items()}
    return {"low": low, "high": high, "counts": {name: [round(float(s), 5) for s in x] for name, x in shares.items()}}


def weights_of(model: Model, layers: Sequence[str], feed: Feed) -> dict[str, np.ndarray]:
    """The weights of the nodes called `layers`, as floats, where constants give them."""
    if model.proto is None:
        return {}
    from onnx import numpy_helper

    from ..compress.calibration.observe import up_to
    from ..formats.onnx_structure import name_of

    graph, wanted = model.proto.graph, set(layers)
    known = {t.name: t for t in graph.initializer}
    constant = set(known)
    for node in graph.node:
        if node.input and all(name in constant for name in node.input if name) or node.op_type == "Constant":
            constant |= set(node.output)
    named = {name_of(n): n.input[1] for n in graph.node if len(n.input) > 1 and n.input[1] in constant}
    named = {name: tensor for name, tensor in named.items() if name in wanted}
    found = {t: numpy_helper.to_array(known[t]) for t in named.values() if t in known}
    coded = list(dict.fromkeys(t for t in named.values() if t not in known))
    if coded:  # such as codes that are multiplied with scales
        found |= zip(coded, InferenceSession(up_to(model.proto, coded)).run(coded, feed))
    return {name: found[tensor] for name, tensor in named.items()}
