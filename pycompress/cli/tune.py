"""``pycompress tune``: the form of each layer, chosen by time and error measured here."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from pathlib import Path

from ..errors import ModelError
from ..formats import atomic
from . import calibration, images, models, plans, recipe, units
from .output import Output, size

ENDINGS = {"model": ".onnx", "plan": ".plan.safetensors", "recipe": ".recipe.json", "table": ".tune.json"}
SHOWN = 12  # plans of the front


def add(subparsers, common):
    parser = subparsers.add_parser(
        "tune",
        parents=[common],
        help="choose float, 16 bits, int8 or int4 for each layer, by time and error measured here",
        description="Measure the time and the error of every layer of MODEL in every form on this machine, choose forms, "
        "build the model, measure it as a whole, and write it: OUT.onnx, OUT.plan.safetensors, OUT.recipe.json (for "
        "`compress --recipe`) and OUT.tune.json (the table of forms and the front).  With --mean or --std the plan takes "
        "uint8 images.",
        epilog="Without a limit, the plan of the least error is wanted that is as fast as int8 in all layers. "
        "With --max-drop or --min-snr the fastest plan is wanted, with --latency or --size alone the most exact.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("--calibration", metavar="DATA", action="append", required=True, help=calibration.HELP)
    parser.add_argument("--out", metavar="OUT", type=Path, help="start of the files' names; default: MODEL.tuned")
    parser.add_argument(
        "--max-drop", type=float, metavar="D", help="the share of samples whose top-1 class may change, as 0.01"
    )
    parser.add_argument("--min-snr", type=float, metavar="DB", help="signal-to-noise ratio that the outputs must have")
    parser.add_argument("--latency", type=units.seconds, metavar="T", help="longest time, as 3ms")
    parser.add_argument("--size", type=units.size, metavar="B", help="largest .onnx file, as 2MB")
    parser.add_argument("--forms", metavar="F[,F]", help="forms to choose from; default: all")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FILE",
        help="measurements, from which the command goes on; default: OUT.measured.json",
    )
    parser.add_argument(
        "--samples", type=models.count, metavar="N", help=f"samples to calibrate on; default {recipe.SAMPLES}"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the front, as .png or .svg; needs matplotlib")
    images.add_options(parser)
    models.add_threads(parser, 1)
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    from ..compress.tune import FORMS, tune
    from ..compress.tuning import picture

    source, shapes = models.Source(args.model), models.shapes_of(args)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan cannot be tuned; start from the .onnx")
    stem = args.out or Path(f"{source.path.with_suffix('') if source.path else _word(args.model)}.tuned")
    files = {name: Path(f"{stem}{ending}") for name, ending in ENDINGS.items()}
    for path in [*files.values(), *([args.plot] if args.plot else [])]:
        atomic.check(path, [args.model, *args.calibration])
    if args.plot:
        picture.check(args.plot)
    told = {key: getattr(args, key) for key in images.OPTIONS}
    ports = source.ports(shapes, partly=True)
    how = images.fit(told, out.warn)
    samples = list(calibration.samples(args.calibration, ports, args.samples or recipe.SAMPLES, how))
    limits = {key: getattr(args, key) for key in ("max_drop", "min_snr", "latency", "size")}
    forms = args.forms.split(",") if args.forms else FORMS
    cache = args.cache or Path(f"{stem}.measured.json")
    with out.progress(f"tuning {args.model}") as tick:
        began = time.monotonic()

        def progress(done: int, total: int | None) -> None:
            tick(done, total, f"{left(began, done, total)}measurement")

        made = tune(source.proto, samples, forms=forms, threads=args.threads, cache=cache, progress=progress, **limits)
    samples_of = data(args, files["recipe"].parent, told)
    steps = {name: {**samples_of, **own} if name in recipe.STEPS else own for name, own in made.recipe.items()}
    products = made.recipe.get("float_products")
    shapes = {name: x.shape for name, x in samples[0].items()}
    plan = plans.planned(made.model, source, shapes, how, args.layout, float_products=products)
    atomic.write(files["model"], made.model.SerializeToString())
    plan.save(files["plan"])
    atomic.write(files["recipe"], json.dumps(steps, indent=1).encode())
    atomic.write(files["table"], json.dumps(made.to_dict(), indent=1).encode())
    if args.plot:
        picture.front(made.to_dict(), args.plot)
    _print(made, files, out)
    result = {key: value for key, value in made.to_dict().items() if key != "table"}
    return {"files": {name: str(path) for name, path in files.items()}, "cache": str(cache)} | result


def _word(model: str) -> str:
    """The name of a network of the zoo with its options, as the start of a file's name."""
    return model.removeprefix("zoo:").replace(",", "-").replace("=", "")


def _print(made, files: dict[str, Path], out: Output) -> None:
    """The front, the chosen plan, and how well it was predicted."""
    step = max(1, -(-len(made.front) // SHOWN))
    rows = [_row("front", row["predicted"], row["forms"]) for row in made.front[::step]]
    out.table(("", "us", "SNR dB", "size", "forms"), rows, "predicted:")
    rows = [_row(f"all {form}", x, {}) for form, x in made.references.items()]
    rows += [_row("chosen, predicted", made.predicted, made.forms), _row("chosen, measured", made.measured, made.forms)]
    out.line()
    out.table(("", "us", "SNR dB", "size", "forms"), rows, "of the whole model:")
    off = made.measured["microseconds"] / made.predicted["microseconds"] - 1
    apart = made.measured["snr"] - made.predicted["snr"]
    out.line(f"\nmeasured against predicted: {off:+.1%} time, {apart:+.2f} dB")
    if made.measured["drop"] is not None:
        out.line(f"drop: {made.measured['drop']:.2%}")
    out.line("wrote " + ", ".join(map(str, files.values())))


def _row(name: str, x: dict, forms: dict[str, str]) -> tuple:
    counts = ", ".join(f"{n} {form}" for form, n in sorted(Counter(forms.values()).items()))
    return name, f"{x['microseconds']:.0f}", f"{x['snr']:.1f}", size(x["bytes"]), counts


def data(args: argparse.Namespace, folder: Path, told: dict) -> dict:
    """The calibration data, as a recipe in `folder` names it."""
    names = [
        os.path.join(os.curdir, os.path.relpath(text, folder))
        if Path(text).exists()
        else text  # `photos` names built-in ones
        for text in args.calibration
    ]
    found = {"calibration": names[0] if len(names) == 1 else names, "samples": args.samples}
    return {key: value for key, value in {**found, **told}.items() if value is not None}


def left(began: float, done: int, total: int | None) -> str:
    """The time left, if it can be told."""
    if not total or done < max(1, total // 50) or done >= total:
        return ""
    return f"about {units.spoken((time.monotonic() - began) / done * (total - done))} left, "
