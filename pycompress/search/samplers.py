"""Search methods as samplers of Optuna: regularised evolution, a controller trained by REINFORCE, and a latency limit for any.

A study holds all that a method knows: samplers of several processes learn from the same trials, and one that starts
again goes on where the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .space import Choice, Space

METHODS = ("random", "evolution", "reinforce", "tpe", "nsga2", "gradient")
TRIES = 50  # proposals of a method before one is repaired


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space's decisions as parameters of a study."""
    return {d.name: CategoricalDistribution(d.values) for d in space.decisions}


class _Chooser(BaseSampler):
    """A sampler that chooses all decisions of a space at once."""

    def __init__(self, space: Space, seed: int | None):
        self.space, self.seed = space, seed
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        raise ValueError(f"the space has no decision {name!r}")

    def reseed_rng(self) -> None:
        self.rng = np.random.default_rng()

    def _finished(self, study: Study) -> list[FrozenTrial]:
        """The finished trials with a choice of this space, in the order in which they ended."""
        self._raise_error_if_multi_objective(study)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        names = {d.name for d in self.space.decisions}
        return sorted((t for t in trials if names <= set(t.params)), key=lambda t: (t.datetime_complete, t.number))


class Evolution(_Chooser):
    """Regularised evolution (Real et al., arXiv:1802.01548): the best of a random sample of the youngest is mutated.

    Parameters
    ----------
    space : Space
    population : int
        How many of the youngest trials live; so many are random at first.
    sample : int
        Of which the best becomes a parent.
    mutations : int
        Decisions that change; those that the parent's network does not use are left alone.
    seed : int, optional

    Raises
    ------
    ValueError
        If there are more in a sample than in the population. On use, if the study has several objectives.
    """

    def __init__(self, space: Space, *, population: int = 20, sample: int = 5, mutations: int = 1, seed=None):
        super().__init__(space, seed)
        if not 1 <= sample <= population or mutations < 1:
            raise ValueError(f"evolution: a sample of {sample} out of {population}, {mutations} mutations: impossible")
        self.population, self.sample, self.mutations = population, sample, mutations

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space) -> Choice:
        finished = self._finished(study)
        if len(finished) < self.population:
            return self.space.random(self.rng)
        living = finished[-self.population :]
        drawn = [living[i] for i in self.rng.choice(len(living), self.sample, replace=False)]
        sign = 1 if study.direction.name == "MAXIMIZE" else -1
        parent = max(drawn, key=lambda t: sign * t.values[0])
        return self.mutated({d.name: parent.params[d.name] for d in self.space.decisions})

    def mutated(self, choice: Mapping[str, Any]) -> Choice:
        """`choice` with other values for some decisions that its network uses."""
        child = dict(choice)
        for _ in range(self.mutations):
            used = self.space.used(child)
            decisions = [d for d in self.space.decisions if d.name in used]
            decision = decisions[self.rng.integers(len(decisions))]
            others = [v for v in decision.values if v != child[decision.name]]
            child[decision.name] = others[self.rng.integers(len(others))]
        return child


class Reinforce(_Chooser):
    """A recurrent controller that makes one decision after the other, trained by REINFORCE.

    As in NASNet (arXiv:1611.01578, 1707.07012) and MnasNet: the reward is the trial's value, less a moving average of
    earlier ones, and the entropy of its choices keeps the controller from settling too early. Its weights are not stored:
    every process replays the finished trials in their order, and all have the same controller.

    Parameters
    ----------
    space : Space
    hidden : int
        Units of the LSTM.
    rate : float
        The learning rate (Adam).
    entropy : float
        The weight of the entropy.
    decay : float
        Of the moving average.
    warmup : int
        Trials that are random at first, from which the controller learns, too.
    seed : int, optional

    Raises
    ------
    ValueError
        On use, if the study has several objectives.
    """

    def __init__(self, space: Space, *, hidden=64, rate=0.01, entropy=0.01, decay=0.9, warmup=10, seed=None):
        super().__init__(space, seed)
        self.options = {"hidden": hidden, "rate": rate}
        self.entropy, self.decay, self.warmup = entropy, decay, warmup
        self._seen: list[int] = []
        self._controller: Any = None

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space) -> Choice:
        finished = self._finished(study)
        self._learn(finished, 1 if study.direction.name == "MAXIMIZE" else -1)
        if len(finished) < self.warmup:
            return self.space.random(self.rng)
        values = self._controller.draw(self.rng)
        return {d.name: d.values[i] for d, i in zip(self.space.decisions, values)}

    def _learn(self, finished: list[FrozenTrial], sign: int) -> None:
        numbers = [t.number for t in finished]
        if self._controller is None or numbers[: len(self._seen)] != self._seen:  # another worker's trial ended before
            from .controller import Controller

            self._controller = Controller([len(d.values) for d in self.space.decisions], **self.options)
            self._seen, self._average = [], None
        for t in finished[len(self._seen) :]:
            reward = sign * t.values[0]
            average = reward if self._average is None else self._average
            choice = [d.values.index(t.params[d.name]) for d in self.space.decisions]
            self._controller.learn(choice, reward - average, self.entropy)
            self._average = self.decay * average + (1 - self.decay) * reward
        self._seen = numbers


