"""Search methods on problems whose answer is known: no networks are trained."""

import numpy as np
import pytest
import spaces

from pycompress.search.space import read

optuna = pytest.importorskip("optuna")
torch = pytest.importorskip("torch")
from pycompress.search import samplers  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = read(spaces.MOBILE)
GOAL = SPACE.random(np.random.default_rng(9))


def alike(choice) -> float:
    """The share of decisions that are as in the goal."""
    return float(np.mean([choice[name] == GOAL[name] for name in GOAL]))


def best(sampler, trials, directions=("maximize",)):
    study = optuna.create_study(sampler=sampler, directions=list(directions))
    known = samplers.distributions(SPACE)
    for _ in range(trials):
        trial = study.ask(known)
        study.tell(trial, [alike(trial.params), 1.0][: len(directions)])
    return study


@pytest.mark.parametrize("method", ["evolution", "reinforce", "tpe"])
def test_methods_find_more_than_chance(method):
    torch.set_num_threads(1)
    trials = 150 if method == "reinforce" else 100
    found = [best(samplers.sampler(method, SPACE, trials=trials, seed=s), trials) for s in range(2)]
    late = np.mean([np.mean([t.value for t in study.trials[-30:]]) for study in found])
    random = np.mean([alike(SPACE.random(np.random.default_rng(s))) for s in range(200)])
    assert late > random + 0.15


def test_a_mutation_changes_one_decision_that_matters():
    evolution = samplers.Evolution(SPACE, population=4, sample=2, seed=0)
    for seed in range(30):
        choice = SPACE.random(np.random.default_rng(seed))
        child = evolution.mutated(choice)
        changed = [name for name in choice if choice[name] != child[name]]
        assert len(changed) == 1 and changed[0] in SPACE.used(choice)


def test_only_the_youngest_are_parents():
    """The best trial of all is old: with a population of 4 nobody descends from it."""
    evolution = samplers.Evolution(SPACE, population=4, sample=4, seed=0)
    study = optuna.create_study(direction="maximize", sampler=evolution)
    known, rng = samplers.distributions(SPACE), np.random.default_rng(0)
    for i in range(6):
        params = GOAL if i == 0 else SPACE.random(rng)
        study.add_trial(optuna.create_trial(params=params, distributions=known, values=[1.0 if i == 0 else i / 10]))
    youngest = study.trials[-1].params
    child = study.ask(known).params
    assert sum(child[name] != youngest[name] for name in child) == 1


def test_controllers_of_two_processes_are_the_same():
    torch.set_num_threads(1)
    study = best(samplers.sampler("reinforce", SPACE, trials=20, seed=0), 20)
    drawn = []
    for _ in range(2):
        sampler = samplers.Reinforce(SPACE, warmup=5, seed=3)
        drawn.append(sampler.sample_relative(study, None, None))
    assert drawn[0] == drawn[1]


def slow(choice):
    return SPACE.network(choice).macs * 1e-9


@pytest.mark.parametrize("method", ["random", "evolution", "reinforce", "tpe", "nsga2"])
def test_no_trial_is_slower_than_the_limit(method):
    torch.set_num_threads(1)
    fast = SPACE.smallest()
    limit = 3 * slow(fast)
    inner = samplers.sampler(method, SPACE, trials=20, seed=0)
    study = best(
        samplers.WithinLatency(inner, SPACE, slow, limit, fast, seed=0), 20, samplers.directions(method)
    )  # fmt: skip
    assert len(study.trials) == 20 and all(slow(t.params) <= limit for t in study.trials)


def test_repairs_end_at_the_fast_choice():
    fast = SPACE.smallest()
    sampler = samplers.WithinLatency(samplers.sampler("random", SPACE), SPACE, slow, slow(fast), fast, seed=0)
    assert slow(sampler.repaired(SPACE.random(np.random.default_rng(0)))) == slow(fast)
    with pytest.raises(ValueError, match="more than"):
        samplers.WithinLatency(sampler, SPACE, slow, slow(fast) / 2, fast)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="unknown method 'evolutoin'"):
        samplers.sampler("evolutoin", SPACE)
    with pytest.raises(ValueError, match="a sample of 9 out of 4"):
        samplers.Evolution(SPACE, population=4, sample=9)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=samplers.Evolution(SPACE))
    with pytest.raises(ValueError, match="multi-objective"):
        study.ask(samplers.distributions(SPACE))
