"""Measures how a pass changed a model's outputs, records that in the metadata, and refuses the result if asked to."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelError
from .calibration.engine import Run, runner
from .calibration.observe import Statistics, up_to
from .model import graph as g
from .model.layers import WEIGHTED

METADATA = "pycompress.verdict"
POOR = 10.0  # dB; below it there is a warning
EXACT = 300.0  # dB, for equal outputs
SHAPES = 2  # how many different shapes of samples are judged; each needs a plan
WATCHED = 2  # samples for which the outputs of layers are checked
STILL = 1e-4  # of the previous variation of a layer's output; below it the layer counts as dead
PACKAGE = str(Path(__file__).resolve().parent.parent)


class VerdictWarning(UserWarning):
    """A pass changed the model's outputs a lot, or a layer died.

    Examples
    --------
    >>> import warnings
    >>> import pycompress
    >>> warnings.simplefilter("error", pycompress.VerdictWarning)  # rather an exception than a poor model
    """


class CalibrationWarning(UserWarning):
    """There are too few calibration samples for what a pass makes of them.

    Examples
    --------
    >>> import warnings
    >>> import pycompress
    >>> warnings.simplefilter("ignore", pycompress.CalibrationWarning)
    """


@dataclass(frozen=True)
class Verdict:
    """How a pass changed a model.

    Attributes
    ----------
    step : the pass
    samples : how many it was judged by; 0 without calibration, and then `snr` and `agreement` are None
    held_back : whether these samples were left out of the calibration; below 8 samples none are
    snr : signal-to-noise ratio in dB of the worst output, against the model that the pass was given; 300 if all are equal
    outputs : the same for each output; if the engine cannot compute an output, for the last tensors that it computes
    agreement : the share of equal top-1 classes, if an output looks like class scores
    dead : the layers that died, by name, and how: all weights zero, or an output that never changes
    left : the nodes that the engine does not compute, by name, and why; their results were not judged
    slower : the nodes that quantize left in float because they, or the whole model, are slower on integers, and why
    bytes_before, bytes_after : of the model

    Examples
    --------
    >>> import pycompress
    >>> given = pycompress.Verdict("prune", samples=8, snr=9.5, agreement=0.75)
    >>> given.warnings
    ['prune: the outputs changed a lot: their signal-to-noise ratio is 9.5 dB']
    """

    step: str
    samples: int = 0
    held_back: bool = False
    snr: float | None = None
    outputs: dict[str, float] = field(default_factory=dict)
    agreement: float | None = None
    dead: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    slower: dict[str, str] = field(default_factory=dict)
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def warnings(self) -> list[str]:
        """The warnings for the user."""
        said = []
        if self.snr is not None and round(self.snr, 1) < POOR:  # as it is printed
            said.append(f"{self.step}: the outputs changed a lot: their signal-to-noise ratio is {self.snr:.1f} dB")
        if self.dead:
            some = ", ".join(f"{name!r} ({how})" for name, how in list(self.dead.items())[:5])
            more = f" and {len(self.dead) - 5} more" if len(self.dead) > 5 else ""
            said.append(f"{self.step}: layers died: {some}{more}")
        return said

    def __str__(self) -> str:
        if self.snr is None:
            parts = ["answers not measured: no calibration samples" if not self.samples else "no output to measure"]
        else:
            same = ", equal" if self.snr >= EXACT else ""
            parts = [f"SNR {self.snr:.1f} dB{same}"]
        if self.agreement is not None:
            parts.append(f"top-1 agreement {self.agreement:.1%}")
        if self.samples:
            kind = "held back" if self.held_back else "that it was calibrated on"
            parts.append(f"on {_count(self.samples, 'sample')} {kind}")
        parts.append(_count(len(self.dead), "dead layer") if self.dead else "no dead layers")
        if self.slower:
            parts.append(f"{_count(len(self.slower), 'node')} left in float, which is faster")
        parts.append(f"{self.bytes_before:,} to {self.bytes_after:,} bytes")
        return ", ".join(parts)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def verdict(model: g.Model) -> Verdict | None:
    """The verdict of the last pass that made `model`, from its metadata.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto

    Returns
    -------
    Verdict or None
        None if no pass of this library made the model.

    Raises
    ------
    FileNotFoundError, ModelError
        If there is no such file, or it is not a model.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> pycompress.verdict(model) is None
    True
    >>> print(pycompress.verdict(pycompress.prune(model, 0.5)))
    answers not measured: no calibration samples, no dead layers, ... bytes
    """
    told = g.metadata(g.as_model(model)).get(METADATA)
    if told is None:
        return None
    return Verdict(**{key: value for key, value in json.loads(told).items() if key in Verdict.__dataclass_fields__})


def check_min_snr(min_snr: float | None, calibrated: bool) -> None:
    """Checks the argument `min_snr`."""
    if min_snr is None:
        return
    if isinstance(min_snr, bool) or not isinstance(min_snr, (int, float, np.number)) or not math.isfinite(min_snr):
        raise ValueError(f"min_snr must be a number of decibels, got {min_snr!r}")
    if not calibrated:
        raise ValueError("min_snr needs calibration: without samples the answers cannot be compared")


def conclude(
    step: str,
    before: onnx.ModelProto,
    after: onnx.ModelProto,
    size: int,
    seen: Statistics | None = None,
    ends: Sequence[str] = (),
    left: dict[str, str] | None = None,
    min_snr: float | None = None,
    found: dict | None = None,
    slower: dict[str, str] | None = None,
) -> Verdict:
    """Compares `after` with `before`, warns, and writes the verdict into the metadata of `after`.

    Parameters
    ----------
    size : bytes of the model that the pass was given
    seen : the statistics of calibration, with the samples to judge by
    ends : the tensors to compare
    left : nodes that are not computed here
    found : the result of `Judge.compare` for `after`, if it is known already
    slower : nodes that were left in float for their speed

    Raises
    ------
    ModelError
        If a weight or an output has become infinite or NaN, or the worst output's ratio is below `min_snr`.
    """
    check_finite(step, before, after)
    dead = _zeroed(before, after)
    judge = Judge(before, seen, ends)
    feeds, still = judge.feeds, {}
    if found is None:
        found, still = judge.watch(after)
    elif found:
        still = judge.watch(after)[1]
    if found and (broken := [name for name, x in found["outputs"].items() if x == -EXACT]):
        raise ModelError(f"{step}: output {broken[0]!r} would not be finite")
    dead = still | dead
    held = seen is not None and seen.held_back
    sizes = {"bytes_before": size, "bytes_after": after.ByteSize()}
    given = Verdict(step, len(feeds), held, **found, dead=dead, left=left or {}, slower=slower or {}, **sizes)
    if min_snr is not None and (given.snr is None or given.snr < min_snr):
        got = "cannot be measured: the model has no float output" if given.snr is None else f"is {given.snr:.2f} dB"
        raise ModelError(
            f"{step}: the signal-to-noise ratio of the outputs {got}, min_snr asks for {float(min_snr):g} dB"
        )
    earlier = json.loads(g.metadata(after).get(METADATA, "null"))
    told = asdict(given) | ({"earlier": [*earlier.pop("earlier", []), earlier]} if earlier else {})
    helper.set_model_props(after, g.metadata(after) | {METADATA: json.dumps(told)})
    for text in given.warnings:
        warn(text, VerdictWarning)
    return given


def warn(text: str, category: type[Warning]) -> None:
    """Warns at the line outside this package from which the pass was called."""
    warnings.warn(text, category, stacklevel=_outside())


def _outside() -> int:
    """The stack level of the first caller outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith((PACKAGE, "<")):
        frame, level = frame.f_back, level + 1
    return level


