"""Recipes are read from files and dicts alike, and every mistake is named by its path."""

import json

import pytest

from pycompress.cli import recipe as flags
from pycompress.compress import recipe


@pytest.mark.parametrize(
    "value, said",
    [
        ({"quantise": {}}, "recipe.quantise: unknown key; did you mean quantize?"),
        ({"quantize": {"wieghts": 4}}, "recipe.quantize.wieghts: unknown key; did you mean weights?"),
        ({"quantize": {"calibraton": "a"}}, "recipe.quantize.calibraton: unknown key; did you mean calibration?"),
        ({"data": {"sample": 3}}, "recipe.data.sample: unknown key; did you mean samples?"),
        ({"cast": {"model": 3}}, "recipe.cast.model: unknown key; "),
        ({"prune": 0.5}, "recipe.prune: must be a table of options, got 0.5"),
        ({"prune": {"sparsity": 0.5, "max_drop": "low"}}, "recipe.prune.max_drop: must be a number of at least 0"),
        ({"max_drop": float("nan")}, "recipe.max_drop: must be a number of at least 0"),
        ({"relative": 1}, "recipe.relative: must be true or false, got 1"),
        ({"exceeded": "ignore"}, "recipe.exceeded: must be one of promote, stop, got 'ignore'"),
        ([], "recipe: must be a table of steps, got []"),
    ],
)
def test_a_mistake_is_named_by_its_path(value, said, tmp_path):
    with pytest.raises(ValueError) as error:
        recipe.checked(value)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("prune", {"sparsity": 2}, "recipe.prune.sparsity: must be in [0, 1), got 2"),
        ("prune", {"sparsity": {"conv": 2}}, "recipe.prune.sparsity.conv: must be in [0, 1), got 2"),
        ("quantize", {"method": "best"}, "recipe.quantize.method: must be one of mse, minmax, percentile"),
        ("factorize", {}, "recipe.factorize: give one of energy, rank and ratio"),
        ("cast", {"dtype": "int8"}, "recipe.cast.dtype: must be float16 or bfloat16, got 'int8'"),
    ],
)
def test_a_value_that_a_pass_refuses_is_named_by_its_path(name, options, said):
    with pytest.raises(ValueError) as error:
        recipe.check_step(name, options, "given")
    assert str(error.value).startswith(said)


def test_steps_have_one_order_and_share_their_data():
    found = recipe.read({"cast": {"samples": 2}, "prune": {"sparsity": 0.5}, "data": {"calibration": "x"}})
    assert list(found.steps) == ["prune", "cast"]
    assert found.steps == {"prune": {"sparsity": 0.5, "calibration": "x"}, "cast": {"samples": 2}}


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_calibration_data_is_relative_to_the_file(kind, tmp_path):
    if kind == "yaml":
        pytest.importorskip("yaml")
    (tmp_path / "c.npy").write_bytes(b"")
    (tmp_path / f"r.{kind}").write_text(json.dumps({"quantize": {"calibration": ["c.npy", "photos"]}, "max_drop": 0.5}))
    found = recipe.read(tmp_path / f"r.{kind}")
    assert found.steps == {"quantize": {"calibration": [str(tmp_path / "c.npy"), "photos"]}}
    assert found.max_drop == 0.5 and found.relative is None


def test_a_yaml_file_needs_pyyaml_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    (tmp_path / "r.yaml").write_text("cast: {}")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'pycompress-engine\[yaml\]'"):
        recipe.read(tmp_path / "r.yaml")


@pytest.mark.parametrize("kind, deep", [("json", '{"a":' * 9000), ("toml", "a = " + "[" * 9000), ("yaml", "[" * 9000)])
def test_a_file_that_is_nested_deeply_is_refused(tmp_path, kind, deep):
    pytest.importorskip({"json": "json", "toml": "tomllib", "yaml": "yaml"}[kind])
    (tmp_path / f"r.{kind}").write_text(deep)
    with pytest.raises(ValueError, match=f"r.{kind}: it is nested too deeply"):
        recipe.read(tmp_path / f"r.{kind}")


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "r.yaml").write_text("prune: [")
    with pytest.raises(ValueError, match="r.yaml: no YAML: "):
        recipe.read(tmp_path / "r.yaml")


def test_the_command_line_has_the_same_schema():
    assert (flags.STEPS, flags.DATA) == (recipe.STEPS, recipe.DATA)
