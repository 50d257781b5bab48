import json

import pytest

from pycompress import peers


def test_ours_and_the_peers_take_turns(files, command):
    r = command("bench", files / "net.onnx", "--against", "onnxruntime,openvino", "--runs", 10, "--json")
    asked = {"pycompress", "onnxruntime", "openvino"}
    found = {name for name in asked if peers.installed()[name]}
    assert set(r["engines"]) == found
    assert set(r["missing"]) == asked - found
    for row in r["engines"].values():
        assert row["runs"] >= 10 and 0 < row["min_ms"] <= row["median_ms"]
        assert row["difference"] < 1e-3
    assert r["engines"]["pycompress"]["ours_is_faster"] == 1
    assert r["cpu"] and r["date"] and r["threads"] == 1 and r["isa"]


def test_a_missing_engine_is_named(files, command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    text = command("bench", files / "net.onnx", "--against", "openvino", "--runs", 5)
    assert "openvino: left out: openvino is not installed: pip install openvino" in text


def test_an_unknown_engine_is_refused(files, refused):
    assert "unknown engine 'tvm'" in refused("bench", files / "net.onnx", "--against", "tvm")


def test_engines_are_named_once_and_are_others(files, refused):
    assert "pycompress is measured in any case" in refused("bench", files / "net.onnx", "--against", "pycompress")
    assert "unknown engine ''" in refused("bench", files / "net.onnx", "--against", "")


def test_an_engine_that_does_not_load_the_model_is_left_out(files, command, monkeypatch):
    class Fail(Exception):
        """As engines raise them: of no kind that we know."""

    def fail(model, threads):
        raise Fail("no such\noperator")

    monkeypatch.setattr("pycompress.peers.onnxruntime.load", fail)
    r = command("bench", files / "net.onnx", "--against", "onnxruntime", "--runs", 2, "--json")
    assert r["missing"] == {"onnxruntime": "it cannot load this model: no such operator"}


def test_a_trace_is_refused_before_the_runs(files, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("pycompress.cli.models.Source.session", None)
    assert "no such folder" in refused("profile", files / "net.onnx", "--trace", tmp_path / "none" / "t.json")
    assert "is what is read" in refused("profile", files / "net.onnx", "--trace", files / "net.onnx")
    assert "--seed is for" in refused("profile", files / "net.onnx", "--input", files / "x.npy", "--seed", "1")


def test_rows_are_sorted_by_time_also_as_json(files, command):
    rows = command("profile", files / "net.plan.safetensors", "--runs", 2, "--sort", "time", "--json")["steps"]
    times = [row["seconds"] for row in rows]
    assert times == sorted(times, reverse=True) and sorted(row["step"] for row in rows) == list(range(len(rows)))


def test_a_plan_runs_here_only(files, command, refused):
    r = command("bench", files / "net.plan.safetensors", "--runs", 5, "--json")
    assert list(r["engines"]) == ["pycompress"]
    assert "the .onnx" in refused("bench", files / "net.plan.safetensors", "--against", "onnxruntime")


def test_profile_s_rows_are_the_plan_s_steps(files, tmp_path, command):
    trace = tmp_path / "t.json"
    r = command("profile", files / "net.plan.safetensors", "--runs", 3, "--trace", trace, "--json")
    steps = command("info", files / "net.plan.safetensors", "--json")["programs"][0]["steps"]
    assert len(r["steps"]) == steps
    assert abs(sum(row["share"] for row in r["steps"]) - 1) < 1e-9
    assert all(row["kernel"] and row["isa"] for row in r["steps"])
    events = json.loads(trace.read_text())["traceEvents"]
    assert len(events) == steps
    assert all(e["ph"] == "X" and e["dur"] >= 0 and e["ts"] >= 0 for e in events)
    assert "GMAC/s" in command("profile", files / "net.onnx", "--runs", 2, "--sort", "time")


def test_pictures_of_engines_products_and_steps(files, tmp_path, command, refused, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("pycompress.advice.BLOCK", 1e-5)
    model = "zoo:mobilenetv1,width=0.25,resolution=32,classes=4"
    command("bench", model, "--runs", 2, "--plot", tmp_path / "bench.png")
    command("advise", model, "--plot", tmp_path / "advise.svg")
    command(
        "compress", model, tmp_path / "o.onnx", "--prune", "0.5", "--cast", "float16", "--plot", tmp_path / "steps.png"
    )
    assert all((tmp_path / name).stat().st_size > 3000 for name in ("bench.png", "advise.svg", "steps.png"))
    assert "a picture must end in one of" in refused("bench", model, "--plot", tmp_path / "bench.txt")
    assert "--plot draws steps" in refused(
        "compress", model, tmp_path / "p.plan.safetensors", "--plot", tmp_path / "p.png"
    )
