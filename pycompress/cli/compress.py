"""``pycompress compress``: a smaller .onnx, or a plan."""

from __future__ import annotations

import argparse
import inspect
import json
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import ModelError
from . import calibration, models, verdicts
from .output import Output, size

STEPS = ("prune", "factorize", "quantize", "recertify", "cast")  # always in this order
CALIBRATED = ("prune", "factorize", "quantize", "recertify")
SAMPLES = 64
WINDOWS = ("auto", "1", "2", "4", "8")
RECIPE = (
    "A recipe is a TOML (Python 3.11 or newer) or JSON file with a table for each step, named prune, factorize, "
    "quantize, recertify or cast; they are taken in this order, whatever theirs.  The entries of [quantize] are "
    "calibration, samples, mean, std and the options of pycompress.quantize; those of [prune], [factorize] and [recertify] likewise; [cast] has dtype and exclude."
)


def add(subparsers, common):
    parser = subparsers.add_parser(
        "compress",
        parents=[common],
        help="prune, factorize or quantize a model, or compile it into a plan",
        description="Compress MODEL and write OUT: an .onnx that any runtime opens, or, where OUT ends in "
        ".plan.safetensors, the plan compiled from it.",
        epilog=RECIPE,
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("out", metavar="OUT", type=Path, help=".onnx or .plan.safetensors file to write")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="steps and their options, instead of the flags")
    parser.add_argument(
        "--prune",
        type=float,
        metavar="SPARSITY",
        help="set this share of the weights to zero, and re-fit the others where there is calibration data",
    )
    parser.add_argument("--pattern", help="of the zeros: unstructured, 1x4, 4x1, 16x1, N:M as in 2:4, or channel")
    parser.add_argument("--scope", choices=("global", "layer"), help="--prune all layers together, or each as far")
    parser.add_argument(
        "--factorize",
        type=float,
        metavar="ENERGY",
        help="two thin layers for each wide one where that is less work, keeping this share of its squared singular values",
    )
    parser.add_argument("--rank", type=models.count, metavar="R", help="--factorize to this rank, not by energy")
    parser.add_argument("--quantize", action="store_true", help="8-bit activations and weights (see --weights)")
    parser.add_argument(
        "--weights", choices=("8", "4", "mixed"), help="bits of --quantize; mixed: 4 where it does least"
    )
    parser.add_argument(
        "--group-size", type=int, choices=(32, 64, 128, 0), help="inputs that share a scale of 4-bit weights; 0: all"
    )
    parser.add_argument(
        "--rounding", choices=("gptq", "plain"), help="of 4-bit weights: fitted to the data, or nearest"
    )
    parser.add_argument(
        "--recertify",
        action="store_true",
        help="MODEL is quantized already: round its weights again so that the fast integer kernels take them",
    )
    parser.add_argument("--cast", choices=("float16", "bfloat16"), help="store float weights at 16 bits")
    parser.add_argument(
        "--accumulate", choices=WINDOWS, help="steps that share a sum in int16: more is faster, coarser"
    )
    parser.add_argument("--calibration", metavar="DATA", help=calibration.HELP)
    parser.add_argument("--samples", type=models.count, metavar="N", help=f"samples to calibrate on; default {SAMPLES}")
    parser.add_argument(
        "--mean", type=numbers, metavar="M[,M,M]", help="of images: the model sees (image - mean) / std"
    )
    parser.add_argument("--std", type=numbers, metavar="S[,S,S]", help="of images, in units of 0..255")
    verdicts.add_option(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names for a plan, one a line")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="cost table of `advise --save`, to plan by")
    models.add_shape(parser)
    return parser


def numbers(text: str) -> tuple[float, ...]:
    """argparse type of one number or three."""
    try:
        values = tuple(float(x) for x in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r} must be one number, or three with commas between")
    return values


def execute(args, out: Output) -> dict:
    source = models.Source(args.model)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan cannot be compressed; start from the .onnx")
    as_plan = args.out.name.endswith(".plan.safetensors")
    if not as_plan and args.out.suffix != ".onnx":
        raise ValueError(f"{args.out}: OUT must end in .onnx or .plan.safetensors")
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {args.out.parent}")
    if args.costs and not as_plan:
        raise ValueError("--costs is for plans: let OUT end in .plan.safetensors")
    steps = read_recipe(args.recipe, args) if args.recipe else flags(args)
    if not steps and not as_plan:
        raise ValueError(
            "nothing to do: ask for --prune, --factorize, --quantize, --recertify or --cast, or give a recipe"
        )
    proto, said = source.proto, {}
    steps = verdicts.asked(steps, args.min_snr)
    for name, options in steps.items():
        with out.progress(name, options.get("samples") or SAMPLES) as tick, verdicts.quiet():
            proto = STEP[name](proto, source, options, dict(args.shape), tick)
        if name in REPORT:
            REPORT[name](proto, out)
        said[name] = verdicts.report(proto, out)
    if as_plan:
        with out.progress("compile"):
            save_plan(proto, source, args)
    else:
        args.out.write_bytes(proto.SerializeToString())
    result = {
        "model": args.model,
        "out": str(args.out),
        "steps": {name: {k: v for k, v in options.items() if v is not None} for name, options in steps.items()},
        "verdicts": said,
        "bytes_before": source.nbytes,
        "bytes_after": args.out.stat().st_size,
    }
    before, after = result["bytes_before"], result["bytes_after"]
    done = ", ".join(steps) or "compiled"
    out.line(f"{args.out}: {done}; {size(before)} to {size(after)}, {before / after:.2f} times smaller")
    return result


def flags(args) -> dict[str, dict]:
    """The steps that the flags ask for."""
    steps: dict[str, dict] = {}
    data = {key: getattr(args, key) for key in ("calibration", "samples", "mean", "std")}
    if args.prune is not None:
        steps["prune"] = {**data, "sparsity": args.prune, "pattern": args.pattern, "scope": args.scope}
    elif args.pattern or args.scope:
        raise ValueError("--pattern and --scope are for --prune")
    if args.factorize is not None and args.rank is not None:
        raise ValueError("--factorize keeps an energy, --rank a rank: give one of them")
    if args.factorize is not None or args.rank is not None:
        steps["factorize"] = {**data, "energy": args.factorize, "rank": args.rank}
    accumulate = args.accumulate if args.accumulate in (None, "auto") else int(args.accumulate)
    for name in ("quantize", "recertify"):
        if getattr(args, name):
            steps[name] = {**data, "accumulate": accumulate}
    four = {key: getattr(args, key) for key in ("weights", "group_size", "rounding")}
    four["weights"] = int(args.weights) if args.weights in ("4", "8") else args.weights
    if "quantize" in steps:
        steps["quantize"] |= four
    elif any(value is not None for value in four.values()):
        raise ValueError("--weights, --group-size and --rounding are for --quantize")
    if args.cast:
        steps["cast"] = {"dtype": args.cast}
    if "quantize" in steps and "recertify" in steps:
        raise ValueError("--recertify is for models that are quantized already; --quantize needs no help")
    if args.calibration and not steps.keys() & set(CALIBRATED):
        raise ValueError("--calibration is for --prune, --factorize, --quantize and --recertify")
    return checked(steps, "flags")


def read_recipe(path: Path, args) -> dict[str, dict]:
    """The steps of a recipe file; relative paths in it are relative to it."""
    flagged = (args.quantize, args.recertify, args.cast, args.calibration, args.accumulate, args.pattern, args.scope)
    if any(flagged) or not args.prune is args.factorize is args.rank is None:
        raise ValueError("give a recipe or flags, not both")
    text = path.read_text("utf-8")
    if path.suffix == ".toml":
        try:
            import tomllib
        except ModuleNotFoundError:
            raise ValueError(f"{path}: TOML needs Python 3.11 or newer; write the recipe as JSON") from None
        try:
            steps = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
    else:
        try:
            steps = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: {error}") from None
    if not isinstance(steps, dict) or not all(isinstance(options, dict) for options in steps.values()):
        raise ValueError(f"{path}: a recipe holds a table of options for each step")
    for options in steps.values():
        data = options.get("calibration")
        if isinstance(data, str) and (path.parent / data).exists():
            options["calibration"] = str(path.parent / data)
    return checked(steps, str(path))


def checked(steps: dict[str, dict], where: str) -> dict[str, dict]:
    """`steps` in their order; what is unknown is refused by name."""
    if unknown := set(steps) - set(STEPS):
        raise ValueError(f"{where}: there is no step {min(unknown)!r}; there are {', '.join(STEPS)}")
    return {name: steps[name] for name in STEPS if name in steps}


def calibrated(name: str, proto, source: models.Source, options: dict, shapes, tick):
    """The step `name`: the function of pycompress of that name, on calibration data from files."""
    import pycompress

    function = getattr(pycompress, name)
    options = {k: v for k, v in options.items() if v is not None}
    data, count = options.pop("calibration", None), options.pop("samples", SAMPLES)
    mean, std = options.pop("mean", None), options.pop("std", None)
    apart = ("model", "calibration", "base_dir", "progress")  # the last two are not a recipe's business
    known = [n for n in inspect.signature(function).parameters if n not in apart]
    if unknown := set(options) - set(known):
        raise ValueError(f"{name}: there is no option {min(unknown)!r}; there are {', '.join(known)}")
    if not isinstance(data, str) and (name == "quantize" or data is not None):
        raise ValueError(f"{name}: it needs calibration data")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name}: samples must be an integer of at least 1, got {count!r}")
    feeds = None if data is None else calibration.samples(data, source.ports(shapes), count, mean, std)
    if name == "prune":
        options = {"sparsity": None, **options}
    return function(proto, calibration=feeds, progress=lambda seen: tick(), **options)


