import json

import pytest

import pycompress

MODEL = "zoo:mobilenetv1,width=0.25,resolution=32,classes=4"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name in ("measure", "search"):
        monkeypatch.setattr(f"pycompress.compress.tuning.{name}.ROUNDS", 1)


def test_model_plan_recipe_and_table_are_written_and_work(tmp_path, command):
    pytest.importorskip("matplotlib")
    words = [
        "tune",
        MODEL,
        "--calibration",
        "photos",
        "--samples",
        8,
        "--mean",
        127,
        "--std",
        128,
        "--out",
        tmp_path / "t",
    ]
    said = command(*words, "--plot", tmp_path / "f.png")
    assert "all int8" in said and "measured against predicted" in said
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    again = command(*words, "--json")  # from the measurements
    told = json.loads((tmp_path / "t.tune.json").read_text())
    assert again["forms"] == told["forms"] and {"rows", "links", "rest", "about"} == set(told["table"])
    command("info", tmp_path / "t.onnx")
    (port,) = pycompress.InferenceSession(tmp_path / "t.plan.safetensors").get_inputs()
    assert port.type == "tensor(uint8)" and port.shape == [1, 32, 32, 3]  # images, as --mean and --std say
    if json.loads((tmp_path / "t.recipe.json").read_text()):
        command("compress", MODEL, tmp_path / "r.onnx", "--recipe", tmp_path / "t.recipe.json")


def test_bad_limits_and_outputs_are_refused(tmp_path, refused, capsys):
    assert "no such folder" in refused("tune", MODEL, "--calibration", "photos", "--out", tmp_path / "none" / "t")
    from pycompress.cli import main

    with pytest.raises(SystemExit):
        main(["tune", MODEL, "--calibration", "photos", "--latency", "3 parsecs"])
    assert "positive number with one of the units s, ms, us" in capsys.readouterr().err
