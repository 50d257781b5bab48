"""Makes a search ready from a file: the table of latencies, the study, shared weights or chances, where they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..train.folder import make as make_folder
from . import evaluate, gradient, latency, study, supernet
from .space import Choice, Space, read
from .table import Table

Shown = Callable[[int, int, str], Any]  # steps done, steps of all, what a step is
Show = Callable[[str], AbstractContextManager[Shown]]


@contextmanager
def silent(label: str) -> Iterator[Shown]:
    """Shows nothing."""
    yield lambda done, total, unit: None


@dataclass(frozen=True)
class Options:
    """What is asked for, as the command ``pycompress search`` has it.

    Attributes
    ----------
    space : path
        A YAML file.
    limit : float
        Seconds of a run.
    method : str
        One of `samplers.METHODS`.
    trials : int
    out : path, optional
        The folder of all files; default: `space` without .yaml.
    storage : str, optional
        The URL of the study's database; default: a sqlite file in `out`.
    name : str
        Of the study.
    shared : int, optional
        Judge networks by weights that are trained together for so many epochs.
    table : path, optional
        Of latencies; default: a file in `out`. It is made if it is missing.
    foreign : bool
        Take a table of another machine.
    threads : int
        Of a run that is timed.
    workers : int
        With several on a machine, each trains on one thread.
    seed : int
    resume : bool
        Go on with the study, if there is one.
    """

    space: str | os.PathLike
    limit: float
    method: str = "evolution"
    trials: int = 100
    out: str | os.PathLike | None = None
    storage: str | None = None
    name: str = "search"
    shared: int | None = None
    table: str | os.PathLike | None = None
    foreign: bool = False
    threads: int = 1
    workers: int = 1
    seed: int = 0
    resume: bool = False

    @property
    def folder(self) -> Path:
        return Path(self.out) if self.out else Path(self.space).with_suffix("")


def setup(options: Options, show: Show = silent) -> tuple[study.Search, evaluate.Trained]:
    """Make a search ready, so that `study.run` or any number of `study.work` can begin.

    Parameters
    ----------
    options : Options
    show : callable
        Given a label, a context manager that shows progress.

    Returns
    -------
    study.Search
        What workers need.
    evaluate.Trained
        Trains networks of the front.

    Raises
    ------
    FileExistsError
        If the study is there and is not to be resumed.
    ValueError
        If the file, the data or the recipes are wrong, no network is fast enough, or the study is another one's.

    Examples
    --------
    >>> search, final = setup(Options("SPACE.yaml", limit=100e-6))  # doctest: +SKIP
    >>> study.run(search, resume=True)  # doctest: +SKIP
    """
    space, folder = read(options.space), options.folder
    data = evaluate.data_of(space, Path(options.space).parent)
    recipe, final = evaluate.recipe_of(space), evaluate.recipe_of(space, "final")
    parts = evaluate.parts_of(data, max(space.values("resolution")), space.channels, space.classes)
    make_folder(folder)
    table, fast = _table(options, space, show)
    threads = 1 if options.workers > 1 else None
    weights = folder / f"shared-{space.digest}-{options.shared}-{options.seed}.pt"  # other ones do not mix with these
    judge: study.Evaluate = evaluate.Trained(data, recipe, space.precision, threads, options.seed)
    if options.shared:
        judge = evaluate.WithSharedWeights(space.described, data, str(weights), threads)
    search = study.Search(
        space.described,
        judge,
        table,
        options.limit,
        fast,
        options.method,
        options.trials,
        options.storage or f"sqlite:///{folder / 'study.db'}",
        options.name,
        options.seed,
        by=f"shared weights, {options.shared} epochs" if options.shared else "training",
    )
    made = study.prepare(search, resume=options.resume)
    if options.shared and not (options.resume and weights.exists()):
        net = supernet.Supernet(space, options.seed)
        with show("train shared weights") as tick:
            supernet.train(
                net, parts, epochs=options.shared, batch=recipe.train.batch, seed=options.seed, augment=recipe.augment,
                progress=lambda done, total: tick(done, total, "step"),
            )  # fmt: skip
        evaluate.save_weights(net, weights)
    if options.method == "gradient" and study.CHANCES not in made.user_attrs:
        how, net = (
            gradient.Gradient(batch=recipe.train.batch, seed=options.seed),
            supernet.Supernet(space, options.seed),
        )
        with show("search by gradients") as tick:
            chances = gradient.gradient_search(
                space, net, parts, table, options.limit, how, augment=recipe.augment,
                progress=lambda done, total: tick(done, total, "step"),
            )  # fmt: skip
        study.learned(made, chances)
    return search, evaluate.Trained(data, final, space.precision, None, options.seed)


def _table(options: Options, space: Space, show: Show) -> tuple[Table, Choice]:
    """The table of latencies, complete for the space, and a choice within the limit."""
    path = Path(options.table) if options.table else options.folder / f"latency-{space.precision}.json"
    table = Table.here(space.precision, options.threads)
    if path.exists():
        table = Table.load(path, foreign=options.foreign)
        if (table.precision, table.threads) != (space.precision, options.threads):
            raise ValueError(
                f"{path}: times of {table.precision} on {table.threads} thread(s); the search is for {space.precision} on "
                f"{options.threads}"
            )
    fast = latency.check_reachable(space, table, options.limit)
    blocks = space.blocks()
    missing = len(table.missing(blocks))
    if missing:
        with show(f"measure {missing} blocks") as tick:
            latency.fill(table, blocks, progress=lambda done, total: tick(done, total, "block"))
        table.fitted = []
    if not table.fitted:
        latency.correct(table, space)
        table.save(path)
        fast = latency.check_reachable(space, table, options.limit)  # as the corrected table has it
    return table, fast
