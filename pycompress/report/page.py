"""The report as one HTML page: no script, nothing from the network, light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from . import svg
from .measure import OURS
from .svg import decibels

COLOURS = (  # of models, on light and on dark ground
    ("#1f6fb4", "#6cb2f0"),
    ("#c4570c", "#f39a55"),
    ("#2a8a3e", "#6fce82"),
    ("#8b3fa8", "#cf94e6"),
    ("#b3224f", "#f27d9f"),
    ("#00797f", "#4fc9cf"),
    ("#7a6a00", "#d0bd4a"),
    ("#555555", "#b5b5b5"),
)
STYLE = """
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#59636e;--rule:#d8dee4;--shade:#f4f6f8;--bad:#c9302c;LIGHT}
@media(prefers-color-scheme:dark){:root{--ground:#12161b;--ink:#e4e8ec;--soft:#9aa5b1;--rule:#30363d;--shade:#1b2128;--bad:#ff7b72;DARK}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:1rem;background:var(--ground);color:var(--ink);
 font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .4rem;border-bottom:1px solid var(--rule);padding-bottom:.2rem}
p{margin:.3rem 0 .7rem;color:var(--soft);max-width:75ch}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem .25rem 0;text-align:left;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600}td.n,th.n{text-align:right;white-space:nowrap}
svg{display:block;max-width:100%;height:auto}svg text{font-size:12px;fill:var(--soft);font-family:inherit}
svg .name{fill:var(--ink);font-size:13px}.grid,.axis{stroke:var(--rule);fill:none}
.front{fill:none;stroke:var(--soft);stroke-dasharray:4 4}.narrow{display:none}
path[class^=c]{fill:currentColor;stroke:currentColor;stroke-width:1.5;fill-opacity:.75}
path.hollow{fill-opacity:.08}path.line{fill:none;stroke-width:1.2}
.key{display:inline-block;width:.75em;height:.75em;border-radius:2px;background:currentColor;margin-right:.4em}
.key+*{color:var(--ink)}.legend span{margin-right:1.2em;white-space:nowrap}
.bar{display:block;height:.5em;border-radius:2px;background:currentColor;min-width:1px;margin:.2em 0 .1em}
.err{display:block;height:.25em;border-radius:2px;background:var(--bad);min-width:1px;margin-bottom:.1em}
td small{color:var(--soft);font-size:.82rem}.layers td{width:var(--cell)}.layers th{font-weight:400;font-size:.85rem}
.cells{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:.8rem}
figure{margin:0;padding:.5rem .6rem;background:var(--shade);border-radius:6px}
figcaption{font-size:.85rem;margin-bottom:.3rem}figure div{display:grid;grid-template-columns:1fr 1fr;gap:.6rem}
figure small{color:var(--soft)}figure svg{width:100%}
.stack td:has(.bar){width:32%}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0}dt{color:var(--soft)}dd{margin:0}
@media(max-width:760px){body{padding:.7rem}.wide{display:none}.narrow{display:block}
 .layers thead{display:none}.layers tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
 .layers th,.layers td{display:block;width:auto;border:0;padding:.1rem 0}.layers td::before{content:attr(data-m);font-size:.8rem;color:var(--soft)}
 .layers td{display:grid;grid-template-columns:1fr auto;column-gap:1rem}
 .layers td>small{grid-column:2;grid-row:1}.layers td>span,.layers td>.err{grid-column:1/-1}
 .stack thead{display:none}.stack tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--rule)}
 .stack td,.stack th{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.05rem 0;text-align:right}
 .stack td::before,.stack th::before{content:attr(data-h);color:var(--soft);font-weight:400;text-align:left}
 .stack td:has(.bar){display:none}dl{grid-template-columns:1fr}dt{margin-top:.3rem}}
