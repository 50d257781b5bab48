"""Pictures of tuning and sensitivity, by matplotlib, which is imported only here."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...formats import atomic

KINDS = (".png", ".svg", ".pdf")


def check(path: str | os.PathLike) -> None:
    """Raises ValueError, or ModuleNotFoundError, if no picture can be written to `path`."""
    if Path(path).suffix not in KINDS:
        raise ValueError(f"{os.fspath(path)}: a picture must end in {', '.join(KINDS)}")
    _figure(1, 1)


def front(told: Mapping[str, Any], path: str | os.PathLike) -> None:
    """The front of `Tuned.to_dict()`, the references and the chosen plan: milliseconds, decibels, and bytes by colour."""
    figure, axes = _figure(7, 4.5)
    plans = [row["predicted"] for row in told["front"] if row["predicted"]["snr"] < 100]
    points = axes.scatter(
        [p["microseconds"] / 1e3 for p in plans],
        [p["snr"] for p in plans],
        c=[p["bytes"] / 1e6 for p in plans],
        s=14,
        label="front, predicted",
    )
    figure.colorbar(points, ax=axes, label="MB")
    marks = {f"all {form}": x for form, x in told["references"].items() if x["snr"] < 100}
    for (name, x), mark in zip({**marks, "chosen": told["measured"]}.items(), "sD*"):
        axes.scatter(
            [x["microseconds"] / 1e3], [x["snr"]], marker=mark, s=90, color="tab:red", label=f"{name}, measured"
        )
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("signal-to-noise ratio of the outputs, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    _write(figure, path)


def bars(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike, label: str) -> None:
    """The errors of sensitivity's `rows`, one group of bars for each layer, and the cumulative error as a line."""
    figure, axes = _figure(max(6.0, 0.22 * len(rows) + 2), 4.8)
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["errors"]))
    for i, kind in enumerate(kinds):
        at = [j + (i - (len(kinds) - 1) / 2) * 0.8 / len(kinds) for j in range(len(rows))]
        axes.bar(at, [row["errors"].get(kind, 0) for row in rows], 0.8 / len(kinds), label=f"{kind}, alone")
        if all(kind in row.get("cumulative", {}) for row in rows):
            axes.plot(range(len(rows)), [row["cumulative"][kind] for row in rows], label=f"{kind}, up to here")
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [row["node"] for row in rows], rotation=90, fontsize=6)
    axes.set_ylabel(label)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7)
    _write(figure, path)


def _figure(width: float, height: float):
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("a picture needs matplotlib: pip install matplotlib") from None
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _write(figure, path: str | os.PathLike) -> None:
    held = io.BytesIO()
    figure.savefig(held, format=Path(path).suffix.removeprefix("."), dpi=120)
    atomic.write(path, held.getvalue())
