"""The steps of ``compress`` and their options, from flags or from a recipe file."""

from __future__ import annotations

from pathlib import Path

from . import images, models

STEPS = ("prune", "factorize", "quantize", "recertify", "cast")  # always in this order
SAMPLES = 64
DATA = ("calibration", "samples", *images.OPTIONS)  # of every step
PLANNED = ("mean", "std", "scale")  # also tell how a plan preprocesses images
DEPTHS = ("auto", "1", "2", "4", "8")
EPILOG = (
    "A recipe is a YAML (needs PyYAML), TOML (Python 3.11 or newer) or JSON file with a table for each step, named prune, "
    "factorize, quantize, recertify or cast; steps are always taken in this order.  The entries of [quantize] are "
    f"{', '.join(DATA)} and the options of pycompress.quantize; the other tables work in the same way.  A table `data` "
    "names the samples of all steps.  float_products is that of a plan.  max_drop, relative and exceeded (promote or stop) are those of pycompress.compress."
)

Steps = dict[str, dict]


def add_options(parser) -> None:
    """``--recipe``, and the flags that replace it."""
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="steps and their options, instead of the flags")
    parser.add_argument(
        "--prune",
        type=float,
        metavar="SPARSITY",
        help="set this share of the weights to zero; with calibration data, re-fit the others",
    )
    parser.add_argument("--pattern", help="of the zeros: unstructured, 1x4, 4x1, 16x1, N:M as in 2:4, or channel")
    parser.add_argument(
        "--scope", choices=("global", "layer"), help="of --prune: all layers together, or the same share of each"
    )
    parser.add_argument(
        "--factorize",
        type=float,
        metavar="ENERGY",
        help="replace layers by low-rank ones if that is less work, keeping this share of the squared singular values",
    )
    parser.add_argument("--rank", type=models.count, metavar="R", help="factorize to this rank instead")
    parser.add_argument("--quantize", action="store_true", help="8-bit activations and weights (see --weights)")
    parser.add_argument(
        "--weights",
        choices=("8", "4", "mixed"),
        help="bits of --quantize; mixed: 4 in the layers that it changes least",
    )
    parser.add_argument(
        "--group-size", type=int, choices=(32, 64, 128, 0), help="inputs that share a scale of 4-bit weights; 0: all"
    )
    parser.add_argument(
        "--rounding", choices=("gptq", "plain"), help="of 4-bit weights: gptq (fitted to the data) or plain (nearest)"
    )
    parser.add_argument(
        "--recertify",
        action="store_true",
        help="for a quantized MODEL: round its weights again so that the fast integer kernels can run them",
    )
    parser.add_argument("--cast", choices=("float16", "bfloat16"), help="store float weights at 16 bits")
    parser.add_argument(
        "--accumulate", choices=DEPTHS, help="accumulation depth in int16: larger is faster and less exact"
    )  # fmt: skip
    parser.add_argument(
        "--target",
        metavar="CPU",
        help="what --quantize rounds weights for: portable, vnni, amx, arm ...; the result runs on all",
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="D",
        help="how much of the outputs' squares may become error on held-back samples, in all: 0.01 is 20 dB; a step that "
        "exceeds it is repeated with more bits, weights or rank for the layers that do the most damage, or left out",
    )


def steps_of(args) -> Steps:
    """The steps that the flags or the recipe request, in their order, each with its given options.

    Raises
    ------
    ValueError
        If flags contradict each other, a flag would have no effect, or the recipe is invalid.
    """
    args.relative = args.exceeded = args.products = None  # only a recipe says them
    steps = read(args.recipe, args) if args.recipe else flags(args)
    if args.max_drop is not None and not 0 <= args.max_drop < float("inf"):
        raise ValueError(f"--max-drop must be a number of at least 0, got {args.max_drop:g}")
    if args.min_snr is not None:
        _ask_for_snr(steps, args.min_snr, bool(args.finetune))
    return steps


