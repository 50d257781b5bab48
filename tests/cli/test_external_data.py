"""Models whose tensors lie in a file beside them, as torch exports them by default."""

import numpy as np
import onnx
import pytest


@pytest.fixture
def beside(files, tmp_path):
    """net.onnx with its weights in net.onnx.data."""
    path = tmp_path / "net.onnx"
    onnx.save(
        onnx.load(files / "net.onnx"), path, save_as_external_data=True, location="net.onnx.data", size_threshold=0
    )
    return path


def test_every_command_reads_the_data_beside_the_model(beside, files, tmp_path, command):
    outputs = []
    for path in (files / "net.onnx", beside):
        command("run", path, files / "x.npy", "--out", tmp_path / "y.npy", "--threads", 1)
        outputs.append(np.load(tmp_path / "y.npy"))
    np.testing.assert_array_equal(*outputs)
    assert command("info", beside, "--json")["inputs"] == command("info", files / "net.onnx", "--json")["inputs"]
    command("compress", beside, tmp_path / "out.onnx", "--prune", 0.5)
    command("run", tmp_path / "out.onnx", files / "x.npy")  # it holds its weights itself


def test_missing_data_is_told_by_tensor_and_place(beside, refused):
    beside.with_name("net.onnx.data").unlink()
    assert "external data at 'net.onnx.data' is not a file in the model's folder" in refused("info", beside)
