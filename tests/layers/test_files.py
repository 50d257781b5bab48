"""Layers in files: sparse ones, and several in one file."""

import json

import numpy as np
import pytest
from safetensors import numpy as safetensors
from safetensors import safe_open

from pycompress import layers

RNG = np.random.default_rng(0)
W = RNG.standard_normal((33, 96)).astype(np.float32) * (RNG.random((33, 96)) < 0.3)
BIAS = RNG.standard_normal(33).astype(np.float32)
ALL = {
    "block.0.sparse": layers.SparseLinear.from_dense(W, BIAS),
    "block.0.half": layers.HalfLinear.from_dense(W, BIAS),
    "block.1.low": layers.LowRankLinear.from_dense(W, rank=5),
    "block.1.q8": layers.QuantizedLinear.from_dense(W, BIAS),
    "q4": layers.QuantizedLinear.from_dense(W, bits=4),
    "q4.wide": layers.QuantizedLinear.from_dense(W, BIAS, bits=4, group_size=64, symmetric=False),
}
X = RNG.standard_normal((4, 96)).astype(np.float32)


@pytest.mark.parametrize("name", ["", "model.up"])
@pytest.mark.parametrize("bias", [None, BIAS])
def test_a_saved_sparse_layer_is_the_same(name, bias, tmp_path):
    layer = layers.SparseLinear.from_dense(W, bias)
    layer.save(tmp_path / "l.safetensors", name)
    again = layers.SparseLinear.load(tmp_path / "l.safetensors", name)
    assert again.shape == layer.shape and again.nbytes == layer.nbytes
    np.testing.assert_array_equal(again(X), layer(X))
    tensors = safetensors.load_file(tmp_path / "l.safetensors")
    assert {key.rpartition(".")[2] for key in tensors} >= {
        "weight_data",
        "weight_indices",
        "weight_indptr",
        "weight_shape",
    }
    assert {x.dtype.name for key, x in tensors.items() if key.endswith("indices")} == {"uint16"}


@pytest.mark.parametrize("change", [
    {"weight_indices": np.array([0, 99], np.uint16)}, {"weight_indptr": np.array([0, 2], np.int32)}, {"other": np.zeros(1)},
    {"weight_indptr": np.array([0, 2, 1], np.int32)}, {"weight_shape": np.array([2, 70000])}, {"weight_shape": np.array([2])},
    {"weight_shape": np.array([2.0, 3])}, {"weight_data": np.ones(3, np.float32)}, {"bias": np.ones(3, np.float32)},
    {"weight_data": np.ones((2, 1), np.float32)}, {"weight_shape": np.array([-1, 3])},
])  # fmt: skip
def test_files_that_hold_no_sparse_matrix_are_refused(change, tmp_path):
    good = {
        "weight_data": np.ones(2, np.float32), "weight_indices": np.array([0, 2], np.uint16),
        "weight_indptr": np.array([0, 1, 2], np.int32), "weight_shape": np.array([2, 3]),
    }  # fmt: skip
    safetensors.save_file(good, tmp_path / "l.safetensors")
    assert layers.SparseLinear.load(tmp_path / "l.safetensors").shape == (2, 3)
    safetensors.save_file(good | change, tmp_path / "l.safetensors")
    with pytest.raises((TypeError, ValueError)):
        layers.SparseLinear.load(tmp_path / "l.safetensors")
    with pytest.raises(KeyError, match="no module 'x'"):
        layers.SparseLinear.load(tmp_path / "l.safetensors", "x")


def test_several_layers_in_one_file_are_the_same_again(tmp_path):
    layers.save(tmp_path / "l.safetensors", ALL)
    again = layers.load(tmp_path / "l.safetensors")
    assert list(again) == sorted(ALL)
    for name, layer in ALL.items():
        assert type(again[name]) is type(layer) and repr(again[name]) == repr(layer)
        np.testing.assert_array_equal(again[name](X), layer(X))
        np.testing.assert_array_equal(type(layer).load(tmp_path / "l.safetensors", name)(X), layer(X))
    with safe_open(tmp_path / "l.safetensors", "numpy") as file:
        config = json.loads(file.metadata()["quantization_config"])
    assert config["format"] == "mixed-precision" and config["quant_method"] == "compressed-tensors"
    groups = {group["targets"][0]: group for group in config["config_groups"].values()}
    assert groups["q4.wide"]["weights"]["group_size"] == 64 and groups["block.1.q8"]["format"] == "int-quantized"


def test_what_is_not_a_layer_is_neither_written_nor_read(tmp_path):
    for bad in ({"a": W}, {3: ALL["q4"]}):
        with pytest.raises(TypeError, match="layers by name"):
            layers.save(tmp_path / "l.safetensors", bad)
    assert not list(tmp_path.iterdir())
    safetensors.save_file({"norm.gamma": np.ones(3, np.float32)}, tmp_path / "l.safetensors")
    with pytest.raises(ValueError, match="module 'norm' is none of the layers"):
        layers.load(tmp_path / "l.safetensors")
    safetensors.save_file({"up.weight": np.ones(3, np.float32)}, tmp_path / "l.safetensors")
    with pytest.raises(ValueError, match=r"l.safetensors: module 'up': "):
        layers.load(tmp_path / "l.safetensors")
    (tmp_path / "l.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="no safetensors file"):
        layers.load(tmp_path / "l.safetensors")
