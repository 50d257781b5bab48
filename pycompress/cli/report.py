"""``pycompress report``: models beside one another, as one HTML page."""

from __future__ import annotations

import platform
import shlex
import sys
from pathlib import Path

from .. import peers
from ..formats import atomic
from . import bench, calibration, images, inputs, models
from .output import Output, milliseconds, size

PICTURES = ("front", "layers", "histograms")
SAMPLES = 16


def add(subparsers, common):
    parser = subparsers.add_parser(
        "report",
        parents=[common],
        help="models beside one another as one HTML page: time, size, error, layer by layer",
        description="Measure each MODEL, here and on other engines, and write one HTML page that needs no network: latency "
        "against error against size, time, form and error of every layer, histograms of weights and activations, and the "
        "environment.  The first MODEL is what the others are compared with.",
    )
    parser.add_argument("models", metavar="[NAME=]MODEL", nargs="+", help=f"{models.HELP}; NAME: what to call it")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default report.html")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help=f"write {', '.join(f'{n}.png' for n in PICTURES)} there, too"
    )
    parser.add_argument("--title", default="Compression report", help="of the page")
    parser.add_argument("--against", metavar="A,B", help=f"engines to compare with: {', '.join(peers.ENGINES[1:])}")
    parser.add_argument(
        "--calibration", metavar="DATA", action="append", help=calibration.HELP.replace("calibrate on", "compare on")
    )
    parser.add_argument("--samples", type=models.count, metavar="N", help=f"to compare on; default {SAMPLES}")
    parser.add_argument("--runs", type=models.count, default=50, metavar="N", help="counted runs of each; default 50")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure runs in CPU time, where others use the machine, too; for one thread",
    )
    images.add_options(parser)
    inputs.add_seed(parser)
    models.add_shape(parser)
    models.add_threads(parser, default=1)
    return parser


def execute(args, out: Output) -> dict:
    from ..report import measure, page

    named = [_named(text) for text in args.models]
    atomic.check(args.out, [text for _, text in named])
    if args.pictures:
        from ..report import plots

        plots.check(Path("x.png"))
        args.pictures.mkdir(parents=True, exist_ok=True)
    engines = bench.rivals(args.against)
    if args.cpu_time and args.threads != 1:
        raise ValueError("--cpu-time is for one thread: of several, it is the sum")
    sources = [models.Source(text) for _, text in named]
    entries = [measure.Model(name, s.nbytes, s.plan, s.proto) for name, s in zip(_distinct(named), sources)]
    feeds = _feeds(sources, args, out)
    result = bench.header(args.threads) | {
        "title": args.title,
        "command": _command(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "data": f"samples of {', '.join(Path(x).name for x in args.calibration)}"
        if args.calibration
        else "random inputs",
    }
    with out.progress("measuring", measure.ROUNDS * len(entries) * (1 + len(engines)) + len(entries)) as tick:
        result |= measure.measure(
            entries, feeds, engines=engines, runs=args.runs, threads=args.threads, cpu_time=args.cpu_time, tick=tick
        )
    for row, (_, text) in zip(result["models"], named):
        row["model"] = text
    atomic.write(args.out, page.page(result).encode())
    written = [args.out]
    if args.pictures:
        for name in PICTURES:
            if name != "histograms" or result["histograms"]:
                written.append(args.pictures / f"{name}.png")
                getattr(plots, name)(result, written[-1])
    _print(result, written, out)
    return result | {"written": [str(path) for path in written]}


def _command() -> str:
    """The command that makes this report again."""
    program = Path(sys.argv[0])
    words = ["python", sys.argv[0]] if program.suffix == ".py" and program.stem != "__main__" else ["pycompress"]
    return shlex.join([*words, *sys.argv[1:]])


def _named(text: str) -> tuple[str, str]:
    """(name, model) of an argument [NAME=]MODEL; a network of the zoo may have options."""
    name, equals, rest = text.partition("=")
    if equals and name and not name.startswith("zoo:") and not Path(text).exists():
        return name, rest
    return (text if text.startswith("zoo:") else Path(text).name.removesuffix(".onnx")), text


def _distinct(named: list[tuple[str, str]]) -> list[str]:
    """The names, which must differ.

    Raises
    ------
    ValueError
        If two models have the same name.
    """
    names = [name for name, _ in named]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two models are called {twice[0]!r}: write NAME=MODEL")
    return names


def _feeds(sources: list[models.Source], args, out: Output) -> list[dict]:
    """What all models are run on: the samples that --calibration names, or random inputs."""
    shapes = models.shapes_of(args)
    ports = [source.ports(shapes, partly=bool(args.calibration)) for source in sources]
    for source, other in zip(sources, ports):
        if other != ports[0]:
            raise ValueError(f"{source.text}: its inputs differ from those of {sources[0].text}")
    count = args.samples or SAMPLES
    options = {key: getattr(args, key) for key in images.OPTIONS}
    if args.calibration:
        if args.seed is not None:
            raise ValueError("--seed is for random inputs: leave out --seed or --calibration")
        if idle := set(images.given(options)) - calibration.image_options(args.calibration):
            raise ValueError(f"--{min(idle)} has no effect on {', '.join(args.calibration)}")
        return list(calibration.samples(args.calibration, ports[0], count, images.fit(options, out.warn)))
    if images.given(options):
        raise ValueError(f"--{images.given(options)[0]} is for images: add --calibration")
    return [inputs.random_feed(ports[0], (args.seed or 0) + i) for i in range(count)]


def _print(result: dict, written: list[Path], out: Output) -> None:
    from ..report.svg import decibels

    bench.print_header(result, out)
    rows = [(m["name"], "pycompress", m["bytes"], m) for m in result["models"]]
    sizes = {m["name"]: m["bytes"] for m in result["models"]}
    rows += [(e["model"], e["engine"], sizes[e["model"]], e) for e in result["engines"]]
    out.table(
        ("model", "engine", "size", "min ms", "SNR", "same best class"),
        [
            (name, engine, size(count), milliseconds(e["min_ms"] / 1e3), decibels(e["snr"]))
            + ("-" if e["agreement"] is None else f"{e['agreement']:.1%}",)
            for name, engine, count, e in rows
        ],
    )
    for name, why in result["missing"].items():
        out.line(f"{name}: left out: {why}")
    out.line(f"wrote {', '.join(map(str, written))}")
