"""``pycompress run``: one run of a model on given inputs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..formats import atomic
from ..predictor import best
from . import images, inputs, models
from .output import Output

TOP = 5


def add(subparsers, common):
    parser = subparsers.add_parser(
        "run",
        parents=[common],
        help="run a model on .npy, .npz or images",
        description="Run a model once, or once for each of several images or for each image in a folder.  Prints a summary "
        "of each output, and the best classes if the model has labels or --top is given.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("input", metavar="INPUT", nargs="+", help=inputs.HELP)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the outputs: .npz, or .npy for one output")
    parser.add_argument(
        "--top", type=models.count, metavar="K", help=f"best classes to print; default: {TOP} if they have names"
    )
    images.add_options(parser)
    models.add_shape(parser)
    models.add_threads(parser)
    return parser


def execute(args, out: Output) -> dict:
    if args.out:
        atomic.check(args.out, [args.model, *args.input])
        if args.out.suffix not in (".npz", ".npy"):
            raise ValueError(f"--out {args.out}: must end in .npz, or .npy for one output")
    source, shapes = models.Source(args.model), models.shapes_of(args)
    how = images.fit(vars(args), out.warn)
    ports = source.ports(shapes, partly=True)
    batches = list(_batches(args.input, ports))
    inputs.check_images(vars(args), [word for words in batches for word in words], ports)
    session = source.session(args.threads)
    _check_outputs(session, args, len(batches))
    runs = []
    with out.progress("run", len(batches)) as tick:
        for words in batches:
            runs.append(_run(session, words, inputs.read_feed(words, ports, how, shapes), args.top))
            tick()
    if args.out:
        save(args.out, runs[0].pop("arrays"))
    for run in runs:
        run.pop("arrays", None)
    result = {"model": args.model, **({"outputs": runs[0]["outputs"]} if len(runs) == 1 else {"runs": runs})}
    for run in runs:
        if len(runs) > 1:
            out.line(f"\n{run['input']}")
        _print(run, out)
    if args.out:
        out.line(f"written to {args.out}")
    return result


def _check_outputs(session, args, runs: int) -> None:
    """Refuse, before the run, --out and --top if the outputs do not allow them."""
    ports = session.get_outputs()
    if args.out and runs > 1:
        raise ValueError(f"--out holds the outputs of one run, and here are {runs} images")
    if args.out and args.out.suffix == ".npy" and len(ports) > 1:
        raise ValueError(f"--out {args.out}: write {len(ports)} outputs to a .npz file")
    if args.top is not None and not any(len(port.shape) == 2 for port in ports):
        raise ValueError("--top is for the scores of classes, float[n, classes], and no output is such")


def _batches(words: list[str], ports):
    """The inputs of each run: one run; or, for a model with one input, one run for each image."""
    found = []
    for word in words:
        if Path(word).is_dir():
            inside = [str(p) for p in images.files(Path(word))]
            if not inside:
                raise ValueError(f"{word}: no image in this folder")
            found += inside
        else:
            found.append(word)
    alone = len(ports) == 1 and all(inputs.is_image(word, ports) for word in found)
    return [[word] for word in found] if alone else [found]


def _run(session, words: list[str], feed, best: int | None) -> dict:
    names = [port.name for port in session.get_outputs()]
    arrays = dict(zip(names, session.run(None, feed)))
    run = {"input": " ".join(words), "outputs": {name: summary(x) for name, x in arrays.items()}, "arrays": arrays}
    labels = session.labels
    for name, x in arrays.items():
        named = bool(labels) and x.ndim == 2 and x.shape[1] == len(labels)
        if named or best is not None and x.ndim == 2:
            run["outputs"][name]["top"] = [top(row, labels if named else None, best or TOP) for row in x]
    return run


def save(path: Path, outputs: dict[str, np.ndarray]) -> None:
    """Write outputs as .npz, or a single one as .npy."""
    file = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(file, **outputs)
    else:
        (x,) = outputs.values()
        np.save(file, x)
    atomic.write(path, file.getvalue())


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


def top(logits: np.ndarray, labels: list[str] | None, k: int) -> list[dict]:
    """The k best classes with their softmax, best first; their names are None without `labels`."""
    classes, shares = best(logits[None], k)
    return [
        {"class": int(i), "name": labels[i] if labels else None, "p": float(p)} for i, p in zip(classes[0], shares[0])
    ]


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
