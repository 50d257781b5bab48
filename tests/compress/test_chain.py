"""compress follows a recipe, and the model never becomes worse than allowed."""

import json
import logging

import numpy as np
import pytest

import pycompress as pc
from prunable import images, small
from pycompress.compress import chain, promote
from pycompress.compress.model import graph as g


@pytest.fixture(scope="module")
def model():
    return small()


def run(model, recipe, **more):
    taken = []
    return pc.compress(model, recipe, images(8), report=taken.append, **more), taken


def test_without_a_limit_the_passes_run_as_if_called_one_by_one(model):
    got, taken = run(model, {"quantize": {}, "prune": {"sparsity": 0.5}}, max_drop=None)
    wanted = pc.quantize(pc.prune(model, 0.5, calibration=images(8)), images(8))
    assert got.graph == wanted.graph
    assert [(t.step, t.outcome, t.drop) for t in taken] == [("prune", "kept", None), ("quantize", "kept", None)]


def test_each_step_is_logged_with_time_size_and_error(model, caplog):
    with caplog.at_level(logging.INFO, "pycompress"):
        got, (taken,) = run(model, {"cast": {}})
    assert taken.seconds > 0 and taken.bytes < model.ByteSize() and taken.snr > 40
    assert taken.drop == pytest.approx(10 ** (-taken.snr / 10), abs=1e-9) and taken.score == 1 - taken.drop
    assert caplog.messages == [str(taken)] and "cast: kept" in str(taken)
    (told,) = json.loads(g.metadata(got)["pycompress.compress"])
    assert told["step"] == "cast" and told["drop"] == taken.drop and "seconds" not in told


@pytest.mark.parametrize(
    "recipe",
    [
        {"prune": {"sparsity": 0.9}},
        {"prune": {"sparsity": {"wide": 0.95, "point": 0.9}}},
        {"factorize": {"rank": 2}},
        {"factorize": {"energy": 0.1, "method": "spatial"}},
        {"cast": {"dtype": "bfloat16"}},
        {"quantize": {"weights": 4, "first_last": 4, "group_size": None}},
        {"quantize": {}},
    ],
    ids=json.dumps,
)
def test_a_step_that_costs_too_much_becomes_gentler(recipe, model):
    ((name, asked),) = recipe.items()
    ((_, first),) = [run(model, recipe, max_drop=1e9)]
    max_drop = first[0].drop * 0.6
    got, (taken,) = run(model, recipe, max_drop=max_drop)
    assert taken.outcome == "promoted" and taken.attempts > 1 and taken.drop <= max_drop
    assert taken.options != asked and taken.said
    assert got.graph == getattr(pc, name)(model, **taken.options, calibration=images(8)).graph
    judge = chain.Acceptance(model, [{"input": x[None]} for x in images(8)], None, 0, 0)
    assert judge.measure(got)["drop"] == taken.drop


def test_the_layers_that_do_the_most_damage_are_promoted_first(model):
    spoiled = g.copied(model)  # the same function, with a channel that is hard to round
    for tensor in spoiled.graph.initializer:
        if tensor.name in ("e", "p"):
            w = np.frombuffer(tensor.raw_data, np.float32).reshape(tensor.dims).copy()
            w[:, :1] *= 300 if tensor.name == "p" else 1
            w[:1] /= 300 if tensor.name == "e" else 1
            tensor.raw_data = w.tobytes()
    after = pc.quantize(spoiled, images(8), equalize=False)  # which would mend it
    judge = chain.Acceptance(spoiled, [{"input": x[None]} for x in images(8)], None, 0, 0).judge
    assert promote.ranked(spoiled, after, judge)[0] == "point"


def test_a_step_that_no_option_mends_is_left_out_and_the_next_is_taken(model):
    got, taken = run(model, {"prune": {"pattern": "1:4"}, "cast": {}}, max_drop=1e-4)
    assert [(t.step, t.outcome) for t in taken] == [("prune", "left out"), ("cast", "kept")]
    assert got.graph == pc.cast(model).graph and "it alone would be a drop of" in str(taken[0])


