"""The recipes of examples/fashion can be read, and the table's verdicts are those of a t interval."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("yaml")

from pycompress.train import read

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "examples" / "fashion").glob("*.yaml"))


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded  # dataclasses look their module up
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_can_be_read(path):
    recipe = read(path)
    assert recipe.model and recipe.data.validation == 5000 and recipe.train.batch == 128


def test_the_network_has_as_many_parameters_as_it_says():
    network = module(ROOT / "examples" / "fashion" / "network.py")
    assert [round(network.parameters(network.build(w)) / 1000) for w in (0.25, 0.5, 1)] == [21, 69, 253]
    deep = network.build(0.5, depth=1.5, resolution=32)
    assert len(deep.graph.node) > len(network.build(0.5).graph.node)


def test_verdicts_are_those_of_the_interval(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    table = module(ROOT / "bench" / "train_table.py")
    sure, unsure = table.Interval.of([0.3, 0.4, 0.35]), table.Interval.of([0.3, -0.4, 0.5])
    assert sure.verdict == "BEATS" and sure.mean == pytest.approx(0.35)
    assert sure.high - sure.mean == pytest.approx(4.303 * 0.05 / 3**0.5)
    assert unsure.verdict == "NO DIFFERENCE" and table.Interval.of([-1, -1.1, -0.9]).verdict == "LOSES"
    assert table.Interval.of([1.0]).verdict == "NO DIFFERENCE"
    assert {run.start for run in table.RUNS.values()} - {0.25, 0.5, 1.0} <= set(table.RUNS)
    assert {p.stem for p in RECIPES} == set(table.RUNS) - {"ptq4"}


def test_the_example_on_digits_can_be_read():
    recipe = read(ROOT / "examples" / "digits.yaml")
    assert recipe.data.path == "digits" and recipe.distill.teacher == "self" and recipe.quantize.epochs