"""


def page(report: Mapping[str, Any]) -> str:
    """The page of what `measure.measure` found, with ``title``, ``command`` and the environment beside it."""
    models = report["models"]
    names = [m["name"] for m in models]
    colours = {name: i % len(COLOURS) for i, name in enumerate(names)}
    sections = [_summary(models, colours), _front(report, colours), _engines(report, colours)]
    sections += [_layers(report, colours), _histograms(report, colours), _environment(report)]
    light, dark = ("".join(f"--c{i}:{pair[k]};" for i, pair in enumerate(COLOURS)) for k in (0, 1))
    style = STYLE.replace("LIGHT", light).replace("DARK", dark)
    style += "".join(f".c{i}{{color:var(--c{i})}}" for i in range(len(COLOURS)))
    style += f":root{{--cell:{75 / max(len(models), 1):.1f}%}}"
    title = escape(report["title"])
    clock = ", CPU time of the fastest run" if report["cpu_time"] else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{style}</style></head><body><h1>{title}</h1>"
        f"<p>{escape(report['date'])}, {escape(report['cpu'])}, {report['threads']} thread(s){clock}. Errors are those of the outputs on "
        f"{report['samples']} {escape(report['data'])}, against {escape(names[0])}.</p>"
        + "".join(sections)
        + "</body></html>\n"
    )


def _key(name: str, colours: Mapping[str, int]) -> str:
    return f'<span class="c{colours[name]}"><i class="key"></i><span>{escape(name)}</span></span>'


def megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A table that stacks on narrow screens; the first `text` columns hold text, the others numbers."""
    kind = [' class="n"' if i >= text else "" for i in range(len(heads))]
    head = "".join(f"<th{k}>{escape(h)}</th>" for h, k in zip(heads, kind))
    body = "".join(
        "<tr>" + "".join(f'<td{k} data-h="{escape(h)}">{cell}</td>' for cell, h, k in zip(row, heads, kind)) + "</tr>"
        for row in rows
    )
    return f'<table class="stack"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _summary(models: Sequence[Mapping], colours) -> str:
    first = models[0]
    rows = []
    for m in models:
        same = "-" if m["agreement"] is None else f"{m['agreement']:.1%}"
        ratios = [f"{first[key] / m[key]:.2f}" if m[key] else "-" for key in ("bytes", "min_ms")]
        figures = [megabytes(m["bytes"]), ratios[0], f"{m['min_ms']:.2f}", ratios[1], decibels(m["snr"]), same]
        rows.append([_key(m["name"], colours), *figures])
    heads = ("model", "size", "times smaller", "ms", "times faster", "SNR", "same best class")
    return "<h2>Models</h2>" + _table(heads, rows)


def points(report: Mapping, colours: Mapping[str, int]) -> list[dict]:
    """The marks of the front: each model here, and on each engine."""
    models = report["models"]
    sizes = {m["name"]: m["bytes"] for m in models}
    engines = list(dict.fromkeys(e["engine"] for e in report["engines"]))
    found = []
    for m in models:
        beaten = any(o["min_ms"] < m["min_ms"] and o["snr"] >= m["snr"] for o in models)
        own = {"name": f"{m['name']}, {OURS}", "label": m["name"], "shape": 0, "best": not beaten}
        found.append(own | {"ms": m["min_ms"], "snr": m["snr"], "bytes": m["bytes"], "colour": colours[m["name"]]})
    for e in report["engines"]:
        own = {"name": f"{e['model']}, {e['engine']}", "label": "", "shape": 1 + engines.index(e["engine"])}
        found.append(
            own | {"ms": e["min_ms"], "snr": e["snr"], "bytes": sizes[e["model"]], "colour": colours[e["model"]]}
        )
    return found


def _front(report: Mapping, colours) -> str:
    marks = points(report, colours)
    engines = [OURS, *dict.fromkeys(e["engine"] for e in report["engines"])]
    shapes = ", ".join(f"{name}: {svg.SHAPES[i % len(svg.SHAPES)]}" for i, name in enumerate(engines))
    return (
        "<h2>Latency, error, size</h2><p>The further up and left, the better; the area of a mark is the size of the file; time is on a logarithmic scale. The "
        f"dashed line joins the models that none beats in both. {escape(shapes)}.</p>"
        f'<div class="wide">{svg.front(marks, 1100, 430)}</div><div class="narrow">{svg.front(marks, 372, 380)}</div>'
    )


