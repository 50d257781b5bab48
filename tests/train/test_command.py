"""The command trains, is killed, and goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("yaml")

from pycompress.cli import main

RECIPE = """
model: net.onnx
fresh: true
data: {path: digits, validation: 300}
train: {epochs: 5, batch: 32, rate: 0.1, ema: 0.5, save_seconds: 0}
augment: {shift: 1}
distill: {teacher: self, weight: 0.5}
sparsify: {sparsity: 0.5, every: 4, begin: 0.1, end: 0.5}
quantize: {epochs: 2, samples: 64}
"""


@pytest.fixture
def folder(tmp_path, tiny):
    (tmp_path / "net.onnx").write_bytes(tiny.SerializeToString())
    (tmp_path / "r.yaml").write_text(RECIPE)
    return tmp_path


def command(folder, out, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    line = [sys.executable, "-m", "pycompress", "train", str(folder / "r.yaml"), "--out", str(folder / out), "--json"]
    return subprocess.Popen([*line, "--threads", "1", *words], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def finished(folder, out, *words):
    process = command(folder, out, *words)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in printed.splitlines()]


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(folder):
    whole = finished(folder, "whole")
    assert whole[-1]["event"] == "result" and whole[-1]["accuracy"] > 0.5
    assert list(whole[-1]["stages"]) == ["alone", "train", "quantize", "qat"]
    for size in (200, 1500):  # of the log: the kills come in different stages
        process = command(folder, "killed", "--resume")
        log, end = folder / "killed" / "log.jsonl", time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            if log.exists() and log.stat().st_size > size:
                time.sleep(0.05)  # into an epoch
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    told = finished(folder, "killed", "--resume")
    files = [(folder / out / "model.onnx").read_bytes() for out in ("whole", "killed")]
    assert files[0] == files[1]
    assert told[-1]["accuracy"] == whole[-1]["accuracy"]
    assert not list((folder / "killed").glob("*.checkpoint"))


def test_what_is_there_is_not_overwritten_and_other_recipes_are_refused(folder, capsys):
    text = RECIPE.split("distill")[0].replace("epochs: 5", "epochs: 1")
    (folder / "r.yaml").write_text(text)
    words = ["train", str(folder / "r.yaml"), "--quiet"]
    assert main(words) == 0
    assert "test images" in capsys.readouterr().out
    assert main(words) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    (folder / "r.yaml").write_text(text.replace("rate: 0.1", "rate: 0.2"))
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "recipe.train.rate was 0.1 and is 0.2" in capsys.readouterr().err
    (folder / "r.yaml").write_text(text.replace("300", "200"))
    assert main([*words, "--resume"]) == 2
    assert "run on other data" in capsys.readouterr().err


def test_mistakes_are_said_in_one_line(folder, capsys):
    (folder / "r.yaml").write_text("trian: {}")
    assert main(["train", str(folder / "r.yaml")]) == 2
    assert capsys.readouterr().err == "pycompress train: recipe.trian: unknown key; did you mean train?\n"
    assert main(["train", str(folder / "none.yaml")]) == 2
    assert "no such recipe" in capsys.readouterr().err
    assert not (folder / "r").exists()
