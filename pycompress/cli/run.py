"""``pycompress run``: one run of a model on given inputs."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..formats import atomic
from . import images, inputs, models
from .output import Output


def add(subparsers, common):
    parser = subparsers.add_parser(
        "run",
        parents=[common],
        help="run a model on .npy, .npz or images",
        description="Run a model once, or once for each of several images or a folder of them.  Prints a summary of each output, or the names of the best classes "
        "where the model has labels.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    parser.add_argument("input", metavar="INPUT", nargs="+", help=inputs.HELP)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the outputs: .npz, or .npy for one output")
    parser.add_argument("--top", type=models.count, default=5, metavar="K", help="classes to print; default 5")
    images.add_options(parser)
    models.add_shape(parser)
    models.add_threads(parser)
    return parser


def execute(args, out: Output) -> dict:
    if args.out:
        atomic.check(args.out, [args.model, *args.input])
        if args.out.suffix not in (".npz", ".npy"):
            raise ValueError(f"--out {args.out}: must end in .npz, or .npy for one output")
    source = models.Source(args.model)
    how = images.fit(vars(args), out.warn)
    ports = _ports(source, args)
    batches = list(_batches(args.input, ports))
    if images.given(vars(args)) and not any(_is_image(word, ports) for words in batches for word in words):
        raise ValueError(f"--{images.given(vars(args))[0]} is for images, and there is none among the inputs")
    if args.out and len(batches) > 1:
        raise ValueError(f"--out holds the outputs of one run, and here are {len(batches)} images")
    session = source.session(args.threads)
    runs = []
    with out.progress("running", len(batches)) as tick:
        for words in batches:
            runs.append(_run(session, words, inputs.read_feed(words, ports, how), args))
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


def _is_image(word: str, ports) -> bool:
    name, equals, rest = word.partition("=")
    return Path(rest if equals and name in ports else word).suffix.lower() in images.IMAGES


def _batches(words: list[str], ports):
    """The inputs of each run: one run, or one for each image where there are several and the model takes one input."""
    found = []
    for word in words:
        if Path(word).is_dir():
            inside = [str(p) for p in images.files(Path(word))]
            if not inside:
                raise ValueError(f"{word}: no image in this folder")
            found += inside
        else:
            found.append(word)
    alone = len(ports) == 1 and all(_is_image(word, ports) for word in found)
    return [[word] for word in found] if alone else [found]


def _run(session, words: list[str], feed, args) -> dict:
    names = [port.name for port in session.get_outputs()]
    arrays = dict(zip(names, session.run(None, feed)))
    run = {"input": " ".join(words), "outputs": {name: summary(x) for name, x in arrays.items()}, "arrays": arrays}
    labels = session.labels
    for name, x in arrays.items():
        if labels and x.ndim == 2 and x.shape[1] == len(labels):
            run["outputs"][name]["top"] = [top(row, labels, args.top) for row in x]
    return run


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
    file = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(file, **outputs)
        atomic.write(path, file.getvalue())
    elif path.suffix == ".npy" and len(outputs) == 1:
        np.save(file, next(iter(outputs.values())))
        atomic.write(path, file.getvalue())
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
