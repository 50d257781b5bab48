"""``pycompress search`` on digits: seconds."""

import copy
import json

import pytest
import spaces

pytest.importorskip("torch")
pytest.importorskip("optuna")
pytest.importorskip("sklearn")
yaml = pytest.importorskip("yaml")
import pycompress  # noqa: E402

TINY = spaces.MOBILE | {
    "input": {"channels": 1, "classes": 10, "resolution": 8},
    "width": 1.0,
    "data": {"path": "digits", "validation": 0.3},
    "recipe": {"train": {"epochs": 1, "batch": 128}},
    "final": {"train": {"epochs": 2, "batch": 128}},
}


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_a_search_writes_its_front_and_goes_on(space, command):
    said = command("search", space, "--latency", "50ms", "--trials", 4, "--method", "random", "--keep", 2, "--json")
    out = space.with_suffix("")
    assert said["trials"] == {"complete": 4} and said["finished"]
    for p in said["finished"]:
        assert p["measured"] > 0 and 0 < p["final"] <= 1
        session = pycompress.InferenceSession(out / "front" / f"{p['number']:04d}.plan.safetensors")
        assert session.labels == [str(i) for i in range(10)]
        assert (out / "front" / f"{p['number']:04d}.onnx").stat().st_size == p["bytes"]
    assert (out / "front.svg").read_text().startswith("<svg")
    assert json.loads((out / "front.json").read_text())["front"]
    more = command("search", space, "--latency", "50ms", "--trials", 6, "--keep", 0, "--resume", "--json")
    assert more["trials"] == {"complete": 6} and not more["finished"]


def test_a_file_in_place_of_the_folder_is_named(space, refused, tmp_path):
    (tmp_path / "file").write_text("precious")
    said = refused("search", space, "--latency", "50ms", "--out", tmp_path / "file", "--quiet")
    assert said.endswith("file is a file: name a folder") and (tmp_path / "file").read_text() == "precious"


def test_the_front_is_of_this_study_and_of_this_recipe(space, command, refused):
    """Other studies, and recipes from before, leave networks of the same numbers in the folder."""
    search = ("search", space, "--latency", "50ms", "--trials", 2, "--method", "random", "--keep", 1, "--json")
    (first,) = command(*search, "--seed", 1)["finished"]
    plan = space.with_suffix("") / "front" / f"{first['number']:04d}.plan.safetensors"
    before = plan.read_bytes()
    command(*search, "--seed", 1, "--name", "again")  # the same networks: what is there serves
    assert plan.read_bytes() == before
    space.write_text(yaml.safe_dump(TINY | {"final": {"train": {"epochs": 3, "batch": 128}}}))
    (longer,) = command(*search, "--seed", 1, "--resume")["finished"]
    assert longer["number"] == first["number"] and plan.read_bytes() != before
    kept = plan.stat().st_mtime_ns
    command(*search, "--seed", 1, "--resume")
    assert plan.stat().st_mtime_ns == kept
    plan.with_name(plan.name.replace(".plan.safetensors", ".onnx")).write_bytes(b"junk")
    said = refused(*search[:-1], "--seed", 1, "--resume", "--quiet")
    assert "onnx is damaged" in said and "delete it, and it is trained again" in said


def test_trainings_that_diverge_are_told_and_lose_nothing(space, command, refused):
    wild = {"train": {"epochs": 1, "batch": 128, "rate": 1e30, "warmup": 0.0}}
    search = ("search", space, "--latency", "50ms", "--trials", 2, "--keep", 1)
    space.write_text(yaml.safe_dump(TINY | {"final": wild}))
    assert "at step" in refused(*search)
    assert json.loads((space.with_suffix("") / "front.json").read_text())["front"]
    space.write_text(yaml.safe_dump(TINY))
    assert command(*search, "--resume", "--json")["finished"]
    space.write_text(yaml.safe_dump(TINY | {"recipe": wild}))
    assert "no network could be trained: the loss is" in refused(*search, "--name", "wild")


def test_shared_weights_of_another_space_are_not_taken(space, command):
    search = ("search", space, "--latency", "50ms", "--trials", 2, "--keep", 0, "--shared", 1, "--json", "--resume")
    command(*search)
    space.write_text(yaml.safe_dump(TINY | {"head": {"out": 40}}))
    assert command(*search, "--name", "wider")["trials"] == {"complete": 2}
    assert len(list(space.with_suffix("").glob("shared-*.pt"))) == 2


@pytest.mark.parametrize("method", ["gradient", "nsga2"])
def test_methods_by_their_words(space, command, monkeypatch, method):
    from pycompress.search import gradient

    short = gradient.Gradient(epochs=2, warmup=1)
    monkeypatch.setattr(gradient, "Gradient", lambda **options: short)
    said = command(
        "search", space, "--latency", "50ms", "--trials", 3, "--method", method, "--keep", 0, "--shared", 1, "--json"
    )
    assert said["trials"] == {"complete": 3}


def test_mistakes_are_found_before_the_search(space, tmp_path, refused):
    assert "no network within 0.001 us" in refused("search", space, "--latency", "0.001us")
    assert "no such space" in refused("search", tmp_path / "none.yaml", "--latency", "1ms")
    table = copy.deepcopy(TINY)
    table["data"]["path"] = "nowhere"
    space.write_text(yaml.safe_dump(table))
    assert "nowhere" in refused("search", space, "--latency", "1ms")
    table["stages"][0]["kernle"] = 3
    space.write_text(yaml.safe_dump(table))
    assert "space.stages[0].kernle: unknown key; did you mean kernel?" in refused("search", space, "--latency", "1ms")


def test_a_study_that_is_there_is_kept(space, command, refused):
    command("search", space, "--latency", "50ms", "--trials", 2, "--keep", 0, "--shared", 1, "--json")
    assert "--resume" in refused("search", space, "--latency", "50ms", "--shared", 1)
    space.write_text(yaml.safe_dump(TINY | {"head": {"out": 40}}))
    assert "another space" in refused("search", space, "--latency", "50ms", "--shared", 1, "--resume")


def test_times_have_units():
    from argparse import ArgumentTypeError

    from pycompress.cli.search import duration

    assert duration("100us") == pytest.approx(1e-4) and duration("1.5 ms") == pytest.approx(1.5e-3)
    for text in ("100", "0us", "-1ms", "1.2.3s", "fast"):
        with pytest.raises(ArgumentTypeError, match="is not a time"):
            duration(text)
