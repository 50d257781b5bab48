"""``compress --finetune``: what a step took away is learned again from the network as it was."""

import json

import numpy as np
import onnx
import pytest

pytest.importorskip("torch")

from pycompress import zoo
from pycompress.cli import main
from pycompress.train import data, feed
from pycompress.train import finetune as finetuning
from pycompress.train.data import Normalize
from pycompress.train.feed import accuracy
from pycompress.train.sparsify import zeros_of

NORMALIZE = Normalize((0.5,), (0.25,), 1)
FLAGS = ["--finetune", "digits", "--mean", "127.5", "--std", "63.75", "--quiet"]


def right(path):
    return accuracy(onnx.load(path), data.load("digits", "test"), NORMALIZE)


def test_training_brings_back_what_pruning_took(trained_tiny, tmp_path):
    small, plain = tmp_path / "small.onnx", tmp_path / "plain.onnx"
    assert main(["compress", str(trained_tiny), str(plain), "--prune", "0.7", "--quiet"]) == 0
    assert main(["compress", str(trained_tiny), str(small), "--prune", "0.7", *FLAGS]) == 0
    assert right(small) > right(plain) + 0.05
    zeros = [1 - mask.mean() for mask in zeros_of(onnx.load(small)).values()]
    assert np.mean(zeros) > 0.5


def test_pixels_are_normalized_as_training_did(trained_tiny, tmp_path, capsys):
    line = [
        "compress",
        str(trained_tiny),
        str(tmp_path / "x.onnx"),
        "--prune",
        "0.3",
        "--finetune",
        "digits",
        "--quiet",
    ]
    assert main([*line, "--epochs", "1"]) == 0  # the model's metadata say how
    assert right(tmp_path / "x.onnx") > 0.85 and "warning" not in capsys.readouterr().err
    assert main([*line, "--epochs", "1", "--mean", "9000", "--std", "1"]) == 0
    assert "are --mean and --std what it was trained with" in capsys.readouterr().err


def test_a_quantized_network_keeps_its_zeros(trained_tiny, tmp_path, capsys):
    words = ["compress", str(trained_tiny), str(tmp_path / "q.onnx"), "--prune", "0.5", "--quantize", "--epochs", "2"]
    assert main([*words, *FLAGS, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["steps"]) == ["prune", "quantize"]
    assert right(tmp_path / "q.onnx") > 0.8
    codes = [onnx.numpy_helper.to_array(t) for t in onnx.load(tmp_path / "q.onnx").graph.initializer]
    large = [c for c in codes if c.dtype == np.int8 and c.ndim == 4 and c.size >= 512]
    assert len(large) == 3 and np.mean(np.concatenate([c.ravel() for c in large]) == 0) > 0.49


def test_training_that_was_cut_off_goes_on_to_the_same_bytes(trained_tiny, tmp_path, capsys, monkeypatch):
    def words(name, *more):
        return [
            "compress",
            str(trained_tiny),
            str(tmp_path / name),
            "--prune",
            "0.5",
            "--quantize",
            "--epochs",
            "2",
            *FLAGS,
            *more,
        ]

    assert main(words("whole.onnx")) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["whole.onnx"], "what --resume needs is gone when OUT is written"
    measured, accuracies = [], feed.accuracy

    def cut(*args):
        measured.append(0)
        if len(measured) == stop:
            raise KeyboardInterrupt
        return accuracies(*args)

    monkeypatch.setattr(finetuning, "accuracy", cut)
    for stop in (2, 4):  # noqa: B007 (`cut` looks at it) after the second epoch of the first training, and within the second one
        assert main(words("x.onnx", "--resume")) == 130
        assert not (tmp_path / "x.onnx").exists()
    monkeypatch.undo()
    assert sorted(p.suffix for p in (tmp_path / "x.onnx.training").iterdir() if "trained" in p.name)
    capsys.readouterr()
    assert main(words("x.onnx")) == 2
    assert "x.onnx.training is what a run that was cut off has left: go on with --resume" in capsys.readouterr().err
    assert main([*words("x.onnx", "--resume"), "--rate", "0.1"]) == 2
    assert "recipe.train.rate was 0.02 and is 0.1" in capsys.readouterr().err
    assert main(words("x.onnx", "--resume")) == 0
    assert (tmp_path / "x.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert not (tmp_path / "x.onnx.training").exists()


def test_options_without_effect_are_refused(trained_tiny, tmp_path, capsys):
    line = ["compress", str(trained_tiny), str(tmp_path / "x.onnx")]
    assert main([*line, "--cast", "float16", "--finetune", "digits"]) == 2
    assert "--finetune trains after --prune" in capsys.readouterr().err
    assert main([*line, "--prune", "0.5", "--epochs", "3"]) == 2
    assert "--epochs is for --finetune" in capsys.readouterr().err
    assert main([*line, "--prune", "0.5", "--resume"]) == 2
    assert "--resume is for --finetune" in capsys.readouterr().err
    assert main([*line, "--prune", "0.5", "--finetune", "nowhere"]) == 2
    assert "no such folder of images: nowhere" in capsys.readouterr().err
    assert main([*line, "--prune", "0.5", "--finetune", "digits", "--rate", "-1"]) == 2
    assert "rate: -1.0 is out of range" in capsys.readouterr().err
    wide = zoo.mobilenetv1(width=0.25, resolution=32, classes=10)
    wide.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 64
    onnx.save(wide, tmp_path / "wide.onnx")
    assert main(["compress", str(tmp_path / "wide.onnx"), line[2], "--prune", "0.5", "--finetune", "digits"]) == 2
    assert "must take square images" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()
