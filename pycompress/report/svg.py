"""The two drawings of the page, as SVG whose colours the page's style gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from .measure import EXACT

SHAPES = ("circle", "square", "triangle", "diamond", "cross")  # by engine, ours first
FINE = 60.0  # dB; what has more is drawn on one line
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 24, 40
LINE = 14  # height of a label


def decibels(snr: float) -> str:
    """A signal-to-noise ratio for people."""
    return "exact" if snr >= EXACT else "-" if snr <= -EXACT else f"{snr:.1f} dB"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    raw = (high - low) / count
    step = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step *= next((m for m in (1, 2, 5) if m * step >= raw), 10)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def decades(low: float, high: float, apart: float = 1.6) -> list[float]:
    """1, 2 and 5 (over less than a decade, more digits) times powers of ten from `low` to `high`, each at least `apart` times the one before."""
    found: list[float] = []
    digits = (1, 2, 5) if high > 12 * low else (1, 2, 3, 4, 5, 6, 8)
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for digit in digits:
            value = float(f"{digit}e{exponent}")
            if low <= value <= high and (not found or value >= found[-1] * apart):
                found.append(value)
    return found


def widths(times: Sequence[float]) -> tuple[float, float]:
    """(lowest, highest) of a logarithmic axis of times."""
    known = [t for t in times if t > 0] or [1.0]
    return min(known) / 1.3, max(known) * 1.5


def heights(snrs: Sequence[float]) -> tuple[float, float, float]:
    """(lowest, highest, where all above `FINE` are drawn) of an axis of signal-to-noise ratios in dB."""
    finite = [max(x, -10.0) for x in snrs if x < FINE]
    low, high = min(finite, default=20.0), max(finite, default=30.0)
    low, high = min(low - 4, high - 10), high + 2
    fine = high + (high - low) * 0.15 if any(x >= FINE for x in snrs) else high
    return low, high, fine


def front(points: Sequence[Mapping], width: int, height: int) -> str:
    """Latency against error; the area of a mark is the file's size.

    Parameters
    ----------
    points : dicts
        ``name``, ``ms``, ``snr`` in dB, ``bytes``, ``colour`` (an index), ``shape`` (an index into `SHAPES`), ``label``,
        and ``best``: whether no other of ours is faster and more exact.
    """
    low, high, fine = heights([p["snr"] for p in points])
    left, right = widths([p["ms"] for p in points])
    largest = max((p["bytes"] for p in points), default=1) or 1

    def x(ms: float) -> float:
        return LEFT + 16 + math.log(max(ms, left) / left) / math.log(right / left) * (width - LEFT - RIGHT - 16)

    def y(snr: float) -> float:
        value = fine if snr >= FINE else min(max(snr, low), high)
        return TOP + (fine - value) / (fine - low) * (height - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">']
    parts.append("<title>Latency against error; the area of a mark is the size of the file</title>")
    for value in ticks(low, high):
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{width - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    if fine > high:
        parts.append(f'<path class="grid" d="M{LEFT} {y(FINE):.1f}H{width - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(FINE) + 4:.1f}" text-anchor="end">≥ {FINE:g}</text>')
    for value in decades(left, right, min(1.6, (right / left) ** (45 / width))):
        parts.append(f'<text x="{x(value):.1f}" y="{height - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text x="{width - RIGHT}" y="{height - 6}" text-anchor="end">ms per run</text>')
    parts.append(f'<text x="4" y="{height - 6}">SNR in dB, upwards: less error</text>')
    line = sorted((p for p in points if p.get("best")), key=lambda p: p["ms"])
    if len(line) > 1:
        spots = " ".join(f"{x(p['ms']):.1f},{y(p['snr']):.1f}" for p in line)
        parts.append(f'<polyline class="front" points="{spots}"/>')
    for p in sorted(points, key=lambda p: -p["bytes"]):
        said = f"{p['name']}: {p['ms']:.2f} ms, {decibels(p['snr'])}"
        radius = 4 + 10 * math.sqrt(p["bytes"] / largest)
        kind = f"c{p['colour']}" + (" hollow" if p["shape"] else "")
        parts.append(
            f'<path class="{kind}" d="{mark(p["shape"], x(p["ms"]), y(p["snr"]), radius)}"><title>{escape(said)}</title></path>'
        )
    parts += _labels(points, x, y, width, height - BOTTOM)
    return "".join(parts) + "</svg>"


def _labels(points: Sequence[Mapping], x, y, width: int, bottom: float) -> list[str]:
    """The names of points beside them, on either side and moved up or down so that they hide no mark and no other name."""
    taken = [
        (x(p["ms"]) - 11, y(p["snr"]) - 8, x(p["ms"]) + 11, y(p["snr"]) + 8) for p in points
    ]  # left, top, right, bottom
    parts = []
    for p in sorted((p for p in points if p["label"]), key=lambda p: y(p["snr"])):
        text, at, middle = p["label"], x(p["ms"]), y(p["snr"])
        wide = 7.2 * len(text)
        places = [
            (side, step * LINE) for step in (0, 1, -1, 1.5, 2, -2, 3, -3, 4, -4) for side in (at + 16, at - 16 - wide)
        ]
        fits = [(a, b) for a, b in places if LEFT <= a <= width - wide and TOP <= middle + b <= bottom]
        free = [
            (a, b) for a, b in fits if not any(_over((a, middle + b - 6, a + wide, middle + b + 6), z) for z in taken)
        ]
        start, off = (free or fits or [(LEFT, 0.0)])[0]
        taken.append((start, middle + off - 6, start + wide, middle + off + 6))
        parts.append(f'<text class="name" x="{start:.1f}" y="{middle + off + 4:.1f}">{escape(text)}</text>')
    return parts


def _over(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) have a common part."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def mark(shape: int, x: float, y: float, r: float) -> str:
    """The path of a mark around (x, y) with about the area of a circle of radius `r`."""
    kind = SHAPES[shape % len(SHAPES)]
    if kind == "circle":
        return f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0z"
    if kind == "square":
        s = r * 0.886
        return f"M{x - s:.1f} {y - s:.1f}h{2 * s:.1f}v{2 * s:.1f}h{-2 * s:.1f}z"
    if kind == "triangle":
        s = r * 1.35
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {1.75 * s:.1f}h{-2 * s:.1f}z"
    s = r * 1.25
    if kind == "diamond":
        return f"M{x:.1f} {y - s:.1f}l{s:.1f} {s:.1f}l{-s:.1f} {s:.1f}l{-s:.1f} {-s:.1f}z"
    return f"M{x - s:.1f} {y - s:.1f}l{2 * s:.1f} {2 * s:.1f}m0 {-2 * s:.1f}l{-2 * s:.1f} {2 * s:.1f}"


def histogram(found: Mapping, colours: Mapping[str, int], width: int = 150, height: int = 56) -> str:
    """The distributions that `measure.counted` gives, as steps; heights are square roots of the shares."""
    top = max((max(x) for x in found["counts"].values()), default=0.0) ** 0.5 or 1.0
    parts = [f'<svg viewBox="0 0 {width} {height + 12}" role="img">']
    for name, shares in found["counts"].items():
        step = width / len(shares)
        path = "".join(f"V{height - (share**0.5) / top * (height - 2):.0f}h{step:.1f}" for share in shares)
        parts.append(
            f'<path class="c{colours[name]} line" d="M0 {height}{path}V{height}"><title>{escape(name)}</title></path>'
        )
    parts.append(f'<path class="axis" d="M0 {height}H{width}"/>')
    parts.append(f'<text y="{height + 11}">{found["low"]:.3g}</text>')
    parts.append(f'<text x="{width}" y="{height + 11}" text-anchor="end">{found["high"]:.3g}</text>')
    return "".join(parts) + "</svg>"
