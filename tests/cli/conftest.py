"""A small network in all its forms, made once."""

import json

import numpy as np
import pytest
from PIL import Image

import pycompress
from pycompress import zoo
from pycompress.cli import main

SIZE = 48
PREPROCESS = {"mean": 127.0, "std": 128.0}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The folder that holds net.onnx, int8.onnx, net.plan.safetensors, images.plan.safetensors, cat.png."""
    folder = tmp_path_factory.mktemp("cli")
    model = zoo.mobilenetv2(width=0.35, resolution=SIZE, classes=10)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 1, 3, SIZE, SIZE)).astype(np.float32) / 128 - 1
    (folder / "int8.onnx").write_bytes(pycompress.quantize(model, iter(images)).SerializeToString())
    pycompress.compile(model).save(folder / "net.plan.safetensors")
    labels = [f"class {i}" for i in range(10)]
    pycompress.compile(model, preprocess=PREPROCESS, labels=labels).save(folder / "images.plan.safetensors")
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / "cat.png")
    np.save(folder / "x.npy", images[0])
    return folder


@pytest.fixture
def command(capsys):
    """Runs a command that must succeed; what it printed, of --json as values."""

    def run(*words, code=0):
        got = main([str(w) for w in words])
        printed = capsys.readouterr()
        assert got == code, printed.err
        return json.loads(printed.out) if "--json" in words else printed.out

    return run


@pytest.fixture
def refused(capsys):
    """Runs a command that must be refused; the one line it says."""

    def run(*words):
        assert main([str(w) for w in words]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        return printed.err.strip()

    return run
