import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pycompress.compress.tuning.table import Cost, Link, Row, Table, Totals, undominated

FORMS = ("float", "bfloat16", "int8", "int4")


def table(seed, n=5):
    """A chain of `n` units, the first two of which the last one reads, too."""
    rng = np.random.default_rng(seed)
    rows = [
        Row(f"n{i}", "Conv", {f: Cost(rng.uniform(1, 9), 0 if f == "float" else rng.uniform(0, 1), rng.uniform(1, 9)) for f in FORMS})
        for i in range(n)
    ]  # fmt: skip
    links = [Link("x", None, ("n0",), *rng.uniform(0, 1, 3))]
    links += [
        Link(f"t{i}", f"n{i}", (f"n{i + 1}",), *rng.uniform(0, 1, 3), i == 2, rng.uniform(0, 1)) for i in range(n - 1)
    ]
    return Table(rows, links, Totals(3.0, 0.0, 10.0), {"threads": 1})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("error, size", [(0.0, 0.0), (4.0, 0.0), (2.0, 1.0)])
def test_the_cheapest_plan_is_the_cheapest_of_all(seed, error, size):
    t = table(seed)
    plans = [t.plan(dict(zip([r.node for r in t.rows], forms))) for forms in product(FORMS, repeat=len(t.rows))]

    def price(p):
        return p.predicted.microseconds + error * p.predicted.error + size * p.predicted.bytes

    assert price(t.cheapest(error, size, FORMS)) == pytest.approx(min(map(price, plans)))


def test_a_plan_has_one_kind_of_float_products():
    for plan in table(3).front():
        assert not {"float", "bfloat16"} <= set(plan.forms.values())


def test_no_plan_of_the_front_is_worse_than_another_in_everything():
    front = table(1).front()
    figures = [(p.predicted.microseconds, p.predicted.error, p.predicted.bytes) for p in front]
    assert len(front) > 3 and figures == sorted(figures) and undominated(front) == front
    assert not any(a != b and all(x <= y for x, y in zip(a, b)) for a in figures for b in figures)


def test_filling_up_a_limit_only_improves_and_keeps_to_it():
    t = table(2)
    plan = t.uniform("int4")
    limit = plan.predicted.microseconds + 5

    def fits(x):
        return x.microseconds <= limit

    better = t.filled(plan, fits, lambda x: x.error)
    assert fits(better.predicted) and better.predicted.error < plan.predicted.error


def test_a_conversion_is_paid_where_float_and_integers_meet():
    t = table(0)
    forms = dict.fromkeys([r.node for r in t.rows], "float")
    plain = t.totals(forms)
    mixed = t.totals(forms | {"n2": "int8"})
    row = {r.node: r for r in t.rows}["n2"].forms
    links = {x.tensor: x for x in t.links}
    link = links["t1"]
    assert mixed.microseconds - plain.microseconds == pytest.approx(
        row["int8"].microseconds - row["float"].microseconds + link.quantize + links["t2"].emit
    )
    assert mixed.error == pytest.approx(row["int8"].error + link.error)


def test_the_table_is_a_plain_value():
    t = table(0)
    assert Table.from_dict(json.loads(json.dumps(t.to_dict()))) == t


def test_what_has_no_weights_runs_on_integers_only_for_a_reader_on_integers():
    t = table(0)
    rows = [replace(r, op="Add") if r.node == "n2" else r for r in t.rows]
    t = replace(t, rows=rows)
    assert t.plan({"n0": "int8", "n1": "int8", "n2": "int8", "n3": "float", "n4": "int8"}).forms["n2"] == "float"
    assert t.plan(dict.fromkeys(["n0", "n1", "n2", "n3", "n4"], "int8")).forms["n2"] == "int8"
    for plan in t.front():
        assert plan.forms["n2"] == "float" or plan.forms["n3"] in ("int8", "int4")
