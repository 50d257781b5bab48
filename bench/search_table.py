"""What searches find on Fashion-MNIST, and how well latencies are predicted: the table of docs/search.md.

    python bench/search_table.py [latency | ranking | methods | kill ...] [--space examples/search/fashion.yaml] [--seeds 3] [--finals SEEDS]
        [--latency 60us] [--trials 24] [--runs bench/search-runs] [--methods evolution,reinforce,gradient] [--judge shared]
        [--shared EPOCHS] [--alone EPOCHS] [--final EPOCHS] [--workers 2] [--json] [--quick]

latency   16 random networks, float and int8: predicted beside measured, mean error and Kendall's tau
ranking   12 random networks trained alone as the space's recipe says (for --alone epochs), against the same judged by
          shared weights
methods   the best network of each method and seed, as the search judged it, and for the first --finals seeds trained from
          scratch with the final recipe, on the test images: paired with random search of the same seed, number of trials,
          workers and limit; the verdict is BEATS or LOSES only where the 95 % interval (Student's t) leaves out 0. With
          --judge shared all searches ask the same shared weights, those of `ranking`
kill      two processes on one study, killed with -9 at a third of the trials and started again

Every result is kept in the folder of --runs: the script can be stopped at any moment and started again. --quick takes
scikit-learn's digits and few epochs: it checks the script and nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean, stdev

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import yaml

from pycompress import cpu_info
from pycompress.cli.output import Output
from pycompress.cli.search import duration
from pycompress.formats import atomic
from pycompress.search import evaluate, front, latency, study, supernet
from pycompress.search.setup import Options, setup
from pycompress.search.space import Space, read
from pycompress.search.table import Table

ROWS = ("latency", "ranking", "methods", "kill")
NETWORKS, ALONE = 16, 12
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def kept(path: Path, make, **of) -> dict:
    """What an earlier run with the same options `of` left in `path`, or what `make` gives now."""
    if not path.exists():
        started = time.monotonic()
        told = make()
        told |= {
            "of": of,
            "seconds": round(time.monotonic() - started, 1),
            "cpu": cpu_info()["model"],
            "date": time.strftime("%F"),
        }
        atomic.write(path, json.dumps(told, indent=1).encode())
    told = json.loads(path.read_bytes())
    if told["of"] != of:
        sys.exit(f"{path} was made with {told['of']}, not {of}: give another folder by --runs")
    return told


def space_of(args) -> str:
    """The space's digest."""
    return read(args.table).digest


def table_of(space: Space, args, networks) -> Table:
    """A table with the blocks of these networks."""
    path = args.runs / f"latency-{space.precision}.json"
    table = Table.load(path) if path.exists() else Table.here(space.precision)
    of_line = latency.sample(space, latency.NETWORKS, seed=1)
    if latency.fill(table, [b for n in [*networks, *of_line] for b in n.blocks], runs=40, rounds=8) or not table.fitted:
        latency.correct(table, space, runs=200)
    table.save(path)
    return table


def latencies(args, out: Output) -> dict:
    told = {}
    for precision in ("float", "int8"):

        def make(precision=precision) -> dict:
            table = {**args.table, "precision": precision}
            if precision == "int8":
                table["stages"] = [{**stage, "bits": [8, 4]} for stage in table["stages"]]
            space = read(table)
            networks = latency.sample(space, NETWORKS, seed=7)
            said = latency.report(table_of(space, args, networks), networks, runs=200)
            return {"error": said.error, "tau": said.tau, "predicted": said.predicted, "measured": said.measured}

        told[precision] = kept(args.runs / f"predicted-{precision}.json", make, space=space_of(args))
    out.table(
        ("precision", "networks", "us, from - to", "mean error", "tau"),
        [
            (name, NETWORKS, f"{min(t['measured']) * 1e6:.0f} - {max(t['measured']) * 1e6:.0f}", f"{t['error']:.1%}", f"{t['tau']:.2f}")
            for name, t in told.items()
        ],
        "Latency predicted from blocks against measured",
    )  # fmt: skip
    return told


def ranking(args, out: Output) -> dict:
    space = read(args.table)
    data, recipe = evaluate.data_of(space), evaluate.recipe_of(space)
    import numpy as np

    rng = np.random.default_rng(3)
    choices = [space.random(rng) for _ in range(ALONE)]

    def shared() -> dict:
        judge = evaluate.WithSharedWeights(space.described, data, str(shared_weights(args)), None)
        return {"accuracy": [judge(c, space.network(c)) for c in choices]}

    if args.alone:
        recipe = replace(recipe, train=replace(recipe.train, epochs=args.alone))
    judge = evaluate.Trained(data, recipe, space.precision, None)
    alone = [
        kept(
            args.runs / f"alone-{i}.json",
            lambda c=c: {"accuracy": judge(c, space.network(c))},
            space=space.digest,
            alone=recipe.train.epochs,
        )["accuracy"]
        for i, c in enumerate(choices)
    ]
    together = kept(args.runs / f"shared-{args.shared}.json", shared, space=space.digest)["accuracy"]
    tau = latency.kendall(alone, together)
    rows = [
        (i, space.network(c).macs, f"{100 * a:.2f}", f"{100 * b:.2f}")
        for i, (c, a, b) in enumerate(zip(choices, alone, together))
    ]
    out.table(("network", "MACs", "alone, %", "shared weights, %"), rows, f"Ranking by shared weights: tau {tau:.2f}")
    return {"tau": tau, "alone": alone, "shared": together}