def test_stop_ends_at_the_first_step_that_costs_too_much(model):
    got, taken = run(model, {"prune": {"pattern": "1:4"}, "cast": {}, "exceeded": "stop", "max_drop": 1e-4})
    assert [(t.step, t.outcome) for t in taken] == [("prune", "stopped")] and got.graph == model.graph
    assert "pycompress.compress" not in g.metadata(model)


def test_a_limit_of_one_step_is_its_own(model):
    recipe = {"prune": {"sparsity": 0.5, "max_drop": 1e-9}, "cast": {}}
    assert [t.outcome for t in run(model, recipe, max_drop=0.5)[1]] == ["left out", "kept"]


def test_evaluate_judges_and_the_drop_may_be_relative(model):
    def evaluate(session):
        assert isinstance(session, pc.InferenceSession)
        scores.append(100.0 - len(scores))  # each model is a point worse than the one before
        return scores[-1]

    scores = []
    assert run(model, {"cast": {}}, evaluate=evaluate, max_drop=0.5)[1][0].outcome == "left out"
    scores = []
    (taken,) = run(model, {"cast": {}}, evaluate=evaluate, max_drop=0.01, relative=True)[1]
    assert (taken.outcome, taken.score, taken.drop) == ("kept", 99.0, 1.0)
    got = pc.compress(model, {"cast": {}}, evaluate=lambda session: 1.0)  # needs no samples
    assert got.graph == pc.cast(model).graph


def test_a_cache_returns_what_was_made_before(model, tmp_path, monkeypatch):
    recipe = {"prune": {"sparsity": 0.5}, "quantize": {}}
    wanted, _ = run(model, recipe, max_drop=0.5, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2

    def never(*_, **__):
        raise AssertionError("it is in the cache")

    monkeypatch.setattr(chain.recipes, "PASSES", chain.recipes.PASSES | {"prune": never})
    monkeypatch.setattr(chain.recipes, "options_of", lambda name: {"sparsity": None, "method": None})
    monkeypatch.setattr(chain.recipes, "check_step", lambda *_: None)
    assert run(model, recipe, max_drop=0.5, cache=tmp_path)[0] == wanted
    with pytest.raises(AssertionError, match="cache"):
        run(model, {"prune": {"sparsity": 0.4}}, cache=tmp_path)


def test_a_recipe_of_the_command_line_takes_other_samples(model):
    recipe = {"data": {"calibration": "photos", "mean": 127}, "cast": {}, "float_products": "bfloat16"}
    assert run(model, recipe)[0] == run(model, {"cast": {}})[0]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"calibration": None}, "there is nothing to judge by"),
        ({"calibration": []}, "calibration: no samples"),
        ({"evaluate": lambda session: "good"}, "evaluate must return a number, got 'good'"),
        ({"evaluate": lambda session: float("nan")}, "evaluate gave nan"),
        ({"evaluate": lambda session: 1.0, "max_drop": None}, "max_drop=None says that nothing does"),
        ({"max_drop": -1}, "max_drop: must be a number of at least 0"),
        ({"recipe": {}}, "recipe: no step; there are prune"),
        (
            {"recipe": {"cast": {"calibration": "photos"}}, "calibration": None},
            "recipe.cast.calibration: only the command line reads files",
        ),
        ({"recipe": {"cast": {}, "float_products": "int8"}}, "recipe.float_products: must be one of float32, bfloat16"),
        ({"recipe": {"quantize": {}}, "calibration": None, "max_drop": None}, "recipe.quantize: it needs calibration"),
        ({"recipe": {"cast": {}, "relative": True}, "max_drop": None}, "recipe.relative: has no effect without"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_followed_is_refused(options, said, model):
    given = {"recipe": {"cast": {}}, "calibration": images(2)} | options
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        pc.compress(model, **given)


def test_the_package_of_the_passes_is_still_a_package():
    import pycompress.compress.prune as module

    assert module.prune is pc.prune and pc.compress.prune is module


def test_damaged_results_in_the_cache_are_made_again(model, tmp_path):
    wanted = pc.compress(model, {"cast": {}}, images(8), cache=tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"cut off")
    assert pc.compress(model, {"cast": {}}, images(8), cache=tmp_path) == wanted
    assert kept.stat().st_size > 100