def flags(args) -> Steps:
    """The steps that the flags request."""
    steps: Steps = {}
    if args.prune is not None:
        steps["prune"] = {"sparsity": args.prune, "pattern": args.pattern, "scope": args.scope}
    elif args.pattern or args.scope:
        raise ValueError("--pattern and --scope are for --prune")
    if args.factorize is not None and args.rank is not None:
        raise ValueError("--factorize keeps an energy, --rank a rank: give one of them")
    if args.factorize is not None or args.rank is not None:
        steps["factorize"] = {"energy": args.factorize, "rank": args.rank}
    accumulate = args.accumulate if args.accumulate in (None, "auto") else int(args.accumulate)
    for name in ("quantize", "recertify"):
        if getattr(args, name):
            steps[name] = {"accumulate": accumulate}
    if accumulate is not None and not steps.keys() & {"quantize", "recertify"}:
        raise ValueError("--accumulate is for --quantize and --recertify")
    if args.target is not None and "quantize" not in steps:
        raise ValueError("--target is for --quantize")
    four = {key: getattr(args, key) for key in ("weights", "group_size", "rounding")}
    four["weights"] = int(args.weights) if args.weights in ("4", "8") else args.weights
    if "quantize" in steps:
        steps["quantize"] |= four | {"target": args.target}
    elif any(value is not None for value in four.values()):
        raise ValueError("--weights, --group-size and --rounding are for --quantize")
    if four["weights"] in (None, 8) and (four["group_size"] is not None or four["rounding"] is not None):
        raise ValueError("--group-size and --rounding are for --weights 4 or mixed")
    if args.cast:
        steps["cast"] = {"dtype": args.cast}
    data = {key: getattr(args, key) for key in DATA}
    idle = [key for key in DATA if data[key] is not None and not (key in PLANNED and is_plan(args))]
    if idle and not steps:
        raise ValueError(f"--{idle[0]} is for --prune, --factorize, --quantize, --recertify and --cast")
    if idle and not data["calibration"] and not args.finetune:
        raise ValueError(f"--{idle[0]} is for calibration data, and there is none: add --calibration")
    if data["calibration"] and len(data["calibration"]) == 1:
        (data["calibration"],) = data["calibration"]
    return {name: _given({**data, **options}) for name, options in steps.items()}


def read(path: Path, args) -> Steps:
    """The steps of a recipe file; relative paths in it are relative to its folder; its limits become those of `args`."""
    from ..compress import recipe as recipes

    flags = (*STEPS, *DATA, "pattern", "scope", "rank", "weights", "group_size", "rounding", "accumulate", "target")
    for key in flags:  # --mean, --std and --scale may say what a plan's images are
        value = getattr(args, key)
        if value is not None and value is not False and not (key in PLANNED and (is_plan(args) or args.finetune)):
            raise ValueError(f"give a recipe or flags, not both: --{key.replace('_', '-')} belongs into the recipe")
    found = recipes.read(path)
    if args.max_drop is not None and found.max_drop is not None:
        raise ValueError("--max-drop and the recipe's max_drop: give one of them")
    args.max_drop = args.max_drop if found.max_drop is None else found.max_drop
    recipes.check_limits(found, args.max_drop)
    if args.float_products is not None and found.float_products is not None:
        raise ValueError("--float-products and the recipe's float_products: give one of them")
    args.relative, args.exceeded, args.products = found.relative, found.exceeded, found.float_products
    steps = found.steps
    if "cast" in steps and not steps["cast"].keys() & set(DATA):  # judged on the calibration data of the step before
        earlier = [options for name, options in steps.items() if name != "cast" and "calibration" in options]
        steps["cast"] |= {key: earlier[-1][key] for key in DATA if key in earlier[-1]} if earlier else {}
    return steps


def _given(options: dict) -> dict:
    return {key: value for key, value in options.items() if value is not None}


def _ask_for_snr(steps: Steps, min_snr: float, trained: bool) -> None:
    """Set `min_snr` for every step."""
    if not steps:
        raise ValueError("--min-snr judges steps, and there are none")
    for name, options in steps.items():
        if "min_snr" in options:
            raise ValueError(f"--min-snr and the recipe's min_snr of {name}: give one of them")
        if "calibration" not in options and not trained:
            raise ValueError(f"--min-snr: {name} needs --calibration: without samples the answers cannot be compared")
        options["min_snr"] = min_snr


def is_plan(args) -> bool:
    """Whether OUT is a plan."""
    return args.out.name.endswith(".plan.safetensors")
