"""Searches as Optuna studies in a database: several processes share one, and it goes on after any of them was killed.

A worker takes a trial from the queue (`trials`), lets the sampler choose, evaluates, and records the value.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from ..errors import PycompressError
from . import samplers
from .blocks import Network
from .space import Choice, Space, read
from .table import Table
from .trials import CHOSEN, fail_stale, heartbeat, open_storage, quiet, retry, take, top_up

Evaluate = Callable[[Choice, Network], float]  # a process must be able to pickle it
SPACE, CHANCES = "space", "chances"  # attributes of studies
SIZE, LATENCY, ERROR = "size", CHOSEN, "error"  # attributes of trials
FINISHED = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)


class CannotEvaluate(PycompressError, RuntimeError):
    """A network cannot be evaluated, as when its training diverges: the trial fails, and the search goes on."""


@dataclass(frozen=True, eq=False)
class Search:
    """What workers need to know.

    Attributes
    ----------
    space : dict
        As `space.read` takes it.
    evaluate : callable
        (choice, network) -> accuracy. It must be picklable for several workers, and may raise `CannotEvaluate`.
    table : Table
        With all blocks of the space.
    limit : float
        Seconds of a run.
    fast : dict
        A choice within the limit.
    method : str
        One of `samplers.METHODS`.
    trials : int
        Of the whole study.
    storage : str
        The URL of a database, as ``sqlite:///search.db``.
    name : str
        Of the study.
    seed : int
    heartbeat : int
        Seconds between two signs of life; a worker counts as dead after three times that.
    by : str
        What `evaluate` does, in a word.
    """

    space: Mapping[str, Any]
    evaluate: Evaluate
    table: Table
    limit: float
    fast: Choice
    method: str = "evolution"
    trials: int = 100
    storage: str = "sqlite:///search.db"
    name: str = "search"
    seed: int = 0
    heartbeat: int = 10
    by: str = "training"

    @property
    def identity(self) -> str:
        """What trials of one study must have in common, for their values to be comparable."""
        return f"{read(self.space).digest} by {self.by}"

    def __post_init__(self):
        if self.trials < 1:
            raise ValueError(f"trials: {self.trials} is not at least 1")
        if self.heartbeat < 1:
            raise ValueError(f"heartbeat: {self.heartbeat} s is less than 1 s")


def run(
    search: Search, *, workers: int = 1, resume: bool = False, progress: Callable[[int, int], object] | None = None
) -> Study:
    """Search until the study has its trials.

    Parameters
    ----------
    search : Search
    workers : int
        Processes of this machine; other machines join by `work` on the same storage.
    resume : bool
        Go on with a study that is there.
    progress : callable, optional
        Called with the trials that ended well and the trials of all.

    Returns
    -------
    optuna.Study

    Raises
    ------
    FileExistsError
        If the study is there, and `resume` is not set.
    ValueError
        If the study is one of another space or of other objectives.
    RuntimeError
        If a worker ends with an error; what was finished is kept.
    """
    if workers < 1:
        raise ValueError(f"workers: {workers} is not at least 1")
    study = prepare(search, resume=resume)
    if workers == 1:
        work(search, progress=progress)
    else:
        _spread(search, study, workers, progress)
    return study


def prepare(search: Search, *, resume: bool = True) -> Study:
    """Make the study with its waiting trials, or check the one that is there; see `run` for what it raises."""
    storage = open_storage(search.storage, search.heartbeat)
    wanted = samplers.directions(search.method)
    try:
        with quiet():
            study = optuna.create_study(storage=storage, study_name=search.name, directions=wanted)
        study.set_user_attr(SPACE, search.identity)
    except optuna.exceptions.DuplicatedStudyError:
        if not resume:
            raise FileExistsError(
                f"{search.storage} has a study {search.name!r} already: resume it (--resume), or name another storage"
            ) from None
        study = optuna.load_study(storage=storage, study_name=search.name)
        _check(study, search, wanted)
    top_up(study, search.trials)
    return study


def learned(study: Study, chances: Mapping[str, list[float]]) -> None:
    """Keep what a gradient-based search found with the study, for its workers."""
    study.set_user_attr(CHANCES, {name: list(p) for name, p in chances.items()})


def work(search: Search, *, progress: Callable[[int, int], object] | None = None) -> None:
    """Evaluate trials of a prepared study until none is left, those of dead workers included."""
    space = read(search.space)
    storage = open_storage(search.storage, search.heartbeat)
    study = optuna.load_study(storage=storage, study_name=search.name)
    _check(study, search, samplers.directions(search.method))
    chooser = _Choosers(search, space, study)
    while not _orphaned():
        fail_stale(study)
        trial_id = take(study, storage)
        if trial_id is None:
            if not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                return
            time.sleep(min(1.0, search.heartbeat / 4))  # somebody else's last trial: ours to retry if it is abandoned
            continue
        _evaluate(search, space, study, storage, trial_id, chooser)
        if progress:
            progress(len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))), search.trials)


def _check(study: Study, search: Search, directions: list[str]) -> None:
    has = study.user_attrs.get(SPACE)
    if has is None and not study.get_trials(deepcopy=False):  # its maker was killed right after making it
        study.set_user_attr(SPACE, search.identity)
    elif has != search.identity:
        raise ValueError(
            f"the study {search.name!r} in {search.storage} is one of another space or of other evaluation: "
            "its accuracies are not comparable; give its SPACE.yaml, or name another storage"
        )
    if [d.name.lower() for d in study.directions] != directions:
        raise ValueError(
            f"the study {search.name!r} in {search.storage} has {len(study.directions)} objective(s), and the method "
            f"{search.method} needs {len(directions)}: name another storage"
        )


class _Choosers:
    """The samplers of a search. What is drawn depends on the seed and the trial's number, not on how often work was resumed."""

    def __init__(self, search: Search, space: Space, study: Study):
        self.search, self.space, self.study = search, space, study
        self.inner = None

    def latency(self, choice: Choice) -> float:
        return self.search.table.predict(self.space.network(choice))

    def of(self, number: int) -> samplers.WithinLatency:
        search, seed = self.search, [self.search.seed, number]
        if hasattr(self.inner, "rng"):  # it may have learned something
            self.inner.rng = np.random.default_rng(seed)
        else:
            small = int(np.random.default_rng(seed).integers(2**31))
            self.inner = samplers.sampler(
                search.method, self.space, trials=search.trials, seed=small, chances=self.study.user_attrs.get(CHANCES)
            )
        return samplers.WithinLatency(self.inner, self.space, self.latency, search.limit, search.fast, [*seed, 1])