class Learned(_Chooser):
    """Draws from chances that `gradient.gradient_search` found; the first trial takes the most probable values.

    Parameters
    ----------
    space : Space
    chances : {decision: chances of its values}
    seed : int, optional
    """

    def __init__(self, space: Space, chances: Mapping[str, list[float]], *, seed=None):
        super().__init__(space, seed)
        self.chances = chances

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space) -> Choice:
        if trial.number == 0:
            return {d.name: d.values[int(np.argmax(self.chances[d.name]))] for d in self.space.decisions}
        drawn = {}
        for d in self.space.decisions:
            p = np.array(self.chances[d.name])
            drawn[d.name] = d.values[self.rng.choice(len(p), p=p / p.sum())]
        return drawn


class WithinLatency(BaseSampler):
    """Any sampler, restricted to networks within a latency.

    A proposal that is too slow is drawn again. After some tries the last one is repaired: decisions, in random order, take
    the values of a choice known to be fast enough, until it is. So every trial trains a network that is allowed.

    Parameters
    ----------
    sampler : BaseSampler
    space : Space
    latency : callable
        Seconds of a choice, predicted.
    limit : float
        Seconds.
    fast : dict
        A choice within the limit.
    seed : int, optional

    Raises
    ------
    ValueError
        If `fast` is too slow.
    """

    def __init__(
        self, sampler: BaseSampler, space: Space, latency: Callable[[Choice], float], limit: float, fast: Choice, seed=None
    ):  # fmt: skip
        if latency(fast) > limit:
            raise ValueError(f"the choice that is to repair others takes {latency(fast)} s, more than {limit} s")
        self.sampler, self.space, self.latency, self.limit, self.fast = sampler, space, latency, limit, fast
        self.rng = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space) -> Choice:
        known = self.sampler.infer_relative_search_space(study, trial)
        for _ in range(TRIES):
            choice = dict(self.sampler.sample_relative(study, trial, known))
            for name, distribution in distributions(self.space).items():
                if name not in choice:
                    choice[name] = self.sampler.sample_independent(study, trial, name, distribution)
            if self.latency(choice) <= self.limit:
                return choice
        return self.repaired(choice)

    def repaired(self, choice: Choice) -> Choice:
        """`choice`, step by step nearer to the fast one, as far as necessary."""
        names = list(choice)
        for i in self.rng.permutation(len(names)):
            choice = {**choice, names[i]: self.fast[names[i]]}
            if self.latency(choice) <= self.limit:
                break
        return choice

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return self.sampler.sample_independent(study, trial, name, distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values) -> None:
        self.sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.sampler.reseed_rng()
        self.rng = np.random.default_rng()


def sampler(
    method: str,
    space: Space,
    *,
    trials: int = 100,
    seed: int | None = None,
    chances: Mapping[str, list[float]] | None = None,
) -> BaseSampler:
    """The sampler of a method, without a limit; its populations fit `trials`.

    Raises
    ------
    ValueError
        If there is no such method, or "gradient" has no chances.
    """
    population = max(4, min(20, trials // 4))
    if method == "random":
        return RandomSampler(seed=seed)
    if method == "evolution":
        return Evolution(space, population=population, sample=max(2, population // 4), seed=seed)
    if method == "reinforce":
        return Reinforce(space, warmup=max(2, min(10, trials // 5)), seed=seed)
    if method == "tpe":
        return TPESampler(n_startup_trials=max(2, min(10, trials // 5)), constant_liar=True, seed=seed)
    if method == "nsga2":
        return NSGAIISampler(population_size=population, seed=seed)
    if method == "gradient":
        if chances is None:
            raise ValueError("the study has no chances yet: run gradient.gradient_search, and give them to `learned`")
        return Learned(space, chances, seed=seed)
    raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")


def directions(method: str) -> list[str]:
    """What a study of this method optimizes: accuracy, and for "nsga2" latency, too."""
    return ["maximize", "minimize"] if method == "nsga2" else ["maximize"]