STEP = {name: partial(calibrated, name) for name in STEPS}


def told_by(proto, step: str) -> dict:
    """What a step wrote into the model's metadata."""
    return json.loads({p.key: p.value for p in proto.metadata_props}.get(f"pycompress.{step}", "{}"))


def report_pruned(proto, out: Output) -> None:
    """What was pruned, and what was left alone and why."""
    told = told_by(proto, "prune")
    if "groups" in told:  # whole channels
        out.table(
            ("layers", "channels"), [(", ".join(x["layers"]), f"{x['kept']} of {x['total']}") for x in told["groups"]]
        )
        for pinned in told["pinned"]:
            out.line(f"left alone, {', '.join(pinned['why'])}: {', '.join(pinned['layers'])}")
        kept, total = (sum(x[key] for x in told["groups"]) for key in ("kept", "total"))
        out.line(f"pruned: {kept} of {total} channels stay")
        return
    out.table(("layer", "zeros"), [(name, f"{share:.1%}") for name, share in told.get("layers", {}).items()])
    left_alone(told, out)
    if "sparsity" in told:
        out.line(f"pruned: {told['sparsity']:.1%} of the weights of these layers are zero, {told['pattern']}")


def report_factorized(proto, out: Output) -> None:
    """Which ranks were taken, and what was left alone and why."""
    told = told_by(proto, "factorize")
    out.table(
        ("layer", "kind", "rank", "break-even", "error", "MACs"),
        [
            (
                *(name, x["kind"], "x".join(map(str, np.atleast_1d(x["rank"]))), x["break_even"]),
                *(f"{x['error']:.1%}", f"{x['macs'][1] / x['macs'][0]:.0%}"),
            )
            for name, x in told["layers"].items()
        ],
    )
    left_alone(told, out)
    macs, weights = (f"{told[unit][1] / told[unit][0]:.1%}" for unit in ("macs", "parameters"))
    count = f"{len(told['layers'])} layers are factorized"
    out.line(f"{count}; of all that can be, {macs} of the multiply-accumulates and {weights} of the weights stay")


