"""``pycompress run``: one run of a model on given inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import inputs, models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "run",
        parents=[common],
        help="run a model on .npy, .npz or an image",
        description="Run a model once.  Prints a summary of each output, or the names of the best classes "
        "where the model has labels.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("input", metavar="INPUT", nargs="+", help=inputs.HELP)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the outputs: .npz, or .npy for one output")
    parser.add_argument("--top", type=models.count, default=5, metavar="K", help="classes to print; default 5")
    parser.add_argument(
        "--crop", type=float, default=0.875, metavar="C", help="middle part of an image to use; default 0.875"
    )
    models.add_shape(parser)
    models.add_threads(parser)
    return parser


def execute(args, out: Output) -> dict:
    if not 0 < args.crop <= 1:
        raise ValueError(f"--crop must be above 0 and at most 1, got {args.crop}")
    source = models.Source(args.model)
    feed = inputs.read_feed(args.input, _ports(source, args), args.crop)
    session = source.session(args.threads)
    names = [port.name for port in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, feed)))
    if args.out:
        save(args.out, outputs)
    result = {"model": args.model, "outputs": {name: summary(x) for name, x in outputs.items()}}
    labels = session.labels
    for name, x in outputs.items():
        if labels and x.ndim == 2 and x.shape[1] == len(labels):
            result["outputs"][name]["top"] = [top(row, labels, args.top) for row in x]
    _print(result, out)
    if args.out:
        out.line(f"written to {args.out}")
    return result


def _ports(source: models.Source, args) -> inputs.Ports:
    """The model's inputs; arrays bring shapes with them, so that what the model leaves open may stay so."""
    shapes = dict(args.shape)
    if source.plan is None:
        for text in args.input:
            name, equals, path = text.partition("=")
            path, name = (Path(path), name) if equals else (Path(text), "")
            if path.suffix == ".npy" and path.is_file():
                shapes.setdefault(name, inputs.read_npy(path).shape)
            elif path.suffix == ".npz" and path.is_file():
                shapes |= {n: x.shape for n, x in inputs.read_npz(path).items()}
    return source.ports(shapes)


def save(path: Path, outputs: dict[str, np.ndarray]) -> None:
    """Write outputs as .npz, or a single one as .npy."""
    if path.suffix == ".npz":
        np.savez(path, **outputs)
    elif path.suffix == ".npy" and len(outputs) == 1:
        np.save(path, next(iter(outputs.values())))
    else:
        raise ValueError(
            f"--out {path}: write {len(outputs)} outputs to a .npz file" + " or .npy" * (len(outputs) == 1)
        )


def summary(x: np.ndarray) -> dict:
    """Shape, type, range, mean and the first values."""
    numbers = x.astype(np.float64).ravel()
    return {
        "dtype": x.dtype.name,
        "shape": list(x.shape),
        "min": float(numbers.min()) if x.size else None,
        "max": float(numbers.max()) if x.size else None,
        "mean": float(numbers.mean()) if x.size else None,
        "first": numbers[:8].tolist(),
    }


def top(logits: np.ndarray, labels: list[str], k: int) -> list[dict]:
    """The k best classes with their softmax, best first."""
    exps = np.exp(logits.astype(np.float64) - logits.max())
    share = exps / exps.sum()
    return [{"class": int(i), "name": labels[i], "p": float(share[i])} for i in np.argsort(-share, kind="stable")[:k]]


def _print(result: dict, out: Output) -> None:
    for name, row in result["outputs"].items():
        if not row["first"]:
            out.line(f"{name}: {row['dtype']}{row['shape']}, empty")
            continue
        first = " ".join(f"{x:.5g}" for x in row["first"])
        out.line(
            f"{name}: {row['dtype']}{row['shape']}, {row['min']:.5g} to {row['max']:.5g}, mean {row['mean']:.5g}; "
            f"first {first}"
        )
        for classes in row.get("top", []):
            out.table(("p", "class", "name"), [(f"{c['p']:.3f}", c["class"], c["name"]) for c in classes])
