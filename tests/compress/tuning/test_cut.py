from itertools import product

import numpy as np
import pytest

from pycompress.compress.tuning.cut import Cut


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_the_cheapest_of_all_divisions(seed):
    rng = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(7)]
    single = rng.uniform(0, 3, (7, 2))
    pairs = [(a, b, rng.uniform(0, 2)) for a in range(7) for b in range(7) if a != b and rng.uniform() < 0.4]
    cut = Cut()
    for name, (true, false) in zip(names, single):
        cut.choice(name, true, false)
    for a, b, cost in pairs:
        cut.differ(names[a], names[b], cost)
    found = cut.solve()

    def cost_of(values):
        alone = sum(single[i][0 if v else 1] for i, v in enumerate(values))
        return alone + sum(c for a, b, c in pairs if values[a] and not values[b])

    best = min(map(cost_of, product((True, False), repeat=7)))
    assert cost_of([found[name] for name in names]) == pytest.approx(best)


def test_what_is_forbidden_is_not_cut():
    cut = Cut()
    cut.choice("a", 0.0, 5.0)
    cut.choice("b", 3.0, 0.0)
    cut.differ("a", "b", 1e30)
    assert cut.solve() == {"a": True, "b": True}
