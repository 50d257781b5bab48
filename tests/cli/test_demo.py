import shlex

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


def test_it_ends_in_size_speed_agreement_and_the_next_step(demo):
    from pycompress.cli import demo as command
    from pycompress.cli import parser

    _, r = demo
    assert 0 < r["agreement"]["same"] <= r["agreement"]["crops"] == command.COMPARED
    figures = {"file_bytes": 50, "times_faster_than_float": 2.06}
    told = {
        "agreement": {"same": 23, "crops": 24},
        "engines": {command.FLOAT: {"file_bytes": 186}, command.INT8: figures},
    }
    assert command.summary(told) == (
        "EfficientNet-Lite0 in int8 is 3.7 times smaller and 2.1 times as fast as in float, "
        "with the same answer on 23 of 24 photo crops."
    )
    assert r["summary"] == command.summary(r)
    words = shlex.split(r["next"])
    assert words[0] == "pycompress" and parser().parse_args(words[1:]).quantize


def test_its_last_lines_are_the_sentence_and_the_command_to_go_on_with(demo, capsys):
    from pycompress.cli import demo as command
    from pycompress.cli.output import Output

    command._print(demo[1], Output())
    assert capsys.readouterr().out.splitlines()[-2:] == [
        demo[1]["summary"],
        f"Next, with the mean and std of your model: {command.NEXT}",
    ]
