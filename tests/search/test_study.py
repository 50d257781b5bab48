"""Studies that several processes share, and that go on after kill -9."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest
import spaces

from pycompress.search.space import read
from pycompress.search.table import Table

optuna = pytest.importorskip("optuna")
from pycompress.search import study as studies  # noqa: E402
from pycompress.search import trials  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
HERE = Path(__file__).resolve()
SPACE = read(spaces.MOBILE)


def table() -> Table:
    filled = Table.here()
    filled.blocks = {block.key: 1e-9 * (1 + block.macs) for block in SPACE.blocks()}
    return filled


def search(folder, evaluate=spaces.bits_of, **options) -> studies.Search:
    given = {"method": "evolution", "trials": 12, "storage": f"sqlite:///{folder}/study.db", "heartbeat": 1, **options}
    return studies.Search(spaces.MOBILE, evaluate, table(), 1e-3, SPACE.smallest(), **given)


def states(study) -> Counter:
    return Counter(t.state.name for t in study.get_trials())


@pytest.mark.parametrize("method", ["random", "evolution", "tpe", "nsga2"])
def test_a_search_ends_with_the_trials_that_were_asked_for(tmp_path, method):
    study = studies.run(search(tmp_path, method=method))
    assert states(study) == {"COMPLETE": 12}
    assert all(t.user_attrs["latency"] <= 1e-3 for t in study.trials)


def test_more_trials_are_added_on_resume_and_the_first_ones_stay(tmp_path):
    first = studies.run(search(tmp_path, method="random")).trials
    with pytest.raises(FileExistsError, match="--resume"):
        studies.run(search(tmp_path, method="random"))
    study = studies.run(search(tmp_path, method="random", trials=20), resume=True)
    assert states(study) == {"COMPLETE": 20}
    assert [t.params for t in study.trials[:12]] == [t.params for t in first]
    assert len({str(t.params) for t in study.trials}) == 20, "a resumed search does not draw the same networks again"


def test_what_is_drawn_does_not_depend_on_when_work_was_resumed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    studies.run(search(tmp_path / "a", method="evolution", trials=7))
    resumed = studies.run(search(tmp_path / "a", method="evolution", trials=12), resume=True)
    once = studies.run(search(tmp_path / "b", method="evolution", trials=12))
    assert [t.params for t in resumed.trials[:5]] == [t.params for t in once.trials[:5]]


def test_equal_networks_are_evaluated_once(tmp_path):
    seen = []

    def evaluate(choice, network):
        seen.append(str(network))
        return 0.5

    tiny = spaces.MOBILE | {
        "input": {"channels": 1, "classes": 10, "resolution": 8}, "width": 1.0, "stages": [{"out": 8, "depth": [1, 2], "kernel": [3, 5]}]
    }  # fmt: skip
    filled = Table.here()
    filled.blocks = {block.key: 1e-9 for block in read(tiny).blocks()}
    job = studies.Search(tiny, evaluate, filled, 1, read(tiny).smallest(), "random", 30, f"sqlite:///{tmp_path}/s.db")
    assert states(studies.run(job)) == {"COMPLETE": 30}
    assert len(seen) == len(set(seen)) <= 6


def test_a_study_of_another_space_or_other_objectives_is_refused(tmp_path):
    studies.run(search(tmp_path, trials=2))
    other = studies.Search(spaces.CELLS, spaces.bits_of, table(), 1, {}, storage=f"sqlite:///{tmp_path}/study.db")
    with pytest.raises(ValueError, match="one of another space"):
        studies.run(other, resume=True)
    with pytest.raises(ValueError, match=r"has 1 objective\(s\), and the method nsga2 needs 2"):
        studies.run(search(tmp_path, method="nsga2"), resume=True)


def test_storages_that_cannot_be_opened_are_refused(tmp_path):
    for url in ("nowhere", f"sqlite:///{tmp_path}/no/folder/x.db"):
        with pytest.raises(ValueError, match="cannot open the storage"):
            studies.run(search(tmp_path, storage=url))
    with pytest.raises(ValueError, match="trials: 0"):
        search(tmp_path, trials=0)


def test_a_network_that_cannot_be_evaluated_fails_alone(tmp_path):
    def evaluate(choice, network):
        if len(calls) == 3:
            calls.append(0)
            raise studies.CannotEvaluate("the loss is NaN at step 7")
        calls.append(0)
        return 0.1

    calls = []
    study = studies.run(search(tmp_path, evaluate))
    assert states(study) == {"COMPLETE": 11, "FAIL": 1}
    assert [t.user_attrs["error"] for t in study.trials if "error" in t.user_attrs] == ["the loss is NaN at step 7"]
    assert states(studies.run(search(tmp_path, evaluate), resume=True)) == {"COMPLETE": 12, "FAIL": 1}


def test_an_error_of_the_program_ends_the_search_and_loses_nothing(tmp_path):
    def evaluate(choice, network):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        studies.run(search(tmp_path, evaluate))
    study = studies.run(search(tmp_path), resume=True)
    assert states(study) == {"COMPLETE": 12, "FAIL": 1}


WORKER = textwrap.dedent(
    """
    import sys, time
    sys.path[:0] = [{support!r}, {here!r}]
    import test_study as t
    def slow(choice, network):
        time.sleep(0.25)
        return t.spaces.bits_of(choice, network)
    t.studies.run(t.search({folder!r}, slow, trials=12), resume=True)
    """
)


def start(folder):
    code = WORKER.format(support=str(HERE.parent.parent / "support"), here=str(HERE.parent), folder=str(folder))
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_two_processes_share_a_study_that_survives_kill_9(tmp_path):
    study = studies.prepare(search(tmp_path))
    workers = [start(tmp_path), start(tmp_path)]
    deadline = time.monotonic() + 60
    while states(study)["COMPLETE"] < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
    before = {t.number: (t.params, t.values) for t in study.get_trials() if t.state.name == "COMPLETE"}
    assert before and states(study)["RUNNING"]
    for worker in [start(tmp_path), start(tmp_path)]:
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
    after = {t.number: (t.params, t.values) for t in study.get_trials() if t.state.name == "COMPLETE"}
    assert before.items() <= after.items()
    assert states(study)["COMPLETE"] == 12 and not states(study)["RUNNING"] and len(study.trials) <= 12 + 2


def test_a_worker_that_was_taken_for_dead_goes_on(tmp_path):
    """Its trial is failed and repeated while it still works on it, as after a long pause of the process."""
    job = search(tmp_path, trials=3)
    study, once = studies.prepare(job), []

    def evaluate(choice, network):
        if not once:
            once.append(0)
            running = next(t for t in study.get_trials() if t.state.name == "RUNNING")
            storage = studies.open_storage(job.storage, 1)
            trial_id = storage.get_trial_id_from_study_id_trial_number(1, running.number)
            storage.set_trial_state_values(trial_id, optuna.trial.TrialState.FAIL)
            trials.retry(study, storage.get_trial(trial_id))
        return spaces.bits_of(choice, network)

    studies.work(search(tmp_path, evaluate, trials=3))
    assert states(study) == {"COMPLETE": 3, "FAIL": 1}


def test_several_workers_of_one_call(tmp_path):
    assert states(studies.run(search(tmp_path), workers=2)) == {"COMPLETE": 12}
