"""``pycompress advise``: at which sparsity each layer becomes faster with a sparse kernel, on this machine."""

from __future__ import annotations

import shlex
import sys
from datetime import date
from pathlib import Path

from ..errors import ModelError
from ..formats import atomic
from . import bench, models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "advise",
        parents=[common],
        help="at which sparsity each layer becomes faster with a sparse kernel, measured here",
        description="Time every matrix product and 1x1 convolution of MODEL dense and sparse, in float and int8, on "
        "one thread of this machine, and print the sparsity from which each sparse kernel is faster. Only the shapes "
        "matter: the model need not be pruned.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the cost table; `compress --costs FILE` plans by it"
    )
    bench.add_plot(parser, "the time of all products together against their sparsity")
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    from ..advice import TYPICAL, advise
    from ..optimize.select_kernels import SPOKEN

    if args.save:
        atomic.check(args.save, [args.model])
    plots = bench.plotter(args, args.model)
    source = models.Source(args.model)
    if source.proto is None:
        raise ModelError(f"{args.model}: a plan's layers are packed already; give the .onnx it was made from")
    shapes = {name: shape for name, (_, shape) in source.ports(models.shapes_of(args)).items()}
    with out.progress(f"measuring {args.model}") as tick:
        found = advise(source.proto, input_shapes=shapes, progress=lambda done, total: tick(done, total, "shape"))
    if args.save:
        command = shlex.join(["pycompress", *sys.argv[1:]])
        found.costs.save(args.save, date=date.today().isoformat(), command=command)
    result = {
        "model": args.model,
        "host": found.costs.host,
        "isa": found.costs.isa,
        "layers": found.rows,
        "without_sparse_kernel": found.others,
        "saved": str(args.save) if args.save else None,
    }
    out.line(f"{found.costs.host}, {found.costs.isa}, one thread; sparse kernels are faster from these sparsities:\n")
    sparse = list(SPOKEN)
    heads = [f"{'int8' if kernel == 'qspmm' else 'float'} {SPOKEN[kernel]}" for kernel in sparse]
    rows = [
        (
            row["node"],
            "x".join(map(str, row["shape"])),
            *(f"{row['seconds'][kernel] * 1e6:.1f}" for kernel in TYPICAL.values()),
            *("never" if row["wins_from"][kernel] is None else f"{row['wins_from'][kernel]:.0%}" for kernel in sparse),
        )
        for row in found.rows
    ]
    out.table(("layer", "m x k x n", "float us", "int8 us", *heads), rows)
    if found.others:
        names = ", ".join(f"{n} x {kernel}" for kernel, n in found.others.items())
        out.line(f"\nwithout a sparse kernel: {names}")
    out.line(
        "\nint8: dense with an accumulation depth of 4; sparsity of blocks is the share of blocks that are all zeros"
    )
    if args.save:
        out.line(f"wrote {args.save}")
    if plots:
        title = f"{args.model}: all {len(found.rows)} products, {found.costs.host}, one thread"
        plots.curves(title, ("share of zeros (blocks)", "ms"), _lines(found), args.plot)
    return result


def _lines(found) -> dict[str, list[tuple[float, float]]]:
    """The time of all products together, in ms, at each measured sparsity, by kernel."""
    from ..advice import DENSITIES, TYPICAL
    from ..optimize.select_kernels import SPARSE, SPOKEN

    def total(kernel: str, density: float) -> float:
        return 1e3 * sum(found.costs.seconds(kernel, *row["shape"], density) for row in found.rows)

    lines = {}
    for dense, word in (("sgemm", "float"), ("qgemm", "int8")):
        lines[f"{word}, dense"] = [(1 - d, total(TYPICAL[dense], 1.0)) for d in DENSITIES]
        for kernel in SPARSE[dense]:
            lines[f"{word}, {SPOKEN[kernel]}"] = [(1 - d, total(kernel, d)) for d in DENSITIES]
    return lines
