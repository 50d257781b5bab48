"""What a search found: the networks that no other one beats in both accuracy and latency, and files of the best of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import onnx

from ..compiler import compile as compile_plan
from ..compress.model.graph import metadata
from ..formats import atomic
from .latency import measure
from .space import Choice, Space
from .table import Table

HINT = "delete it, and it is trained again"
KEY = "pycompress.search"  # metadata of a trained network: `evaluate.Trained.key`
WIDTH, HEIGHT, EDGE = 640, 400, 60  # of the plot


@dataclass(frozen=True)
class Point:
    """A network that was evaluated.

    Attributes
    ----------
    number : int
        Of its trial.
    choice : dict
    predicted : float
        Seconds of a run.
    accuracy : float
        As the search saw it.
    final : float or None
        After training from scratch with the final recipe: on the test images, or on the validation images if there are none.
    measured : float or None
        Seconds of a run of this trained network.
    bytes : int or None
        Of its ONNX file.
    """

    number: int
    choice: Choice
    predicted: float
    accuracy: float
    final: float | None = None
    measured: float | None = None
    bytes: int | None = None


def points(study, space: Space) -> list[Point]:
    """The finished trials of a study, each network once, the fastest first."""
    found: dict[str, Point] = {}
    for t in study.get_trials(deepcopy=False):
        if t.state.name == "COMPLETE":
            choice = space.canonical(t.params)
            found.setdefault(str(choice), Point(t.number, choice, t.user_attrs["latency"], t.values[0]))
    return sorted(found.values(), key=lambda p: (p.predicted, -p.accuracy))


def front(found: Sequence[Point]) -> list[Point]:
    """Those that are more accurate than every faster one, the fastest first."""
    best: list[Point] = []
    for p in sorted(found, key=lambda p: (p.predicted, -p.accuracy)):
        if not best or p.accuracy > best[-1].accuracy:
            best.append(p)
    return best


def spread(best: Sequence[Point], count: int) -> list[Point]:
    """At most `count` points of a front: the most accurate one, and others at equal distances in rank below it."""
    if count >= len(best):
        return list(best)
    if count <= 1:
        return list(best[-1:]) if count else []
    return [best[round(i * (len(best) - 1) / (count - 1))] for i in range(count)]


def finish(
    chosen: Sequence[Point],
    space: Space,
    table: Table,
    judge,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[str, int, int], Any] | None = None,
) -> list[Point]:
    """Train networks of a front from scratch, write each as ONNX and as a plan, and measure all of them in one run.

    Parameters
    ----------
    chosen : sequence of Point
    space : Space
    table : Table
        Its threads are those of the measurement.
    judge : evaluate.Trained
        With the final recipe.
    out : path
        The folder of the files ``<trial>.onnx`` and ``<trial>.plan.safetensors``.
    resume : bool
        Keep networks that are there, if they are the same ones, trained the same way.
    progress : callable, optional
        Called with the network's name, the steps done and all steps of its present stage.

    Returns
    -------
    list of Point
        With `final`, `measured` and `bytes`.
    """
    from ..train.feed import accuracy
    from ..train.folder import read_model

    out.mkdir(parents=True, exist_ok=True)
    models: dict[str, onnx.ModelProto] = {}
    made = []
    for p in chosen:
        name, network = f"{p.number:04d}", space.network(p.choice)
        file, key = out / f"{name}.onnx", judge.key(network)
        if not (resume and file.exists() and metadata(read_model(file, HINT)).get(KEY) == key):
            show = (lambda stage, done, total, name=name: progress(name, done, total)) if progress else None
            # what was begun goes on: with the same key it ends with the same bits
            model = judge.model(network, out / "training" / f"{name}-{key}", resume=True, progress=show)
            onnx.helper.set_model_props(model, {**metadata(model), KEY: key})
            compile_plan(model, labels=judge.parts(network).train.classes).save(out / f"{name}.plan.safetensors")
            atomic.write(file, model.SerializeToString())  # last: its presence says that it is done
        models[name] = onnx.load(file)
        parts = judge.parts(network)
        final = accuracy(models[name], parts.test or parts.valid, parts.normalize)
        made.append(replace(p, final=final, bytes=file.stat().st_size))
    seconds = measure(models, threads=table.threads) if models else {}
    return [replace(p, measured=seconds[f"{p.number:04d}"]) for p in made]


def save(path: Path, best: Sequence[Point], finished: Sequence[Point], table: Table, limit: float) -> None:
    """Write the front as JSON."""
    done = {p.number: p for p in finished}
    text = {
        "limit": limit,
        "precision": table.precision,
        **{key: getattr(table, key) for key in ("host", "cpu", "isa", "threads")},
        "front": [asdict(done.get(p.number, p)) for p in best],
    }
    atomic.write(path, json.dumps(text, indent=1).encode())


def rows(best: Sequence[Point], finished: Sequence[Point]) -> tuple[tuple[str, ...], list[tuple]]:
    """The front as the head and the rows of a table."""
    done = {p.number: p for p in finished}
    head = ("trial", "predicted us", "measured us", "accuracy in search", "trained from scratch", "bytes")
    lines = []
    for p in best:
        q = done.get(p.number, p)
        percent = [None if x is None else f"{100 * x:.2f} %" for x in (q.accuracy, q.final)]
        times = [None if x is None else f"{x * 1e6:.1f}" for x in (q.predicted, q.measured)]
        lines.append((q.number, *times, *percent, q.bytes))
    return head, lines


def plot(found: Sequence[Point], best: Sequence[Point], limit: float, title: str = "") -> str:
    """An SVG picture: accuracy over predicted latency of all networks, the front as a line.

    Raises
    ------
    ValueError
        If there are no networks.
    """
    if not found:
        raise ValueError("there are no networks to plot")
    slowest = max([limit, *(p.predicted for p in found)]) * 1e6
    low, high = min(p.accuracy for p in found), max(p.accuracy for p in found)
    low, high = (low, high) if high > low else (low - 0.01, high + 0.01)

    def at(p: Point) -> tuple[float, float]:
        x = EDGE + (WIDTH - 2 * EDGE) * p.predicted * 1e6 / slowest
        return round(x, 1), round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (p.accuracy - low) / (high - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="14">{escape(title)}</text>',
        f'<path d="M{EDGE} {EDGE}V{HEIGHT - EDGE}H{WIDTH - EDGE}" fill="none" stroke="black"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">predicted latency, us</text>',
        f'<text transform="translate(14 {HEIGHT / 2})rotate(-90)" text-anchor="middle">accuracy, %</text>',
    ]
    for i in range(5):
        x, y = EDGE + (WIDTH - 2 * EDGE) * i / 4, HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * i / 4
        parts.append(f'<text x="{x}" y="{HEIGHT - EDGE + 16}" text-anchor="middle">{slowest * i / 4:.3g}</text>')
        accuracy = 100 * (low + (high - low) * i / 4)
        parts.append(f'<text x="{EDGE - 6}" y="{y + 4}" text-anchor="end">{accuracy:.1f}</text>')
    parts += [f'<circle cx="{at(p)[0]}" cy="{at(p)[1]}" r="3" fill="#bbb"/>' for p in found]
    line = " ".join(f"{x},{y}" for x, y in map(at, best))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>')
    parts += [f'<circle cx="{at(p)[0]}" cy="{at(p)[1]}" r="4" fill="#06c"/>' for p in best]
    return "\n".join([*parts, "</svg>\n"])