def shared_weights(args) -> Path:
    """The file of the space's shared weights, trained if it is not there."""
    space = read(args.table)
    path = args.runs / f"shared-{space.digest}-{args.shared}.pt"
    if not path.exists():
        data, recipe = evaluate.data_of(space), evaluate.recipe_of(space)
        parts = evaluate.parts_of(data, max(space.values("resolution")), space.channels, space.classes)
        net = supernet.Supernet(space)
        supernet.train(net, parts, epochs=args.shared, batch=recipe.train.batch, augment=recipe.augment)
        evaluate.save_weights(net, path)
    return path


def methods(args, out: Output) -> dict:
    names = ["random", *(m for m in args.methods.split(",") if m != "random")]
    seeds, finals = range(args.seeds), range(args.seeds if args.finals is None else min(args.finals, args.seeds))
    file = lambda name, seed, what: args.runs / f"{name}-{seed}{what}.json"  # noqa: E731
    of = {"space": space_of(args), "judge": args.judge, "trials": args.trials, "latency": args.latency}
    of |= {"shared": args.shared} if args.judge == "shared" else {}
    found = {n: [kept(file(n, s, ""), partial(searched, n, s, args), **of) for s in seeds] for n in names}
    last = {**of, "final": args.final}
    made = {
        n: [kept(file(n, s, "-trained"), partial(trained, n, s, found[n][s], args), **last) for s in finals]
        for n in names
    }
    rows = []
    for name in names:
        row = [name, len(seeds)]
        for told, key, base in ((found[name], "best", found["random"]), (made[name], "test", made["random"])):
            values = [100 * r[key] for r in told]
            spread = stdev(values) if len(values) > 1 else 0.0
            row.append(f"{mean(values):.2f} +- {spread:.2f}" if values else "")
            differences = [a - 100 * b[key] for a, b in zip(values, base)]
            row.append("" if name == "random" or not values else verdict(differences))
        times = [r["measured"] * 1e6 for r in made[name]]
        row += [f"{mean(times):.1f}" if times else "", f"{mean(r['search'] for r in found[name]):.0f}"]
        rows.append(row)
    head = ("method", "seeds", "best in search, %", "against random", f"trained, test, % ({len(finals)} seeds)",
            "against random", "measured us", "seconds of search")  # fmt: skip
    out.table(head, rows, f"{args.trials} trials within {latency.spoken(args.latency)}")
    return {"found": found, "trained": made}


def options_of(name: str, seed: int, args) -> Options:
    table = args.runs / f"table-{read(args.table).precision}.json"  # one for all, so that all have the same limit
    return Options(
        args.file, args.latency, name, args.trials, args.runs / f"{name}-{seed}", table=table,
        shared=args.shared if args.judge == "shared" else None, workers=args.workers, seed=seed, resume=True,
    )  # fmt: skip


def searched(name: str, seed: int, args) -> dict:
    """One search, and its best network."""
    print(f"{time.strftime('%H:%M')} {name}, seed {seed}", file=sys.stderr, flush=True)
    options = options_of(name, seed, args)
    if args.judge == "shared":
        options.folder.mkdir(parents=True, exist_ok=True)
        own = options.folder / f"shared-{space_of(args)}-{args.shared}-{seed}.pt"  # what `setup` looks for
        own.unlink(missing_ok=True)
        own.hardlink_to(shared_weights(args))
    started = time.monotonic()
    search, _ = setup(options)
    done = study.run(search, workers=args.workers, resume=True)
    best = max(front.points(done, read(search.space)), key=lambda p: p.accuracy)
    states = Counter(t.state.name for t in done.get_trials(deepcopy=False))
    return {
        "best": best.accuracy, "predicted": best.predicted, "search": time.monotonic() - started, "states": states,
        "trial": best.number, "choice": best.choice,
    }  # fmt: skip