def _engines(report: Mapping, colours) -> str:
    if not report["engines"] and not report["missing"]:
        return ""
    ours = {m["name"]: m for m in report["models"]}
    rows = [(m["name"], OURS, report["versions"].get(OURS), m) for m in report["models"]]
    rows += [(e["model"], e["engine"], e["version"], e) for e in report["engines"]]
    rows.sort(key=lambda row: list(ours).index(row[0]))
    slowest = max(row[3]["min_ms"] for row in rows)
    cells = [
        [
            _key(name, colours),
            escape(f"{engine} {version or ''}"),
            f'<span class="c{colours[name]}"><i class="bar wide" style="width:{100 * e["min_ms"] / slowest:.1f}%"></i></span>',
            f"{e['min_ms']:.2f}",
            f"{e['min_ms'] / ours[name]['min_ms']:.2f}",
            decibels(e["snr"]),
        ]
        for name, engine, version, e in rows
    ]
    table = _table(("model", "engine", "", "ms", "its time / ours", "SNR"), cells, 3)
    left = "".join(f"<p>{escape(name)}: left out: {escape(why)}</p>" for name, why in report["missing"].items())
    return f"<h2>Engines</h2><p>The same files, in turns in one process; the fastest run of each.</p>{table}{left}"


def _layers(report: Mapping, colours) -> str:
    models = report["models"]
    longest = max((layer["us"] for m in models for layer in m["layers"].values()), default=0.0) or 1.0
    head = "".join(f"<th>{_key(m['name'], colours)}</th>" for m in models)
    rows = [f"<tr><th>{escape(x['name'])} <small>{escape(x['op'])}</small></th>" for x in report["layers"]]
    for i, x in enumerate(report["layers"]):
        for m in models:
            rows[i] += _cell(m, m["layers"][x["name"]], longest, colours)
    rows.append("<tr><th>all other steps</th>")
    for m in models:
        rows[-1] += f'<td data-m="{escape(m["name"])}"><small>{m["rest_us"]:.0f} µs</small></td>'
    return (
        "<h2>Layers</h2><p>Bars: time; below, in red, the squared error of the layer's output relative to its squares, from "
        f"1e-6 (nothing) to 1, on a logarithmic scale, with all errors of earlier layers.</p>"
        f'<table class="layers"><thead><tr><th>layer</th>{head}</tr></thead><tbody>{"</tr>".join(rows)}</tr></tbody></table>'
    )


def _cell(model: Mapping, layer: Mapping, longest: float, colours) -> str:
    error = layer.get("error")
    wide = 0.0 if not error else min(max(100 * (1 + math.log10(error) / 6), 0), 100)
    red = f'<i class="err" style="width:{wide:.0f}%"></i>' if wide else ""
    said = f"{layer['us']:.3g} µs, {layer['form'] or 'not a step of its own'}" + (
        f", {error:.1e}" if error and error > 1e-9 else ""
    )
    bar = f'<i class="bar" style="width:{100 * layer["us"] / longest:.1f}%"></i>'
    return f'<td data-m="{escape(model["name"])}"><span class="c{colours[model["name"]]}">{bar}</span>{red}<small>{escape(said)}</small></td>'


def _histograms(report: Mapping, colours) -> str:
    figures = []
    for h in report["histograms"]:
        drawn = [
            f"<span><small>{what}</small>{svg.histogram(h[what], colours)}</span>" for what in ("weights", "outputs")
        ]
        figures.append(f"<figure><figcaption>{escape(h['layer'])}</figcaption><div>{''.join(drawn)}</div></figure>")
    if not figures:
        return ""
    legend = " ".join(_key(name, colours) for name in colours)
    return (
        "<h2>Weights and activations</h2><p>Of the layers with the largest errors; heights are square roots of shares.</p>"
        f'<p class="legend">{legend}</p><div class="cells">{"".join(figures)}</div>'
    )


def _environment(report: Mapping) -> str:
    rows = {key: report[key] for key in ("command", "date", "cpu", "cores", "threads", "os", "python")}
    rows |= {"instruction sets": ", ".join(report["cpu_isas"])}
    rows |= {f"{m['name']}": f"{Path(m['model']).name}; kernels: {', '.join(m['isa'])}" for m in report["models"]}
    rows |= {name: version for name, version in report["versions"].items() if version}
    body = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in rows.items())
    return f"<h2>Environment</h2><dl>{body}</dl>"
