"""Runs of recipes, kept in a folder, and the table of the networks that they leave: what the studies beside this share.

Each run is a folder of `pycompress train`: a script that is stopped at any moment goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import onnx

from pycompress import InferenceSession, SessionOptions, train
from pycompress import compile as plan_of
from pycompress.formats import atomic
from pycompress.peers.interleave import interleave
from pycompress.train.recipe import Recipe

HERE = Path(__file__).resolve().parent
HEAD = ("network", "million MACs", "file, kB", "plan, kB", "latency, us", "test, %")


def quick(recipe: Recipe) -> Recipe:
    """One epoch on digits: it checks a script and nothing else."""
    labels = None if recipe.data.labels is None else 200
    data = replace(recipe.data, path="digits", size=recipe.data.size or 28, validation=0.2, labels=labels, repeat=1)
    quantize = recipe.quantize and replace(recipe.quantize, epochs=min(recipe.quantize.epochs, 1), samples=32)
    epochs = min(recipe.train.epochs, 1)
    return replace(recipe, data=data, train=replace(recipe.train, epochs=epochs, warmup=0), quantize=quantize)


def told(event: dict) -> None:
    """Print what a run says after each epoch."""
    if event["event"] == "epoch":
        said = f"    {event['stage']} {event['epoch']}: loss {event['loss']:.4f}, {100 * event['accuracy']:.2f} %"
        print(f"{said}, {event['seconds']:.0f} s", file=sys.stderr, flush=True)


def single(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` for one image."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for port in (*copy.graph.input, *copy.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    return copy


def plan_bytes(model: onnx.ModelProto) -> int:
    """The size of the plan's file, for one image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.plan.safetensors"
        plan_of(single(model)).save(path)
        return path.stat().st_size


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates for one image, as the engine runs it: sparse products count what is not zero."""
    return sum(note["macs"] for note in plan_of(single(model)).notes[0])


@dataclass(frozen=True)
class Made:
    """A network that was trained, and its accuracies on validation and test images."""

    model: onnx.ModelProto
    valid: float
    test: float


class Runs:
    """Runs in a folder, made where they are not there.

    Parameters
    ----------
    folder : path
    data : path, optional
        Of the images, in place of the recipe's.
    brief : bool
        Digits and one epoch.
    """

    def __init__(self, folder: Path, data: str | None = None, brief: bool = False):
        self.folder, self.data, self.brief = Path(folder), data, brief

    def recipe(self, name: str, *, size: int | None = None, epochs: int | None = None, **changes) -> Recipe:
        """The recipe examples/fashion/`name`.yaml, for images of `size`, with so many epochs and other changes."""
        recipe = train.read(HERE / f"{name}.yaml")
        data = replace(recipe.data, path=self.data or recipe.data.path, size=size)
        how = recipe.train if epochs is None else replace(recipe.train, epochs=epochs)
        return replace(recipe, data=data, train=how, **changes)

    def path(self, name: str) -> Path:
        """The .onnx file of a run."""
        return self.folder / name / "model.onnx"

    def get(self, name: str, start: onnx.ModelProto | str, recipe: Recipe) -> Made:
        """The network of run `name`, which begins with `start`, a model or the name of another run."""
        recipe = quick(recipe) if self.brief else recipe
        print(f"{time.strftime('%H:%M')} {name}", file=sys.stderr, flush=True)
        begun = self.path(start) if isinstance(start, str) else start
        parts = _parts(recipe.data)
        result = train.fit(begun, parts, recipe, out=self.folder / name, resume=True, log=told)
        return Made(result.model, result.valid, result.accuracy)

    def taught(self, recipe: Recipe, teacher: str) -> Recipe:
        """`recipe` with the network of another run as the teacher, if it has one."""
        if recipe.distill is None:
            return recipe
        return replace(recipe, distill=replace(recipe.distill, teacher=str(self.path(teacher))))


@lru_cache(maxsize=2)
def _parts(options):
    return options.load(1)


def table(made: dict[str, Made], repeats: int = 2000) -> str:
    """A row for each network, in Markdown; latencies are of one image on one thread, measured in turns."""
    options = SessionOptions()
    options.intra_op_num_threads = 1
    calls = {}
    for name, x in made.items():
        session = InferenceSession(single(x.model), options)
        port = session.get_inputs()[0]
        image = _image(port.shape)
        calls[name] = lambda session=session, port=port, image=image: session.run(None, {port.name: image})
    times = interleave(calls, runs=repeats, rounds=20)
    rows = [
        (
            name,
            f"{macs(x.model) / 1e6:.2f}",
            f"{x.model.ByteSize() / 1000:.0f}",
            f"{plan_bytes(x.model) / 1000:.0f}",
            f"{times[name].best * 1e6:.1f}",
            f"{100 * x.test:.2f}",
        )
        for name, x in made.items()
    ]
    return markdown(HEAD, rows)


def markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    head = list(head)
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _image(shape):
    import numpy as np

    return np.random.default_rng(0).standard_normal(shape, np.float32)


def arguments(doc: str, folder: str) -> argparse.Namespace:
    """The options of a study's command line; `doc` is its description."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path(folder), help=f"folder of the runs; default {folder}")
    parser.add_argument("--data", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--threads", type=int, default=2, help="of training; default 2")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--quick", action="store_true", help="one epoch on digits: checks the script, in a minute")
    args = parser.parse_args()
    train.dedicate(args.threads)
    return args


def finish(text: str, args: argparse.Namespace) -> None:
    """Print the table, and write it where it was asked for."""
    print(text)
    if args.markdown:
        atomic.write(args.markdown, (text + "\n").encode())