def trained(name: str, seed: int, told: dict, args) -> dict:
    """The best network of a search, trained from scratch."""
    print(f"{time.strftime('%H:%M')} {name}, seed {seed}: training", file=sys.stderr, flush=True)
    space, options = read(args.table), options_of(name, seed, args)
    best = front.Point(told["trial"], told["choice"], told["predicted"], told["best"])
    recipe = evaluate.recipe_of(space, "final")
    recipe = replace(recipe, train=replace(recipe.train, seed=seed, epochs=args.final or recipe.train.epochs))
    judge = evaluate.Trained(evaluate.data_of(space), recipe, space.precision, None, seed)
    (made,) = front.finish([best], space, Table.load(options.table), judge, options.folder / "front", resume=True)
    return {"test": made.final, "predicted": made.predicted, "measured": made.measured}


def verdict(differences: list[float]) -> str:
    """The mean difference with its paired 95 % interval."""
    n = len(differences)
    if n < 2:
        return f"{differences[0]:+.2f} (one seed)"
    middle, half = mean(differences), T95.get(n - 1, 2.0) * stdev(differences) / math.sqrt(n)
    word = "BEATS" if middle > half else "LOSES" if middle < -half else "NO DIFFERENCE"
    return f"{word} {middle:+.2f} +- {half:.2f}"


def kill(args, out: Output) -> dict:
    """Kill two processes of one study at a third, and start them again."""

    def make() -> dict:
        folder = args.runs / "kill"
        words = [
            sys.executable, "-m", "pycompress", "search", str(args.file), "--latency", f"{args.latency * 1e6}us", "--method",
            "random", "--trials", str(args.trials), "--out", str(folder), "--keep", "0", "--resume", "--quiet",
        ]  # fmt: skip
        setup(Options(args.file, args.latency, "random", args.trials, folder, resume=True))
        held = lambda: study.optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/study.db")  # noqa: E731
        start = lambda: subprocess.Popen(words, stdout=subprocess.DEVNULL)  # noqa: E731
        workers = [start(), start()]
        count = lambda name: [t.state.name for t in held().trials].count(name)  # noqa: E731
        while count("COMPLETE") < args.trials / 3 and any(w.poll() is None for w in workers):
            time.sleep(0.5)
        for worker in workers:
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
        before = {t.number: (str(t.params), t.values) for t in held().trials if t.state.name == "COMPLETE"}
        cut = count("RUNNING")
        codes = [worker.wait() for worker in [start(), start()]]
        after = {t.number: (str(t.params), t.values) for t in held().trials if t.state.name == "COMPLETE"}
        return {
            "finished_before": len(before),
            "cut": cut,
            "lost": sum(after.get(n) != t for n, t in before.items()),
            "finished": len(after),
            "running": count("RUNNING"),
            "rows": len(held().trials),
            "codes": codes,
        }

    told = kept(args.runs / "kill.json", make, space=space_of(args), trials=args.trials)
    fine = not told["lost"] and not told["running"] and told["rows"] <= args.trials + 2 and not any(told["codes"])
    out.line(f"kill -9 of two processes at {told['finished_before']} of {args.trials} trials, {told['cut']} cut off; resumed: "
             f"{told['lost']} lost, {told['running']} left running, {told['finished']} finished, {told['rows']} in all: "
             f"{'holds' if fine else 'FAILS'}")  # fmt: skip
    out.failed |= not fine
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], default=[], metavar="ROW")
    parser.add_argument(
        "--space", type=Path, default=Path(__file__).resolve().parent.parent / "examples/search/fashion.yaml"
    )
    parser.add_argument("--runs", type=Path, default=Path("bench/search-runs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finals", type=int, metavar="SEEDS", help="of which so many are trained; default: all")
    parser.add_argument("--latency", type=duration, default=60e-6)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--methods", default="evolution,reinforce,gradient")
    parser.add_argument(
        "--judge", choices=("training", "shared"), default="training", help="of candidates in `methods`"
    )
    parser.add_argument("--shared", type=int, default=20, metavar="EPOCHS", help="of shared weights")
    parser.add_argument("--alone", type=int, metavar="EPOCHS", help="of networks in `ranking`; default: the recipe's")
    parser.add_argument("--final", type=int, metavar="EPOCHS", help="of the best networks; default: the recipe's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    args.table = yaml.safe_load(args.space.read_text())
    if args.quick:
        few = {"train": {"epochs": 1, "batch": 128, "warmup": 0}}
        args.table |= {"data": {"path": "digits", "validation": 0.3}, "recipe": few, "final": few}
        args.trials, args.shared, args.seeds = 6, 1, min(args.seeds, 2)
    args.file = args.runs / "space.yaml"  # the one that is searched, also where --quick changes it
    args.file.write_text(yaml.safe_dump(args.table))
    out = Output(json=args.json)
    make = {"latency": latencies, "ranking": ranking, "methods": methods, "kill": kill}
    told = {}
    for name in args.rows or ROWS:
        told[name] = make[name](args, out)
        out.line()
    out.finish(told)
    return int(out.failed)


if __name__ == "__main__":
    sys.exit(main())
