"""Pictures of what was measured, by matplotlib; a file's ending says the format: .png, .svg, .pdf."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..formats import atomic
from .measure import OURS
from .page import COLOURS, points
from .svg import FINE, decades, heights, widths

MARKERS = ("o", "s", "^", "D", "X")  # by engine, ours first
DPI = 100
COLOURED = 64  # colours of a picture


def check(path: Path) -> None:
    """Refuse a picture that could not be written, before the work.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    ValueError
        If it knows no such format.
    """
    known = sorted(_figure(1, 1).canvas.get_supported_filetypes())
    if path.suffix.lstrip(".").lower() not in known:
        raise ValueError(f"{path}: a picture must end in one of .{', .'.join(known)}")


def _figure(width: float, height: float):
    """A figure of so many inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'pycompress-engine[plot]'", name="matplotlib"
        ) from None
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    if path.suffix.lower() != ".png":
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else {})
        return
    from PIL import Image  # matplotlib needs it, too

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    few = Image.open(drawn).convert("RGB").quantize(COLOURED, dither=Image.Dither.NONE)  # a third of the size
    few.save(drawn := io.BytesIO(), "PNG", optimize=True)
    atomic.write(path, drawn.getvalue())


def _plain(text: str) -> str:
    """`text` as matplotlib draws it: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def front(report: Mapping[str, Any], path: Path) -> None:
    """Latency against error; the area of a mark is the size of the file."""
    colours = {m["name"]: i % len(COLOURS) for i, m in enumerate(report["models"])}
    marks = points(report, colours)
    low, _, fine = heights([p["snr"] for p in marks])
    largest = max(p["bytes"] for p in marks) or 1

    def height(snr: float) -> float:
        return fine if snr >= FINE else max(snr, low)

    figure = _figure(9, 4.5)
    axes = figure.subplots()
    for p in sorted(marks, key=lambda p: -p["bytes"]):
        where = p["ms"], height(p["snr"])
        face = COLOURS[p["colour"]][0] if not p["shape"] else "none"
        axes.scatter(
            *where, s=25 + 450 * p["bytes"] / largest, marker=MARKERS[p["shape"] % len(MARKERS)], alpha=0.8,
            facecolors=face, edgecolors=COLOURS[p["colour"]][0],
        )  # fmt: skip
        if p["label"]:
            axes.annotate(_plain(p["label"]), where, (0, 14), textcoords="offset points", ha="center")
    best = sorted((p["ms"], height(p["snr"])) for p in marks if p.get("best"))
    axes.plot(*zip(*best), "--", color="#888888", linewidth=1, zorder=0)
    engines = [OURS, *dict.fromkeys(e["engine"] for e in report["engines"])]
    for i, name in enumerate(engines):
        axes.scatter([], [], marker=MARKERS[i % len(MARKERS)], color="#666666", label=name)
    axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="ms per run", ylabel="SNR of the outputs in dB", xscale="log")
    left, right = widths([p["ms"] for p in marks])
    axes.set_xlim(left, right)
    axes.set_xticks(at := decades(left, right, 1.2), [f"{t:g}" for t in at])
    axes.set_xticks([], minor=True)
    axes.set_ylim(low, fine + (fine - low) * 0.13)
    shown = (
        [t for t in axes.get_yticks() if low <= t < fine - (fine - low) * 0.08]
        if max(p["snr"] for p in marks) >= FINE
        else None
    )
    if shown is not None:
        axes.set_yticks([*shown, fine], [*(f"{t:g}" for t in shown), f"≥ {FINE:g}"])
    axes.grid(alpha=0.3)
    _save(figure, path)


def layers(report: Mapping[str, Any], path: Path) -> None:
    """Time and error of each layer, in the models side by side."""
    models, names = report["models"], [x["name"] for x in report["layers"]]
    figure = _figure(10, 1.4 + 0.19 * len(names))
    left, right = figure.subplots(1, 2, sharey=True)
    thick = 0.8 / len(models)
    for i, m in enumerate(models):
        at = [k - 0.4 + (i + 0.5) * thick for k in range(len(names))]
        colour, of = COLOURS[i % len(COLOURS)][0], m["layers"]
        left.barh(at, [of[n]["us"] for n in names], thick, color=colour, label=_plain(m["name"]))
        errors = [(k, of[n]["error"]) for k, n in zip(at, names) if of[n].get("error", 0) > 1e-9]
        right.plot([e for _, e in errors], [k for k, _ in errors], "o", markersize=3, color=colour)
    left.set_yticks(range(len(names)), [_plain(n) for n in names], fontsize=7)
    left.set(xlabel="µs", ylim=(len(names) - 0.4, -0.6))
    right.set(xlabel="squared error of the output, relative", xscale="log")
    figure.legend(frameon=False, loc="outside upper center", ncols=len(models))
    right.grid(alpha=0.3)
    _save(figure, path)


def histograms(report: Mapping[str, Any], path: Path) -> None:
    """The distributions of the weights and outputs of some layers."""
    shown = report["histograms"]
    if not shown:
        raise ValueError("histograms: no layer's weights or outputs can be read")
    colours = {m["name"]: COLOURS[i % len(COLOURS)][0] for i, m in enumerate(report["models"])}
    rows = math.ceil(len(shown) / 2)
    figure = _figure(10, 1.1 * rows + 0.5)
    grid = figure.subplots(rows, 4, squeeze=False)
    for axes in grid.flat:
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
    for i, h in enumerate(shown):
        for k, what in enumerate(("weights", "outputs")):
            axes, found = grid[i // 2][2 * (i % 2) + k], h[what]
            for name, shares in found["counts"].items():
                step = (found["high"] - found["low"]) / len(shares)
                edges = [found["low"] + step * j for j in range(len(shares) + 1)]
                axes.stairs([x**0.5 for x in shares], edges, color=colours[name])
            axes.set_title(_plain(f"{h['layer']}: {what}"), fontsize=7)
    for axes in list(grid.flat)[2 * len(shown) :]:
        axes.set_visible(False)
    for name, colour in colours.items():
        grid[0][0].plot([], [], color=colour, label=_plain(name))
    figure.legend(frameon=False, loc="outside upper center", ncols=len(colours))
    _save(figure, path)


def bars(title: str, unit: str, values: Mapping[str, float], path: Path) -> None:
    """A bar for each of `values`, in their order from above."""
    figure = _figure(8, 1 + 0.35 * len(values))
    axes = figure.subplots()
    drawn = axes.barh(
        range(len(values)), list(values.values()), color=[COLOURS[0][0], *["#999999"] * (len(values) - 1)]
    )
    axes.bar_label(drawn, [f"{x:.3g}" for x in values.values()], padding=3)
    axes.set_yticks(range(len(values)), [_plain(name) for name in values])
    axes.invert_yaxis()
    axes.set(xlabel=unit, title=_plain(title), xlim=(0, max(values.values()) * 1.12 or 1))
    _save(figure, path)


def curves(title: str, labels: tuple[str, str], lines: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """A line through the points of each of `lines`."""
    figure = _figure(8, 4.5)
    axes = figure.subplots()
    for i, (name, spots) in enumerate(lines.items()):
        axes.plot(*zip(*spots), "o-", markersize=4, color=COLOURS[i % len(COLOURS)][0], label=_plain(name))
    axes.set(xlabel=labels[0], ylabel=labels[1], title=_plain(title))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    _save(figure, path)


def steps(rows: Sequence[tuple[str, int, float | None]], path: Path) -> None:
    """Size and error after each step: rows of (name, bytes, SNR in dB or None)."""
    names = [_plain(name) for name, _, _ in rows]
    figure = _figure(9, 1.2 + 0.4 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    drawn = left.barh(range(len(rows)), [count / 1e6 for _, count, _ in rows], color=COLOURS[0][0])
    left.bar_label(drawn, [f"{count / 1e6:.3g}" for _, count, _ in rows], padding=3)
    ratios = [min(snr, FINE) if snr is not None else 0 for _, _, snr in rows]
    drawn = right.barh(range(len(rows)), ratios, color=COLOURS[1][0])
    right.bar_label(drawn, ["" if snr is None else f"{snr:.1f}" for _, _, snr in rows], padding=3)
    left.set_yticks(range(len(rows)), names)
    left.invert_yaxis()
    left.set(xlabel="MB", xlim=(0, max(count for _, count, _ in rows) / 1e6 * 1.15))
    right.set(xlabel=f"SNR in dB, at most {FINE:g} drawn", xlim=(min(0, *ratios), max(1, *ratios) * 1.15))
    _save(figure, path)
