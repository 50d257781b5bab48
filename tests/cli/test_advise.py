import json


def test_the_table_is_written_and_planned_by(tmp_path, command, monkeypatch):
    monkeypatch.setattr("pycompress.advice.BLOCK", 1e-5)
    table = tmp_path / "costs.json"
    model = "zoo:mobilenetv1,width=0.25,resolution=32,classes=4"
    r = command("advise", model, "--save", table, "--json")
    assert (
        r["saved"] == str(table)
        and r["layers"]
        and set(json.loads(table.read_text())["isas"].values()) == set(r["isa"].split(" and "))
    )
    command("compress", model, tmp_path / "p.plan.safetensors", "--costs", table)


def test_a_table_that_cannot_be_written_is_refused_before_measuring(files, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("pycompress.advice.advise", None)
    assert "no such folder" in refused("advise", files / "net.onnx", "--save", tmp_path / "none" / "c.json")
    assert "is what is read" in refused("advise", files / "net.onnx", "--save", files / "net.onnx")