def check_finite(step: str, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Refuses float constants that are not finite, unless the constant of that name was not finite before."""
    known = g.constants(before)
    for tensor in after.graph.initializer:
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16):
            if np.isfinite(numpy_helper.to_array(tensor).astype(np.float32)).all():
                continue
            was = known.get(tensor.name)
            if was is not None and not np.isfinite(numpy_helper.to_array(was).astype(np.float32)).all():
                continue
            reader = next((n for n in after.graph.node if tensor.name in n.input), None)
            where = f"node {reader.name!r} ({reader.op_type}): " if reader is not None else ""
            raise ModelError(f"{step}: {where}its constant {tensor.name!r} would not be finite")


class Judge:
    """Compares models with the outputs of one model on the samples that were held back."""

    def __init__(self, model: onnx.ModelProto, seen: Statistics | None, ends: Sequence[str]):
        self.model, self.ends = model, list(ends)
        self.feeds = _of_few_shapes(seen.held) if seen is not None else []
        if seen is not None and seen.wanted is not None:
            self.wanted = seen.wanted

    @cached_property
    def wanted(self) -> list[list[np.ndarray]]:
        return _answers(self.model, self.ends, self.feeds)

    def compare(self, after: onnx.ModelProto) -> dict:
        """Signal-to-noise ratio (worst, and of each output) and agreement of `after`; {} if nothing can be compared.

        The ratio is -`EXACT` if an output has become infinite or NaN.
        """
        made = {o for n in after.graph.node for o in n.output}
        ends = [name for name in self.ends if name in made]
        if not ends or not self.feeds:
            return {}
        return self._compared(dict(zip(ends, zip(*_answers(after, ends, self.feeds)))))

    def watch(self, after: onnx.ModelProto) -> tuple[dict, dict[str, str]]:
        """(what `compare` returns, the layers of `after` whose outputs no longer vary); each model is planned once."""
        made = {o for n in after.graph.node for o in n.output}
        watched = _watched(self.model, made) if len(self.feeds) >= WATCHED else {}
        ends, names = [name for name in self.ends if name in made], list(watched)
        if not ends or not names:
            return self.compare(after), {}
        try:
            wanted, before = _watching(self.model, self.ends, names, self.feeds)
            got, now = _watching(after, ends, names, self.feeds)
        except ModelError:  # the engine does not compute some of them
            return self.compare(after), {}
        self.wanted = wanted
        found = self._compared(dict(zip(ends, zip(*got))))
        if -EXACT in found["outputs"].values():
            return found, {}
        still = {
            watched[name].name: "its output never changes"
            for name, a, b in zip(names, zip(*before), zip(*now))
            if _spread(b, watched[name]) < STILL * _spread(a, watched[name])
        }
        return found, still

    def _compared(self, got: Mapping[str, Sequence[np.ndarray]]) -> dict:
        """`compare` for the answers `got` by tensor."""
        outputs, classes, same = {}, 0, 0
        for name, a in zip(self.ends, zip(*self.wanted)):
            b = got.get(name)
            if b is None or any(x.shape != y.shape for x, y in zip(a, b)):  # an inner tensor has lost channels
                continue
            if any(np.isfinite(x).all() and not np.isfinite(y).all() for x, y in zip(a, b)):
                outputs[name] = -EXACT
                continue
            if any(map(looks_like_scores, a)) and not any(x.shape[-1] < 2 for x in a):
                top = [(x.argmax(-1), y.argmax(-1)) for x, y in zip(a, b)]
                classes, same = classes + sum(x.size for x, _ in top), same + sum(int((x == y).sum()) for x, y in top)
            outputs[name] = snr(a, b)
        worst = min(outputs.values(), default=None)
        return {"snr": worst, "outputs": outputs, "agreement": same / classes if classes else None}


def _of_few_shapes(feeds: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    kinds: dict[tuple, list] = {}
    for feed in feeds:
        kinds.setdefault(tuple(x.shape for x in feed.values()), []).append(feed)
    return [feed for kind in list(kinds.values())[:SHAPES] for feed in kind]


def looks_like_scores(x: np.ndarray) -> bool:
    """Whether `x` looks like class scores: one row per sample, or rows that are probabilities."""
    if x.ndim == 2:
        return x.shape[1] > 1
    return x.ndim > 2 and x.shape[-1] > 1 and x.size > 0 and x.min() >= 0 and bool(np.allclose(x.sum(-1), 1, atol=1e-3))


def snr(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """The signal-to-noise ratio of `got` against `wanted`, in dB; at most `EXACT`."""
    signal = noise = 0.0
    for a, b in zip(wanted, got):
        a, b = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
        fine = np.isfinite(a) & np.isfinite(b)
        scale = float(np.abs(a[fine]).max(initial=0)) or 1.0
        a, b = a[fine] / scale, b[fine] / scale
        signal, noise = signal + scale**2 * float(a @ a), noise + scale**2 * float((a - b) @ (a - b))
    if noise <= signal * 10 ** (-EXACT / 10):
        return EXACT
    return round(10 * math.log10(max(signal / noise, 10 ** (1 - EXACT / 10))), 3)


def answers(run: Run, tensors: list[str], seen: Statistics) -> list[list[np.ndarray]] | None:
    """What `run` says of the samples that models are judged by; None where it has to say more than `tensors` of them."""
    feeds = _of_few_shapes(seen.held)
    return [run(tensors, feed) for feed in feeds] if len(feeds) < WATCHED else None


def _answers(model: onnx.ModelProto, tensors: list[str], feeds) -> list[list[np.ndarray]]:
    run = runner(up_to(model, tensors))
    return [run(tensors, feed) for feed in feeds]


def _watching(
    model: onnx.ModelProto, ends: list[str], names: list[str], feeds
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """The tensors `ends` for all feeds, and `names` for the first `WATCHED`."""
    both = [*ends, *(name for name in names if name not in ends)]
    run = runner(up_to(model, both))
    answers, seen = [], []
    for i, feed in enumerate(feeds):
        found = dict(zip(both, run(both, feed) if i < WATCHED else run(ends, feed)))
        answers.append([found[name] for name in ends])
        if i < WATCHED:
            seen.append([found[name] for name in names])
    return answers, seen


def _layers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    values = g.constants(model)
    nodes = [n for n in model.graph.node if n.op_type in WEIGHTED and n.domain in ("", "ai.onnx")]
    return {n.name: n for n in nodes if len(n.input) > 1 and n.input[1] in values}


def _zeroed(before: onnx.ModelProto, after: onnx.ModelProto) -> dict[str, str]:
    """The layers whose weights have all become zero."""
    was, values, found = g.constants(before), g.constants(after), {}
    earlier = _layers(before)
    for name, node in _layers(after).items():
        if not numpy_helper.to_array(values[node.input[1]]).any():
            old = earlier.get(name)
            if old is None or numpy_helper.to_array(was[old.input[1]]).any():
                found[name] = "all its weights are zero"
    return found


def _watched(before: onnx.ModelProto, made: set[str]) -> dict[str, onnx.NodeProto]:
    """The layers whose outputs are compared, by output."""
    types = g.element_types(before)
    nodes = [n for n in before.graph.node if n.op_type in WEIGHTED]
    return {n.output[0]: n for n in nodes if types.get(n.output[0]) == TensorProto.FLOAT and n.output[0] in made}


def _spread(arrays: Sequence[np.ndarray], node: onnx.NodeProto) -> float:
    """How much the channels vary within and between `arrays`; 0 if that cannot be determined."""
    axis = 1 if node.op_type == "Conv" else -1
    rows = [np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1).astype(float) for x in arrays if x.ndim > 1]
    rows = np.concatenate(rows, 1) if rows and len({len(r) for r in rows}) == 1 else np.zeros((0, 0))
    return float(np.sqrt(rows.var(1).mean())) if rows.size else 0.0
