"""``pycompress compress``: a smaller .onnx, or a plan."""

from __future__ import annotations

from pathlib import Path

from ..dtypes import FLOAT_PRODUCTS
from ..errors import ModelError
from ..formats import atomic
from . import bench, calibration, finetune, images, models, plans, recipe, reports, steps
from .output import Output, size


def add(subparsers, common):
    parser = subparsers.add_parser(
        "compress",
        parents=[common],
        help="prune, factorize or quantize a model, or compile it into a plan",
        description="Compress MODEL and write OUT: an .onnx that any runtime opens, or, where OUT ends in "
        ".plan.safetensors, the plan compiled from it.",
        epilog=recipe.EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("out", metavar="OUT", type=Path, help=".onnx or .plan.safetensors file to write")
    recipe.add_options(parser)
    parser.add_argument("--calibration", metavar="DATA", action="append", help=calibration.HELP)
    parser.add_argument(
        "--samples", type=models.count, metavar="N", help=f"samples to calibrate on; default {recipe.SAMPLES}"
    )
    images.add_options(parser)
    parser.add_argument(
        "--min-snr",
        type=float,
        metavar="DB",
        help="write nothing if the outputs of a step have a lower signal-to-noise ratio on held-back calibration samples",
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names for a plan, one a line")
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", help="cost table, as `advise --save` writes it, for the plan"
    )
    parser.add_argument(
        "--float-products",
        choices=FLOAT_PRODUCTS,
        help="what a plan rounds the operands of float products to; sums are float32 in any case",
    )
    parser.add_argument(
        "--slim",
        action="store_true",
        help="a plan without the names and reasons that only people read, 1 kB a step smaller",
    )
    bench.add_plot(
        parser, "the steps: size, and error against the model before each (with --max-drop: before the first)"
    )
    finetune.add_options(parser)
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    as_plan = recipe.is_plan(args)
    if not as_plan and args.out.suffix != ".onnx":
        raise ValueError(f"{args.out}: OUT must end in .onnx or .plan.safetensors")
    atomic.check(args.out, [args.model, args.recipe, args.labels, args.costs, *(args.calibration or ())])
    source, shapes = models.Source(args.model), models.shapes_of(args)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan cannot be compressed; start from the .onnx")
    asked = recipe.steps_of(args)
    if args.products and not as_plan:
        out.warn(f"{args.recipe}: float_products = {args.products} is for plans: {args.out} does not hold it")
    plots = bench.plotter(args, args.model)
    if plots and not asked:
        raise ValueError("--plot draws steps, and there are none")
    _check(asked, args, as_plan)
    trainer = finetune.Finetune(args, asked, source) if args.finetune else None
    samples = trainer and trainer.samples
    steps.check(asked, source, shapes, as_plan, out.warn, samples, "recipe" if args.recipe else "")
    if trainer:
        trainer.begin(out)
    how = _preprocessing(asked, args, out) if as_plan else None
    if as_plan:  # before the work: a model that cannot be compiled now cannot be compiled afterwards
        with out.progress("compile"):
            plan = _plan(source.proto, source, args, how)
    total = len(asked) + as_plan
    if args.max_drop is not None:
        proto, verdicts = followed(source.proto, asked, source, shapes, args, out)
    else:
        proto, verdicts = taken(source.proto, asked, source, shapes, trainer, total, out)
    if as_plan:
        if asked:
            with out.progress(f"compile (step {total} of {total})"):
                plan = _plan(proto, source, args, how)
        plan.save(args.out, slim=args.slim)
    else:
        atomic.write(args.out, proto.SerializeToString())
    if trainer:
        trainer.end()
    before, after = source.nbytes, args.out.stat().st_size
    if plots:
        rows = [(name, v.get("bytes", v.get("bytes_after")), v["snr"]) for name, v in verdicts.items()]
        plots.steps([("before", before, None), *rows], args.plot)
    done = _done(verdicts) or ("compiled" if as_plan else "unchanged")
    out.line(f"{args.out}: {done}; {size(before)} to {size(after)}, {change(before, after)}")
    return {
        "model": args.model,
        "out": str(args.out),
        "steps": asked,
        "verdicts": verdicts,
        "bytes_before": before,
        "bytes_after": after,
    }


def taken(proto, asked: recipe.Steps, source: models.Source, shapes: dict, trainer, total: int, out: Output):
    """The model after all steps, each followed by training where there is a `trainer`; and the verdicts, by step."""
    verdicts = {}
    for i, (name, options) in enumerate(asked.items()):
        label = f"{name} (step {i + 1} of {total})" if total > 1 else name
        with out.progress(label, options.get("samples", recipe.SAMPLES)) as tick, reports.quiet():

            def step(name=name, proto=proto, options=options, tick=tick):
                return steps.take(name, proto, options, source, shapes, tick, trainer and trainer.samples)

            if trainer:
                trainer.before(name, proto)
            proto = trainer.step(name, step) if trainer else step()
        if name in reports.REPORT:
            reports.REPORT[name](proto, out)
        verdicts[name] = reports.verdict(proto, out)
        if trainer:
            proto = trainer.train(name, proto, out, f"training after {name}")
    return proto, verdicts


def _done(verdicts: dict) -> str:
    """The steps that changed the model."""
    gone = {name for name, v in verdicts.items() if v and v.get("outcome") in ("left out", "stopped")}
    return ", ".join(name for name in verdicts if name not in gone)


def followed(proto, asked: recipe.Steps, source: models.Source, shapes: dict, args, out: Output):
    """The model after the steps that stay within --max-drop, and what became of each, by step."""
    from dataclasses import asdict

    from ..compress.chain import Acceptance, follow
    from ..compress.recipe import Recipe

    data = [options for options in asked.values() if "calibration" in options]
    if not data or steps.is_free(data[-1]["calibration"]):
        raise ValueError("--max-drop: without --calibration the answers cannot be compared")
    judge = Acceptance(proto, list(steps.feeds(data[-1], source, shapes)), None, args.max_drop, bool(args.relative))
    verdicts = {}

    def apply(name: str, before, own: dict):
        options = {key: asked[name][key] for key in recipe.DATA if key in asked[name]} | own
        with out.progress(name, options.get("samples", recipe.SAMPLES)) as tick:
            return steps.take(name, before, options, source, shapes, tick)

    def report(taken) -> None:
        verdicts[taken.step] = asdict(taken)
        out.line(str(taken))

    return follow(proto, Recipe(asked, exceeded=args.exceeded), apply, judge, report), verdicts


def change(before: int, after: int) -> str:
    """How many times smaller, or larger, `after` bytes are than `before`."""
    smaller = before >= after
    return f"{before / max(after, 1):.2f} times smaller" if smaller else f"{after / max(before, 1):.2f} times larger"


def _check(asked: recipe.Steps, args, as_plan: bool) -> None:
    """Refuse a command without work, and flags of plans if OUT is no plan."""
    if not asked and not as_plan:
        raise ValueError(
            "nothing to do: ask for --prune, --factorize, --quantize, --recertify or --cast, or give a recipe"
        )
    for name in ("costs", "labels", "float_products", "slim"):
        if getattr(args, name) and not as_plan:
            raise ValueError(f"--{name.replace('_', '-')} is for plans: let OUT end in .plan.safetensors")
    for name in ("epochs", "rate"):
        if getattr(args, name) is not None and not args.finetune:
            raise ValueError(f"--{name} is for --finetune")
    if args.max_drop is not None and args.finetune:
        raise ValueError("--max-drop judges steps; with --finetune training follows them: leave one of the two out")
    if args.max_drop is not None and not asked:
        raise ValueError("--max-drop judges steps, and there are none")
    if args.resume and not args.finetune:
        raise ValueError("--resume is for --finetune")
    if args.labels:
        plans.labels(args.labels)


def _plan(proto, source: models.Source, args, how: images.Fit):
    """The plan of `proto`, as the flags say."""
    shapes = models.shapes_of(args)
    return plans.planned(
        proto, source, shapes, how, args.layout, args.labels, args.costs, args.float_products or args.products
    )


def _preprocessing(asked: recipe.Steps, args, out: Output) -> images.Fit:
    """How a plan preprocesses images: as the flags say, or as the recipe preprocesses its calibration data."""
    told = {key: getattr(args, key) for key in recipe.PLANNED}
    if not images.given(told):
        seen = [x for options in asked.values() if (x := {k: options[k] for k in recipe.PLANNED if k in options})]
        if any(x != seen[0] for x in seen):
            raise ValueError("the steps differ in mean, std or scale: say with --mean and --std what the plan's are")
        told = seen[0] if seen else told
    return images.fit(told, out.warn)
