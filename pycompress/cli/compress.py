"""``pycompress compress``: a smaller .onnx, or a plan."""

from __future__ import annotations

import inspect
import json
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import ModelError
from ..formats import atomic
from . import calibration, images, models, verdicts
from .output import Output, size

STEPS = ("prune", "factorize", "quantize", "recertify", "cast")  # always in this order
CALIBRATED = ("prune", "factorize", "quantize", "recertify")
SAMPLES = 64
DATA = ("calibration", "samples", "mean", "std", "scale", "resize", "crop", "layout")
PLANNED = ("mean", "std", "scale")  # what a plan that takes images is told besides
WINDOWS = ("auto", "1", "2", "4", "8")
RECIPE = (
    "A recipe is a TOML (Python 3.11 or newer) or JSON file with a table for each step, named prune, factorize, "
    "quantize, recertify or cast; they are taken in this order, whatever theirs.  The entries of [quantize] are "
    "calibration, samples, mean, std, scale, resize, crop, layout and the options of pycompress.quantize; those of [prune], [factorize] and [recertify] likewise; [cast] has dtype and exclude."
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
    images.add_options(parser)
    verdicts.add_option(parser)
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names for a plan, one a line")
    parser.add_argument("--costs", type=Path, metavar="FILE", help="cost table of `advise --save`, to plan by")
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    as_plan = args.out.name.endswith(".plan.safetensors")
    if not as_plan and args.out.suffix != ".onnx":
        raise ValueError(f"{args.out}: OUT must end in .onnx or .plan.safetensors")
    atomic.check(args.out, [args.model, args.recipe, args.calibration, args.labels, args.costs])
    source = models.Source(args.model)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan cannot be compressed; start from the .onnx")
    steps = read_recipe(args.recipe, args) if args.recipe else flags(args)
    _check(steps, source, args, as_plan)
    how = _preprocessing(steps, args, out) if as_plan else None
    plan = None
    if as_plan:  # before the work: what cannot be planned now cannot be planned afterwards
        with out.progress("compile"):
            plan = planned(source.proto, source, args, how)
    proto, said = source.proto, {}
    steps = verdicts.asked(steps, args.min_snr)
    for name, options in steps.items():
        with out.progress(name, options.get("samples") or SAMPLES) as tick, verdicts.quiet():
            proto = STEP[name](proto, source, options, dict(args.shape), tick)
        if name in REPORT:
            REPORT[name](proto, out)
        said[name] = verdicts.report(proto, out)
    if as_plan:
        if steps:
            with out.progress("compile"):
                plan = planned(proto, source, args, how)
        plan.save(args.out)
    else:
        atomic.write(args.out, proto.SerializeToString())
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
    out.line(f"{args.out}: {done}; {size(before)} to {size(after)}, {change(before, after)}")
    return result


def change(before: int, after: int) -> str:
    smaller = before >= after
    return f"{before / max(after, 1):.2f} times smaller" if smaller else f"{after / max(before, 1):.2f} times larger"


def _check(steps: dict[str, dict], source: models.Source, args, as_plan: bool) -> None:
    """Refuse, before any work, what cannot end and what would do nothing."""
    if not steps and not as_plan:
        raise ValueError(
            "nothing to do: ask for --prune, --factorize, --quantize, --recertify or --cast, or give a recipe"
        )
    for name in ("costs", "labels"):
        if getattr(args, name) and not as_plan:
            raise ValueError(f"--{name} is for plans: let OUT end in .plan.safetensors")
    if args.labels:
        _labels(args.labels)
    if "recertify" in steps and "quantize" in steps:
        raise ValueError("recertify is for models that are quantized already; quantize needs no help")
    kinds = {node.op_type for node in source.proto.graph.node}
    coded = kinds & {"DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
    if "recertify" in steps and not coded:
        raise ModelError(
            f"{source.text}: nothing to certify: --recertify is for quantized models, and this has no quantized layer"
        )
    if coded and (late := [name for name in ("prune", "factorize", "quantize") if name in steps]):
        raise ModelError(
            f"{source.text} is quantized already ({min(coded)}): it cannot {late[0]} any more; start from the float model"
        )
    for name, options in steps.items():
        data = options.get("calibration")
        if name == "quantize" and not isinstance(data, str):
            raise ValueError(f"{name}: it needs calibration data")
        if isinstance(data, str) and data != "photos" and not Path(data).exists():
            raise FileNotFoundError(f"no such calibration data: {data}")
        if name in CALIBRATED and data is None and (idle := [k for k in ("samples", *images.given(options))
                                                            if options.get(k) is not None and not (as_plan and k in PLANNED)]):  # fmt: skip
            raise ValueError(f"{name}: {idle[0]} is for calibration data, and there is none")
        images.fit(options)
    if set(steps) - {"cast"} and args.shape:
        source.ports(dict(args.shape))


def _labels(path: Path) -> list[str]:
    """The class names in a file, one a line; empty lines at its end do not count."""
    try:
        names = path.read_text("utf-8").rstrip("\n").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: class names must be UTF-8 text: {error}") from None
    if not names:
        raise ValueError(f"{path}: no class names")
    return names


def _preprocessing(steps: dict[str, dict], args, out: Output) -> images.Fit:
    """How the images of a plan are preprocessed: as the flags say, or else as those of the recipe's calibration."""
    told = {key: getattr(args, key) for key in PLANNED}
    if not images.given(told):
        seen = [{k: options[k] for k in PLANNED if options.get(k) is not None} for options in steps.values()]
        seen = [x for x in seen if x]
        if any(x != seen[0] for x in seen):
            raise ValueError("the steps differ in mean, std or scale: say with --mean and --std what the plan's are")
        told = seen[0] if seen else told
    return images.fit(told, out.warn)


def flags(args) -> dict[str, dict]:
    """The steps that the flags ask for."""
    steps: dict[str, dict] = {}
    data = {key: getattr(args, key) for key in DATA}
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
    if four["weights"] in (None, 8) and (four["group_size"] is not None or four["rounding"] is not None):
        raise ValueError("--group-size and --rounding are for --weights 4 or mixed")
    if args.accumulate and not steps.keys() & {"quantize", "recertify"}:
        raise ValueError("--accumulate is for --quantize and --recertify")
    if not steps.keys() & set(CALIBRATED):
        planned = PLANNED if args.out.name.endswith(".plan.safetensors") else ()
        if idle := [key for key in DATA if data[key] is not None and key not in planned]:
            raise ValueError(f"--{idle[0]} is for --prune, --factorize, --quantize and --recertify")
    return checked(steps, "flags")


def read_recipe(path: Path, args) -> dict[str, dict]:
    """The steps of a recipe file; relative paths in it are relative to it."""
    # --mean, --std and --scale may say what a plan's images are
    planned = PLANNED if args.out.name.endswith(".plan.safetensors") else ()
    for key in (*STEPS, *DATA, "pattern", "scope", "rank", "weights", "group_size", "rounding", "accumulate"):
        if getattr(args, key) not in (None, False) and key not in planned:
            raise ValueError(f"give a recipe or flags, not both: --{key.replace('_', '-')} belongs into the recipe")
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
    how = images.fit({key: options.pop(key, None) for key in DATA[2:]})
    apart = ("model", "calibration", "base_dir", "progress")  # the last two are not a recipe's business
    known = [n for n in inspect.signature(function).parameters if n not in apart]
    if unknown := set(options) - set(known):
        raise ValueError(f"{name}: there is no option {min(unknown)!r}; there are {', '.join(known)}")
    if not isinstance(data, str) and (name == "quantize" or data is not None):
        raise ValueError(f"{name}: it needs calibration data")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{name}: samples must be an integer of at least 1, got {count!r}")
    feeds = None if data is None else calibration.samples(data, source.ports(shapes), count, how)
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


def planned(proto, source: models.Source, args, how: images.Fit):
    """The plan of `proto`; with mean or std it takes uint8 NHWC images.

    Raises
    ------
    ValueError
        If the model takes no images, or no output is as long as the list of labels.
    """
    import pycompress

    ports = source.ports(dict(args.shape))
    shapes = {name: shape for name, (_, shape) in ports.items()}
    preprocess = None
    if how.mean is not None or how.std is not None:
        preprocess = {"mean": how.mean or (0.0,), "std": how.std or (1.0,)}
        if len(shapes) != 1 or len(next(iter(shapes.values()))) != 4:
            raise ValueError("--mean and --std are for a model with one image input")
        ((name, (dtype, shape)),) = ports.items()
        if args.layout == "nhwc" or (args.layout is None and shape[1] not in images.MODES and shape[3] in images.MODES):
            raise ValueError(
                f"--mean and --std: a plan preprocesses images for float32[n, channels, height, width], and input {name!r} "
                f"is {dtype.name}{list(shape)}"
            )
        shapes = {name: (n, h, w, c) for name, (n, c, h, w) in shapes.items()}
    labels = _labels(args.labels) if args.labels else None
    plan = pycompress.compile(proto, input_shapes=shapes, preprocess=preprocess, labels=labels, costs=args.costs)
    if labels:
        ends = {p.name: p.shape[-1] for p in pycompress.InferenceSession(plan).get_outputs() if p.shape}
        if len(labels) not in ends.values():
            raise ValueError(f"{args.labels}: {len(labels)} class names, and the outputs have {ends} classes")
    return plan
