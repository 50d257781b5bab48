"""What training does for small networks on Fashion-MNIST, in paired runs: the table of docs/training.md.

    python bench/train_table.py [ROW ...] [--list] [--seeds 3] [--runs bench/runs] [--data FOLDER] [--budget MINUTES]
        [--threads 2] [--markdown FILE] [--quick]

Each run takes at most 15 minutes on two cores and is kept in the folder of --runs, with a JSON file of its figures: the
script can be stopped at any moment and started again, also in the middle of a run. --budget begins no run after so many
minutes. Rows are compared run by run with the same seed; a verdict is BEATS or LOSES only where the paired 95 % interval
(Student's t) leaves out 0. --quick takes the digits of scikit-learn and one epoch: it checks the script and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx

from pycompress import InferenceSession, SessionOptions, cpu_info, train
from pycompress.formats import atomic
from pycompress.peers.interleave import interleave, times_faster
from pycompress.train.recipe import Recipe

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "fashion"
sys.path.insert(0, str(EXAMPLES))

import embed  # noqa: E402
import network  # noqa: E402
from runs import plan_bytes, quick, single, told  # noqa: E402

T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True)
class Run:
    """A recipe of examples/fashion: the network it begins with is new, of some width, or that of another run.

    There is one teacher for all seeds: that of seed 0.
    """

    start: float | str
    teacher: str = ""


RUNS = {
    "alone": Run(0.5),
    "dense": Run(1.0),
    "distilled": Run(0.5, "dense"),
    "few_labels": Run(0.5),
    "few_labels_taught": Run(0.5, "dense"),
    "qat8": Run("alone"),
    "qat4": Run("alone"),
    "ptq4": Run("alone"),
    "dense_longer": Run("dense"),
    "sparse80": Run("dense", "dense"),
    "sparse90": Run("dense", "dense"),
    "small": Run("dense", "dense"),
    "tiny": Run(0.25, "alone"),
}


class Runs:
    """The runs, made where they are not there."""

    def __init__(self, args):
        self.args, self.folder, self.begun = args, Path(args.runs), time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)

    def recipe(self, name: str, seed: int) -> Recipe:
        """The recipe of a run with its seed and its teacher."""
        recipe = train.read(EXAMPLES / f"{'qat4' if name == 'ptq4' else name}.yaml")
        data = replace(recipe.data, path=self.args.data or recipe.data.path)
        recipe = replace(recipe, data=data, train=replace(recipe.train, seed=seed))
        if name == "ptq4":
            recipe = replace(recipe, quantize=replace(recipe.quantize, epochs=0))
        if recipe.distill is not None:
            teacher = str(self.path(RUNS[name].teacher, 0) / "model.onnx")
            recipe = replace(recipe, distill=replace(recipe.distill, teacher=teacher))
        return quick(recipe) if self.args.quick else recipe

    def path(self, name: str, seed: int) -> Path:
        return self.folder / f"{name}-{seed}"

    def get(self, name: str, seed: int) -> dict:
        """The figures of a run."""
        kept = self.folder / f"{name}-{seed}.json"
        if kept.exists():
            return json.loads(kept.read_bytes())
        run = RUNS[name]
        for before, its_seed in ((run.start, seed), (run.teacher, 0)):
            if before in RUNS:
                self.get(before, its_seed)
        if self.args.budget and time.monotonic() - self.begun > 60 * self.args.budget:
            raise TimeoutError(f"no time is left for {name}, seed {seed}: start again to go on")
        print(f"{time.strftime('%H:%M')} {name}, seed {seed}", file=sys.stderr, flush=True)
        start = self.path(run.start, seed) / "model.onnx" if run.start in RUNS else network.build(run.start)
        result = train.fit(start, None, self.recipe(name, seed), out=self.path(name, seed), resume=True, log=told)
        figures = {
            "accuracy": result.accuracy,
            "valid": result.valid,
            "bytes": result.model.ByteSize(),
            "seconds": sum(said["seconds"] for said in result.stages.values()),
            "steps": sum(said["history"][-1]["step"] for said in result.stages.values() if said.get("history")),
            "machine": cpu_info()["model"] if "model" in cpu_info() else "",
            "date": time.strftime("%Y-%m-%d"),
        }
        atomic.write(kept, json.dumps(figures).encode())
        return figures

    def model(self, name: str, seed: int) -> onnx.ModelProto:
        self.get(name, seed)
        return onnx.load(self.path(name, seed) / "model.onnx")

    def accuracies(self, name: str) -> list[float]:
        """In percent, of each seed, on the test images."""
        return [100 * self.get(name, seed)["accuracy"] for seed in range(self.args.seeds)]

    @cache  # noqa: B019 (one object for the whole script)
    def test(self):
        recipe = self.recipe("alone", 0)
        return recipe.data.load(1)


# comparing


@dataclass(frozen=True)
class Interval:
    """The mean of paired differences, and its 95 % interval."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(differences: list[float]) -> Interval:
        n = len(differences)
        half = math.inf if n < 2 else T95.get(n - 1, 1.96) * stdev(differences) / math.sqrt(n)
        return Interval(mean(differences), mean(differences) - half, mean(differences) + half)

    @property
    def verdict(self) -> str:
        return "BEATS" if self.low > 0 else "LOSES" if self.high < 0 else "NO DIFFERENCE"

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}] {self.verdict}"