def left_alone(told: dict, out: Output) -> None:
    """The layers of each reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in told.get("excluded", {}).items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        out.line(f"left alone, {why}: {', '.join(names)}")


def report_cast(proto, out: Output) -> None:
    """What was cast, and what was left alone and why."""
    told = told_by(proto, "cast")
    for name, why in told["left"].items():
        out.line(f"left at float32: {name}: {why}")
    tiny = f", {told['flushed']} too small for it became zero" if told["flushed"] else ""
    out.line(f"cast: the weights of {len(told['weights'])} constants are {told['dtype']}{tiny}")


REPORT = {"prune": report_pruned, "factorize": report_factorized, "cast": report_cast}


def save_plan(proto, source: models.Source, args) -> None:
    """Compile and write the plan; with mean and std it takes uint8 NHWC images."""
    import pycompress

    shapes = {name: shape for name, (_, shape) in source.ports(dict(args.shape)).items()}
    preprocess = None
    if args.mean is not None or args.std is not None:
        preprocess = {"mean": args.mean or (0.0,), "std": args.std or (1.0,)}
        if len(shapes) != 1 or len(next(iter(shapes.values()))) != 4:
            raise ValueError("--mean and --std are for a model with one image input")
        shapes = {name: (n, h, w, c) for name, (n, c, h, w) in shapes.items()}
    labels = args.labels.read_text("utf-8").splitlines() if args.labels else None
    plan = pycompress.compile(proto, input_shapes=shapes, preprocess=preprocess, labels=labels, costs=args.costs)
    plan.save(args.out)