def _evaluate(
    search: Search, space: Space, study: Study, storage: RDBStorage, trial_id: int, chooser: _Choosers
) -> None:
    """Let the sampler choose, evaluate, and record the values."""
    with heartbeat(storage, trial_id, search.heartbeat), quiet():
        study.sampler = chooser.of(storage.get_trial(trial_id).number)
        trial = Trial(study, trial_id)
        try:
            choice = {d.name: trial.suggest_categorical(d.name, d.values) for d in space.decisions}
            network = space.network(choice)
            seconds = search.table.predict(network)
            trial.set_user_attr(LATENCY, seconds)
            trial.set_user_attr(SIZE, network.macs)
            known = _evaluated(study, space, choice)
            value = known if known is not None else float(search.evaluate(choice, network))
        except CannotEvaluate as error:
            trial.set_user_attr(ERROR, str(error))
            _tell(study, trial, None, TrialState.FAIL)
        except BaseException:
            _tell(study, trial, None, TrialState.FAIL)
            retry(study, storage.get_trial(trial_id))
            raise
        else:
            _tell(study, trial, [value, seconds][: len(study.directions)], TrialState.COMPLETE)


def _tell(study: Study, trial: Trial, values, state: TrialState) -> None:
    try:
        study.tell(trial, values, state=state)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
        # this process was taken for dead, as after a long pause, and another one repeats the trial
        if storage_state(study, trial) not in FINISHED:
            raise


def storage_state(study: Study, trial: Trial) -> TrialState:
    """The state of a trial in the database."""
    return study.get_trials(deepcopy=False)[trial.number].state


def _evaluated(study: Study, space: Space, choice: Choice) -> float | None:
    """The accuracy of a finished trial whose network is the same."""
    wanted = space.canonical(choice)
    for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if space.canonical(t.params) == wanted:
            return t.values[0]
    return None


def _orphaned() -> bool:
    """Whether the process that started this worker is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _spread(search: Search, study: Study, workers: int, progress) -> None:
    """Run `work` in processes, and wait for them."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # of the processes: threads that wait must not take cores
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(search,)) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            time.sleep(0.2)
            if progress:
                progress(len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))), search.trials)
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()
    failed = [process for process in processes if process.exitcode]
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {workers} workers ended with an error, which is printed above; finished trials are kept: "
            "resume when its cause is gone"
        )


def _worker(search: Search) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    work(search)
