"""Searches as Optuna studies in a database: several processes share one, and it goes on after any of them was killed.

Every trial of a study is there from the beginning, waiting. A worker takes a waiting trial in one transaction, lets the
sampler choose, evaluates, and records the value. While it works, a thread renews the trial's heartbeat. A running trial
whose heartbeat is old belongs to a dead worker: whoever notices marks it as failed and puts a new waiting one in its place.
So trials that live or ended well are never more than were asked for.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ..errors import PycompressError
from . import samplers
from .blocks import Network
from .space import Choice, Space, read
from .table import Table

Evaluate = Callable[[Choice, Network], float]  # a process must be able to pickle it
SPACE, SIZE, LATENCY, ERROR, RETRIES = (
    "space",
    "size",
    "latency",
    "error",
    "retries",
)  # attributes of studies and trials
CHANCES = "chances"
MAX_RETRIES = 3
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
        with _quiet():
            study = optuna.create_study(storage=storage, study_name=search.name, directions=wanted)
        study.set_user_attr(SPACE, search.identity)
    except optuna.exceptions.DuplicatedStudyError:
        if not resume:
            raise FileExistsError(
                f"{search.storage} has a study {search.name!r} already: resume it (--resume), or name another storage"
            ) from None
        study = optuna.load_study(storage=storage, study_name=search.name)
        _check(study, search, wanted)
    _top_up(study, search.trials)
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
        _fail_stale(study)
        trial_id = _take(study, storage)
        if trial_id is None:
            if not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                return
            time.sleep(min(1.0, search.heartbeat / 4))  # somebody else's last trial: ours to retry if it is abandoned
            continue
        _evaluate(search, space, study, storage, trial_id, chooser)
        if progress:
            progress(len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))), search.trials)


def open_storage(url: str, heartbeat: int = 10) -> RDBStorage:
    """The database of a URL, with heartbeats.

    Raises
    ------
    ValueError
        If the URL is none of a database, or it cannot be opened.
    """
    lite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": 120}} if lite else {"pool_pre_ping": True}
    try:
        with _quiet():
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=_retry,
            )
    except Exception as error:  # each database has its own exceptions
        raise ValueError(f"cannot open the storage {url}: {' '.join(str(error).split())[:200]}") from None
    if lite:
        _one_writer(storage)
    return storage


def _one_writer(storage: RDBStorage) -> None:
    """Let sqlite begin each transaction as a writer: else two workers could both read that a trial waits, and take it."""
    from sqlalchemy import event

    engine = storage.engine

    @event.listens_for(engine, "connect")
    def connected(connection, _record):
        connection.isolation_level = None  # the driver leaves BEGIN to us
        # each decision is a transaction: with these they survive a killed process, and need not wait for the disk
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begun(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.scoped_session.remove()
    engine.dispose()  # connections from before


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


def _top_up(study: Study, wanted: int) -> None:
    """Add waiting trials until `wanted` wait, run or ended well."""
    alive = len([t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL])
    for _ in range(wanted - alive):
        study.add_trial(optuna.create_trial(state=TrialState.WAITING))


def _take(study: Study, storage: RDBStorage) -> int | None:
    """The id of a waiting trial that is now this worker's; None if none waits."""
    study_id = storage.get_study_id_from_name(study.study_name)
    for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, waiting.number)
        try:
            storage.record_heartbeat(trial_id)  # first: a running trial without any would never count as abandoned
            if storage.set_trial_state_values(trial_id, TrialState.RUNNING):
                return trial_id
        except (optuna.exceptions.UpdateFinishedTrialError, optuna.exceptions.StorageInternalError):
            continue  # another worker was faster
    return None


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
    with _heartbeat(storage, trial_id, search.heartbeat), _quiet():
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
            _retry(study, storage.get_trial(trial_id))
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


def _retry(study: Study, trial: FrozenTrial) -> None:
    """Put a waiting trial in the place of one that its worker abandoned, with the same choice if that was complete."""
    retries = trial.user_attrs.get(RETRIES, 0) + 1
    if retries > MAX_RETRIES:
        return
    complete = LATENCY in trial.user_attrs  # it is set after the last decision
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params if complete else {},
            distributions=trial.distributions if complete else {},
            user_attrs={RETRIES: retries},
        )
    )


def _fail_stale(study: Study) -> None:
    with _quiet():
        optuna.storages.fail_stale_trials(study)


@contextmanager
def _heartbeat(storage: RDBStorage, trial_id: int, interval: int) -> Iterator[None]:
    """Renew the trial's heartbeat from a thread."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(interval):
            try:
                storage.record_heartbeat(trial_id)
            except Exception:  # the database may be busy or away for a moment; the next beat tries again
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna calls heartbeats experimental each time they are used, and reports each study on stderr."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


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
