"""``pycompress bench``: the time of a model here and on other engines, measured alternately in one run."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np

from .. import peers
from ..cpu import cpu_info
from ..formats import atomic
from ..peers.interleave import Timing, interleave, times_faster
from . import inputs, models
from .output import Output, milliseconds

OURS = "pycompress"


def add(subparsers, common):
    parser = subparsers.add_parser(
        "bench",
        parents=[common],
        help="measure a model, also on other engines",
        description="Measure the time of one run.  The engines take turns in one process, since only times from the "
        "same minute on the same machine are comparable; each turn begins with a rest and with runs that are not counted.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("--against", metavar="A,B", help=f"engines to compare with: {', '.join(peers.ENGINES[1:])}")
    parser.add_argument("--runs", type=models.count, default=50, metavar="N", help="counted runs of each; default 50")
    add_plot(parser, "the engines' times")
    inputs.add_seed(parser)
    models.add_shape(parser)
    models.add_threads(parser, default=1)
    return parser


def add_plot(parser, what: str) -> None:
    """``--plot FILE``."""
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"draw {what}: .png, .svg or .pdf (needs matplotlib)")


def plotter(args, *inputs):
    """The module that draws, or None without --plot; what cannot be drawn is refused before the work."""
    if args.plot is None:
        return None
    from ..report import plots

    plots.check(args.plot)
    atomic.check(args.plot, [path for path in inputs if path])
    return plots


def execute(args, out: Output) -> dict:
    plots = plotter(args, args.model)
    wanted = rivals(args.against)
    source = models.Source(args.model)
    feed = inputs.random_feed(source.ports(models.shapes_of(args)), args.seed or 0)
    runners, missing = load(source, wanted, args.threads)
    result = header(args.threads) | {"model": args.model, "inputs": {k: list(v.shape) for k, v in feed.items()}}
    result["isa"] = sorted({row["isa"] for row in runners[OURS].session.explain(feed)})
    rounds = 10
    with out.progress(f"measuring {', '.join(runners)}", rounds * len(runners)) as tick:
        answers = {name: runner.run(feed) for name, runner in runners.items()}
        timings = interleave(
            {name: peers.call(runner, feed) for name, runner in runners.items()},
            runs=args.runs,
            rounds=rounds,
            tick=tick,
        )
    result["engines"] = {name: row(name, timings, answers) for name in runners}
    result["missing"] = missing
    _print(result, out)
    if plots:
        times = {f"{name} {e['version']}": e["min_ms"] for name, e in result["engines"].items()}
        plots.bars(
            f"{args.model}, {result['cpu']}, {args.threads} thread(s)", "ms per run, the fastest", times, args.plot
        )
    return result


def rivals(text: str | None) -> list[str]:
    """The engines that --against names.

    Raises
    ------
    ValueError
        If one is unknown, or is pycompress.
    """
    if text is None:
        return []
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in peers.ENGINES:
            raise ValueError(f"--against: unknown engine {name!r}; there are {', '.join(peers.ENGINES[1:])}")
        if name == OURS:
            raise ValueError(f"--against names other engines, but {OURS} is measured in any case")
    return names


def load(source: models.Source, wanted: list[str], threads: int):
    """({engine: runner}, pycompress first; {engine: why it is left out})."""
    runners = {OURS: peers.engine(OURS).load(source.plan or source.proto, threads)}
    missing = {}
    model = source.onnx() if wanted else b""
    for name in wanted:
        try:
            runners[name] = peers.engine(name).load(model, threads)
        except (ModuleNotFoundError, NotImplementedError) as error:
            missing[name] = str(error)
        except Exception as error:  # each engine has its own exceptions
            missing[name] = f"it cannot load this model: {' '.join(str(error).split())}"
    return runners, missing


def header(threads: int) -> dict:
    """The context of the figures: machine, instruction sets, versions, date."""
    cpu = cpu_info()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu["model"],
        "cpu_isas": cpu["used"],
        "cores": cpu["cores"],
        "threads": threads,
        "versions": peers.installed(),
    }


def row(name: str, timings: dict[str, Timing], answers: dict[str, list[np.ndarray]]) -> dict:
    """One engine's figures; `ours_is_faster` is its time divided by pycompress's."""
    error = max((error_of(a, b) for a, b in zip(answers[OURS], answers[name])), default=0.0)
    return {
        "version": peers.engine(name).version(),
        "min_ms": timings[name].best * 1e3,
        "median_ms": timings[name].median * 1e3,
        "runs": timings[name].n,
        "ours_is_faster": times_faster(timings[OURS], timings[name]),
        "difference": error,
    }


def error_of(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, divided by the range of `a`."""
    if a.shape != b.shape:
        raise ValueError(f"the engines' outputs differ in shape: {list(a.shape)} and {list(b.shape)}")
    if not a.size:
        return 0.0
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(np.abs(a - b).max()) / (float(np.ptp(a)) or 1.0)


def print_header(result: dict, out: Output) -> None:
    out.line(f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}, {result['threads']} thread(s)")


def _print(result: dict, out: Output) -> None:
    print_header(result, out)
    shapes = ", ".join(f"{k} {'x'.join(map(str, v))}" for k, v in result["inputs"].items())
    out.line(f"{result['model']}: {shapes}; our kernels: {', '.join(result['isa'])}\n")
    rows = [
        (
            name,
            e["version"],
            milliseconds(e["min_ms"] / 1e3),
            milliseconds(e["median_ms"] / 1e3),
            e["runs"],
            f"{e['ours_is_faster']:.2f}",
            f"{e['difference']:.1e}",
        )
        for name, e in result["engines"].items()
    ]
    out.table(("engine", "version", "min ms", "median ms", "runs", "its time / ours", "difference / range"), rows)
    for name, why in result["missing"].items():
        out.line(f"{name}: left out: {why}")
