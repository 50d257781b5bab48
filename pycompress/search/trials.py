"""A study's trials as a queue in a database: several processes take from it, and none is lost if one of them is killed.

Every trial of a study is there from the beginning, waiting. A worker takes a waiting trial in one transaction. While it
works, a thread renews the trial's heartbeat. A running trial whose heartbeat is old belongs to a dead worker: whoever
notices marks it as failed and puts a new waiting one in its place. So trials that live or ended well are never more than
were asked for.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

CHOSEN, RETRIES = "latency", "retries"  # attributes of trials: the first one is set after the last decision
MAX_RETRIES = 3


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
        with quiet():
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
                heartbeat_stale_trial_callback=retry,
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


def top_up(study: Study, wanted: int) -> None:
    """Add waiting trials until `wanted` wait, run or ended well."""
    alive = len([t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL])
    for _ in range(wanted - alive):
        study.add_trial(optuna.create_trial(state=TrialState.WAITING))


def take(study: Study, storage: RDBStorage) -> int | None:
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


def retry(study: Study, trial: FrozenTrial) -> None:
    """Put a waiting trial in the place of one that its worker abandoned, with the same choice if that was complete."""
    retries = trial.user_attrs.get(RETRIES, 0) + 1
    if retries > MAX_RETRIES:
        return
    complete = CHOSEN in trial.user_attrs
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params if complete else {},
            distributions=trial.distributions if complete else {},
            user_attrs={RETRIES: retries},
        )
    )


def fail_stale(study: Study) -> None:
    with quiet():
        optuna.storages.fail_stale_trials(study)


@contextmanager
def heartbeat(storage: RDBStorage, trial_id: int, interval: int) -> Iterator[None]:
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
def quiet() -> Iterator[None]:
    """Optuna calls heartbeats experimental each time they are used, and reports each study on stderr."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