def spread(values: list[float]) -> str:
    """Mean and spread of a figure over the seeds."""
    return f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}"


def reached(value: float, floor: float | None, goal: float | None) -> str:
    """Which of floor and goal the mean reaches."""
    if goal is not None and value >= goal:
        return "goal"
    if floor is None:
        return "missed by " + f"{goal - value:.2f}" if goal is not None else "-"
    return "floor" if value >= floor else f"missed by {floor - value:.2f}"


Row = tuple[str, str, str, str]  # what, figures, the paired difference, what is reached


def alone(runs: Runs) -> list[Row]:
    """student width .5 alone, 20 epochs, test"""
    x = runs.accuracies("alone")
    return [("student, width 0.5, alone, %", spread(x), "", reached(mean(x), 91, 92))]


def _minus(runs: Runs, a: str, b: str, said: str, floor: float | None, goal: float) -> Row:
    x, y = runs.accuracies(a), runs.accuracies(b)
    interval = Interval.of([p - q for p, q in zip(x, y)])
    return said, f"{spread(x)} and {spread(y)}", str(interval), reached(interval.mean, floor, goal)


def distilled(runs: Runs) -> list[Row]:
    """distilled minus alone, equal steps"""
    row = _minus(runs, "distilled", "alone", "distilled minus alone", None, 0.3)
    if "BEATS" not in row[2] and row[3] == "goal":  # the goal is an interval above 0, too
        row = (*row[:3], "no: the interval holds 0")
    steps = {runs.get(name, 0)["steps"] for name in ("distilled", "alone")}
    return [row if len(steps) == 1 else (f"{row[0]} (steps differ: {steps})", *row[1:])]


def labels(runs: Runs) -> list[Row]:
    """2,000 labels + soft targets on the other 53,000, minus 2,000 labels alone"""
    return [_minus(runs, "few_labels_taught", "few_labels", "2,000 labels and a teacher minus 2,000 labels", 1, 3)]


def qat8(runs: Runs) -> list[Row]:
    """QAT W8A8 minus float"""
    return [_minus(runs, "qat8", "alone", "QAT W8A8 minus float", -0.3, 0)]


def qat4(runs: Runs) -> list[Row]:
    """QAT W4A8 minus float; minus pc.quantize(weights=4)"""
    return [
        _minus(runs, "qat4", "alone", "QAT W4A8 minus float", -0.7, -0.3),
        _minus(runs, "qat4", "ptq4", "QAT W4A8 minus quantize(weights=4)", 0.5, 1),
    ]


def exact(runs: Runs) -> list[Row]:
    """train.exact against the engine, test images: codes of every tensor"""
    rows = []
    for name in ("qat8", "qat4", "small"):
        model, data = runs.model(name, 0), runs.test()
        mine = train.Exact(model)
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        shown.graph.output.extend(
            onnx.helper.make_tensor_value_info(c, onnx.TensorProto.UINT8, None) for c in mine.codes
        )
        session = InferenceSession(shown)
        names = [port.name for port in session.get_outputs()]
        differ, same, count = set(), 0, len(data.test)
        for at in range(0, count, 500):
            x = data.normalize(data.test.images[at : at + 500])
            engine = dict(zip(names, session.run(None, {session.get_inputs()[0].name: x.numpy()})))
            logits, kept = mine(x, keep=mine.codes)
            differ |= {c for c in mine.codes if not np.array_equal(kept[c].numpy(), engine[c])}
            same += int((logits.numpy().argmax(1) == engine[names[0]].argmax(1)).sum())
        said = f"{100 * same / count:.2f} % of {count} answers, {len(mine.codes) - len(differ)} of {len(mine.codes)} tensors"
        fine = same == count and not differ
        rows.append(
            (f"train.exact against the engine: {name}", said, "", "goal" if fine else f"differ: {sorted(differ)}")
        )
    return rows


