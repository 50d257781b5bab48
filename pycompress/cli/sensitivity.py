"""``pycompress sensitivity``: how much compressing each layer changes the outputs."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError
from ..formats import atomic
from . import calibration, images, models
from .output import Output

AMOUNTS = {"prune": "sparsities", "quantize": "bits", "factorize": "energies"}
SAMPLES = 8


def add(subparsers, common):
    parser = subparsers.add_parser(
        "sensitivity",
        parents=[common],
        help="how much pruning, quantizing or factorizing each layer changes the outputs",
        description="Compress one layer of MODEL at a time and measure the error of the outputs, relative to their "
        "spread; and the error if everything before the layer is compressed, too. Only what depends on the layer is "
        "run again.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("--of", choices=tuple(AMOUNTS), default="prune", help="what is done to a layer; default prune")
    parser.add_argument(
        "--amounts",
        metavar="A[,A]",
        type=_amounts,
        help="sparsities, bits (8, 4), or energies that low-rank factors keep; default: three sparsities or energies",
    )
    parser.add_argument("--calibration", metavar="DATA", action="append", required=True, help=calibration.HELP)
    parser.add_argument("--samples", type=models.count, metavar="N", help=f"samples to measure with; default {SAMPLES}")
    parser.add_argument("--pattern", help="of the zeros of pruning: unstructured, 1x4, 4x1 or 16x1")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="errors, from which an interrupted command goes on")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the errors: .png, .svg or .pdf, by matplotlib")
    images.add_options(parser)
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    from ..compress.sensitivity import sensitivity
    from ..compress.tuning import picture

    source = models.Source(args.model)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan's layers are packed already; give the .onnx it was made from")
    if args.pattern and args.of != "prune":
        raise ValueError("--pattern is for --of prune")
    if args.plot:
        atomic.check(args.plot, [args.model])
        picture.check(args.plot)
    count = args.samples or SAMPLES
    ports = source.ports(models.shapes_of(args), partly=True)
    how = images.fit({key: getattr(args, key) for key in images.OPTIONS}, out.warn)
    samples = calibration.samples(args.calibration, ports, count, how)
    options = {AMOUNTS[args.of]: args.amounts} if args.amounts else {}
    options |= {"pattern": args.pattern} if args.pattern else {}
    with out.progress(f"measuring {args.model}") as tick:
        rows = sensitivity(
            source.proto, samples, of=args.of, samples=count, cache=args.cache, **options,
            progress=lambda done, total: tick(done, total, "place"),
        )  # fmt: skip
    amounts = list(dict.fromkeys(a for row in rows for a in (*row["errors"], *row["cumulative"])))
    heads = [f"{text} {_text(args.of, a)}" for text in ("alone", "up to") for a in amounts]
    out.table(
        ("layer", "of", "weights", *heads),
        [
            (row["node"], row["kind"], row["weights"] or None, *(_percent(row[k].get(a)) for k in ("errors", "cumulative") for a in amounts))
            for row in rows
        ],
    )  # fmt: skip
    if rows:
        amount = amounts[-1]
        square = sum(row["errors"].get(amount, next(iter(row["errors"].values()))) ** 2 for row in rows)
        out.line(f"\nall errors at {_text(args.of, amount)}, added as independent ones: {square**0.5:.2%}")
    if args.plot:
        picture.bars(rows, args.plot, "error of the outputs over their spread")
        out.line(f"wrote {args.plot}")
    return {"model": args.model, "of": args.of, "rows": rows, "plot": str(args.plot) if args.plot else None}


def _amounts(text: str) -> tuple[float, ...]:
    """argparse type of numbers, separated by commas."""
    return tuple(float(x) for x in text.split(","))


def _text(of: str, amount: float) -> str:
    return f"{amount:g} bits" if of == "quantize" else f"{amount:.0%}"


def _percent(error: float | None) -> str | None:
    return None if error is None else f"{error:.2%}"
