import pytest

import pycompress
from pycompress import peers


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's result, once."""
    import contextlib
    import io
    import json

    from pycompress.cli import main

    folder = tmp_path_factory.mktemp("demo")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["demo", "--crops", "8", "--runs", "5", "--out", str(folder), "--json"]) == 0
    return folder, json.loads(printed.getvalue())


def test_photos_are_named_alike_by_float_and_int8(demo):
    _, r = demo
    for answers in r["photos"].values():
        best = [answers[word][0] for word in ("float", "int8")]
        assert len(answers["float"]) == len(answers["int8"]) == 5
        assert best[0]["name"] in [a["name"] for a in answers["int8"]]
    assert "cat" in r["photos"]["chelsea"]["float"][0]["name"]


def test_every_engine_has_all_figures(demo):
    _, r = demo
    wanted = {"pycompress float", "pycompress int8"}
    if peers.installed()["onnxruntime"]:
        wanted |= {"onnxruntime float", "onnxruntime int8"}
    assert set(r["engines"]) == wanted
    for row in r["engines"].values():
        assert row["file_bytes"] > 1e6 and row["runs"] >= 5 and 0 < row["min_ms"] <= row["median_ms"]
        assert row["peak_bytes"] > 1e6
    small, large = (r["engines"][f"pycompress {w}"]["file_bytes"] for w in ("int8", "float"))
    assert small < large / 3
    assert r["isa"]["pycompress int8"]


def test_its_files_are_kept_where_asked(demo):
    folder, r = demo
    for path in r["files"].values():
        assert path.startswith(str(folder))
    plan = pycompress.InferenceSession(r["files"]["int8 plan"])
    assert plan.get_inputs()[0].type == "tensor(uint8)" and len(plan.labels) == 1000
