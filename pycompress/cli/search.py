"""``pycompress search``: finds small networks whose latency, measured on this machine, is within a limit."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from pathlib import Path

from ..errors import TrainingError
from . import models
from .output import Output, size
from .train import wait_passively

METHODS = ("random", "evolution", "reinforce", "tpe", "nsga2", "gradient")
EPILOG = (
    "SPACE is a YAML file that says what networks may look like, on which images they are trained (`data`), how each is "
    "trained in the search (`recipe`) and in the end (`final`); docs/search.md explains every key.  OUT gets the table of "
    "latencies, the study, front.json, front.svg, and the best networks.  A search that was killed goes on with --resume; "
    "several commands may share a study: give them the same --storage and --resume."
)
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def add(subparsers, common):
    parser = subparsers.add_parser(
        "search",
        parents=[common],
        help="find small networks within a latency measured here",
        description="Search the space of SPACE for the most accurate networks within a latency.",
        epilog=EPILOG,
    )
    parser.add_argument("space", metavar="SPACE", type=Path, help=".yaml file")
    parser.add_argument("--latency", type=duration, required=True, metavar="TIME", help="of a run: 100us, 1.5ms")
    parser.add_argument("--method", choices=METHODS, default="evolution", help="default evolution")
    parser.add_argument("--trials", type=models.count, default=100, metavar="N", help="networks to try; default 100")
    parser.add_argument("--workers", type=models.count, default=1, metavar="N", help="processes; default 1")
    parser.add_argument("--resume", action="store_true", help="go on with the study, if there is one")
    parser.add_argument("--out", type=Path, metavar="OUT", help="folder to write; default: SPACE without .yaml")
    parser.add_argument("--storage", metavar="URL", help="database of the study; default: sqlite:///OUT/study.db")
    parser.add_argument("--name", default="search", help="of the study in the database; default search")
    parser.add_argument("--shared", type=models.count, metavar="EPOCHS", help="train the weights of all networks together "
                        "for so many epochs, and judge networks by these instead of training each")  # fmt: skip
    parser.add_argument("--table", type=Path, metavar="FILE", help="of latencies; default: in OUT; made if missing")
    parser.add_argument("--foreign-table", action="store_true", help="use a table that another machine measured")
    parser.add_argument("--keep", type=models.count_or_zero, default=3, metavar="N", help="networks of the front to train from scratch "
                        "and write; default 3")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    models.add_threads(parser, default=1)
    return parser


def duration(text: str) -> float:
    """argparse type of a time with its unit, in seconds."""
    found = re.fullmatch(r"([0-9.]+)\s*(us|ms|s)", text)
    try:
        seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 100us, 1.5ms or 1s")
    return seconds


def execute(args, out: Output) -> dict:
    wait_passively()
    from ..search import front, study
    from ..search.setup import Options, setup
    from ..search.space import read

    options = Options(
        args.space, args.latency, args.method, args.trials, args.out, args.storage, args.name, args.shared, args.table,
        args.foreign_table, args.threads, args.workers, args.seed, args.resume,
    )  # fmt: skip
    search, final = setup(options, out.progress)
    space, folder = read(search.space), options.folder
    with out.progress(f"{args.method}, {args.trials} networks", args.trials) as tick:
        done = study.run(
            search, workers=args.workers, resume=True, progress=lambda done, total: tick(done, total, "network")
        )
    every = front.points(done, space)
    if not every:
        failed = [t.user_attrs[study.ERROR] for t in done.get_trials(deepcopy=False) if study.ERROR in t.user_attrs]
        raise TrainingError(f"no network could be trained: {failed[-1] if failed else 'every trial was cut off'}")
    best = front.front(every)
    title = f"{args.method}: {len(every)} networks, {search.table.precision}, {search.table.cpu}"
    (folder / "front.svg").write_text(front.plot(every, best, args.latency, title))
    front.save(folder / "front.json", best, [], search.table, args.latency)  # for now, as the next step may fail
    with out.progress("train from scratch") as tick:
        finished = front.finish(
            front.spread(best, args.keep), space, search.table, final, folder / "front",
            resume=args.resume, progress=lambda name, done, total: _show(tick, name, done, total),
        )  # fmt: skip
    front.save(folder / "front.json", best, finished, search.table, args.latency)
    return _report(args, out, folder, search, done, every, best, finished)


def _show(tick, name: str, done: int, total: int) -> None:
    tick.label = f"train {name} from scratch"
    tick(done, total, "step")


def _report(args, out: Output, folder: Path, search, done, every, best, finished) -> dict:
    from ..search import front

    head, rows = front.rows(best, finished)
    out.table(head, [[*row[:-1], None if row[-1] is None else size(row[-1])] for row in rows])
    states = [t.state.name for t in done.get_trials(deepcopy=False)]
    counts = {state.lower(): states.count(state) for state in dict.fromkeys(states)}
    table = search.table
    said = ", ".join(f"{n} {state}" for state, n in counts.items())
    out.line(f"\n{len(every)} different networks within {args.latency * 1e6:.4g} us ({said}); {folder / 'front.svg'}")
    if finished:
        error = sum(abs(p.predicted / p.measured - 1) for p in finished) / len(finished)
        out.line(
            f"{folder / 'front'}: {len(finished)} networks; predicted latencies are off by {100 * error:.1f} % on average"
        )
    return {
        "method": args.method,
        "latency": args.latency,
        "trials": counts,
        "networks": len(every),
        "host": table.host,
        "cpu": table.cpu,
        "isa": list(table.isa),
        "precision": table.precision,
        "front": [asdict(p) for p in best],
        "finished": [asdict(p) for p in finished],
        "out": str(folder),
    }