def sparse(runs: Runs) -> list[Row]:
    """80 / 90 % sparse 1x1 at width 1.0 minus dense; latency against dense float"""
    rows = []
    for share, floor, goal in ((80, -0.5, -0.2), (90, -1.5, -1.0)):
        name = f"sparse{share}"
        rows.append(_minus(runs, name, "dense", f"{share} % sparse 1x1 minus dense", floor, goal))
        rows.append(
            _faster(runs, name, f"{share} % sparse: times as fast as dense float", 1.5 if share == 90 else None, 2.0)
        )
    return rows


def longer(runs: Runs) -> list[Row]:
    """the same sparse networks minus a dense one that was trained on as long"""
    return [
        _minus(runs, f"sparse{share}", "dense_longer", f"{share} % sparse 1x1 minus dense trained as long", floor, goal)
        for share, floor, goal in ((80, -0.5, -0.2), (90, -1.5, -1.0))
    ]


def small(runs: Runs) -> list[Row]:
    """prune + quantize + distill, width 1.0: bytes, latency, points against dense float"""
    seeds = range(runs.args.seeds)
    ratio = [plan_bytes(runs.model("dense", s)) / plan_bytes(runs.model("small", s)) for s in seeds]
    return [
        _minus(runs, "small", "dense", "prune + quantize + distil minus dense float", -1.5, -1),
        ("its plan: times smaller", spread(ratio), "", reached(mean(ratio), 4, 8)),
        _faster(runs, "small", "it: times as fast as dense float", 2.0, 2.5),
    ]


def tiny(runs: Runs) -> list[Row]:
    """embedded network: <= 60 KB, >= 91 % on test"""
    x = runs.accuracies("tiny")
    plans = [embedded_bytes(runs.model("tiny", seed)) / 1000 for seed in range(runs.args.seeds)]
    size = "goal" if max(plans) <= 30 else "floor" if max(plans) <= 60 else f"missed by {max(plans) - 60:.1f}"
    return [
        ("embedded network, %", spread(x), "", reached(mean(x), 91, None)),
        ("its plan, kB", spread(plans), "", size),
    ]


def embedded_bytes(model: onnx.ModelProto) -> int:
    """The size of the plan's file as examples/fashion/embed.py writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.plan.safetensors"
        embed.network(model).save(path, slim=True)
        return path.stat().st_size


ROWS: dict[str, Callable[[Runs], list[Row]]] = {
    f.__name__: f for f in (alone, distilled, labels, qat8, qat4, exact, sparse, longer, small, tiny)
}


def _faster(runs: Runs, name: str, said: str, floor: float | None, goal: float) -> Row:
    """How many times as fast as dense float a run's networks are: one image, one thread, in turns."""
    options, found = SessionOptions(), []
    options.intra_op_num_threads = 1
    x = runs.test().normalize(runs.test().valid.images[:1]).numpy()
    for seed in range(runs.args.seeds):
        sessions = {n: InferenceSession(single(runs.model(n, seed)), options) for n in ("dense", name)}
        calls = {n: (lambda s=s: s.run(None, {s.get_inputs()[0].name: x})) for n, s in sessions.items()}
        times = interleave(calls, runs=40 if runs.args.quick else 2000, rounds=20)
        found.append(times_faster(times[name], times["dense"]))
    return said, spread(found), "", reached(mean(found), floor, goal)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| | figures | paired difference [95 %] | reached |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--list", action="store_true", help="say what each row is, and stop")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", default="bench/runs", help="folder of the runs")
    parser.add_argument("--data", help="folder of Fashion-MNIST; default: where Debian's package puts it")
    parser.add_argument("--budget", type=float, help="minutes after which no run begins")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if unknown := [row for row in args.rows if row not in ROWS]:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    if args.list:
        print("\n".join(f"{name:10} {f.__doc__}" for name, f in ROWS.items()))
        return
    train.dedicate(args.threads)
    runs, rows = Runs(args), []
    for name in args.rows or ROWS:
        try:
            rows += ROWS[name](runs)
        except TimeoutError as error:
            rows.append((name, str(error), "", "-"))
    print(table(rows))
    if args.markdown:
        atomic.write(args.markdown, (table(rows) + "\n").encode())


if __name__ == "__main__":
    main()
