"""``pycompress profile``: the time of each step of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..formats import atomic
from . import bench, inputs, models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "profile",
        parents=[common],
        help="time, kernel and instruction set of every step",
        description="Run a model many times and print, for each step, its node, kernel, instruction set, median time, "
        "share of the whole and billions of multiply-accumulates per second.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    inputs.add_options(parser)
    parser.add_argument("--runs", type=models.count, default=20, metavar="N", help="default 20")
    parser.add_argument("--sort", choices=("order", "time"), default="order", help="order of the rows")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the fastest run for chrome://tracing")
    models.add_shape(parser)
    models.add_threads(parser, default=1)
    return parser


def execute(args, out: Output) -> dict:
    if args.trace:
        atomic.check(args.trace, [args.model, *(args.input or ())])
    source, shapes = models.Source(args.model), models.shapes_of(args)
    (feed,) = inputs.feeds(source, shapes, args, out.warn)
    session = source.session(args.threads)
    with out.progress(f"profiling {args.model}"):
        session.run(None, feed)
        rows = session.profile(feed, args.runs)
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        row["share"] = row["seconds"] / total if total else 0.0
        row["gmacs"] = row["macs"] / row["seconds"] / 1e9 if row["macs"] and row["seconds"] else None
    if args.trace:
        atomic.write(args.trace, json.dumps(chrome_trace(rows, args.model)).encode())
    for i, row in enumerate(rows):
        row["step"] = i
    if args.sort == "time":
        rows = sorted(rows, key=lambda row: -row["seconds"])
    result = bench.header(args.threads) | {"model": args.model, "runs": args.runs, "seconds": total, "steps": rows}
    _print(result, out)
    if args.trace:
        out.line(f"written to {args.trace}")
    return result


def chrome_trace(rows: list[dict], model: str) -> dict:
    """The fastest run in the format that chrome://tracing and Perfetto read; times in microseconds."""
    start = min((row["start"] for row in rows), default=0.0)
    events = [
        {
            "name": row["node"] or row["kernel"],
            "cat": row["kernel"],
            "ph": "X",
            "ts": (row["start"] - start) * 1e6,
            "dur": (row["end"] - row["start"]) * 1e6,
            "pid": os.getpid(),
            "tid": 0,
            "args": {key: row[key] for key in ("op", "kernel", "isa", "dtype", "shapes", "macs", "reason")},
        }
        for row in rows
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"model": model}}


def _print(result: dict, out: Output) -> None:
    bench.print_header(result, out)
    rows = result["steps"]
    out.table(
        ("step", "node", "op", "out", "dtype", "kernel", "isa", "us", "share", "GMAC/s"),
        [
            (
                row["step"],
                row["node"],
                row["op"],
                "x".join(map(str, row["shapes"][1])),
                row["dtype"],
                row["kernel"],
                row["isa"],
                f"{row['seconds'] * 1e6:.1f}",
                f"{row['share']:.1%}",
                f"{row['gmacs']:.1f}" if row["gmacs"] else "-",
            )
            for row in rows
        ],
    )
    out.line()
    kernels: dict[tuple[str, str], list] = {}
    for row in rows:
        sums = kernels.setdefault((row["kernel"], row["isa"]), [0, 0.0, 0])
        sums[0] += 1
        sums[1] += row["seconds"]
        sums[2] += row["macs"]
    by_time = sorted(kernels.items(), key=lambda item: -item[1][1])
    total = result["seconds"] or 1.0
    out.table(
        ("kernel", "isa", "steps", "ms", "share", "GMAC/s"),
        [
            (*key, n, f"{s * 1e3:.3f}", f"{s / total:.1%}", f"{m / s / 1e9:.1f}" if m and s else "-")
            for key, (n, s, m) in by_time
        ],
    )
    out.line(f"\nsum of the steps' medians: {total * 1e3:.2f} ms")
