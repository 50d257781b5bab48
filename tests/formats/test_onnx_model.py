"""Reading models: what is wrong with a file is said, by name."""

import numpy as np
import onnx
import pytest
from onnx import helper

from oracle import as_model, floats, one_node, ours
from pycompress.errors import ModelError
from pycompress.lower import LoadLimits, load, lower

X = np.zeros((1, 2), np.float32)


def relu():
    return one_node("Relu", {"x": X})


def two(first, second):
    return as_model([helper.make_node("Relu", *first), helper.make_node("Relu", *second)], {"x": X}, ["y"])


@pytest.mark.parametrize(
    "model,words",
    [
        (b"", "no graph"),
        (b"not a model", "not an ONNX model"),
        (relu().SerializeToString()[:-3], "not an ONNX model"),
        (two((["x"], ["y"]), (["x"], ["y"])), "'y' is made twice"),
        (two((["z"], ["y"]), (["x"], ["q"])), "'z' is not made by any node"),
        (two((["x"], ["a"]), (["a"], ["b"])), "output 'y' is not made"),
        (relu().SerializeToString().replace(b"the_node", b"the\xff\xfe\xfdde"), "not text"),
        (relu().SerializeToString().replace(b"the_node", b"the\0node"), "not text"),
        (two((["x"], ["y" * 5000]), (["y" * 5000], ["y"])), "longer than"),
    ],
)
def test_a_damaged_model_is_refused(model, words):
    with pytest.raises(ModelError, match=words):
        load(model)


def test_limits_hold_before_anything_is_computed():
    with pytest.raises(ModelError, match="more than 0 nodes"):
        load(relu(), limits=LoadLimits(nodes=0))
    with pytest.raises(ModelError, match="larger than 5 bytes"):
        load(relu().SerializeToString(), limits=LoadLimits(file_bytes=5))
    model = one_node("Tile", {"x": X, "r": np.array([2**20, 2**20])}, ("r",))
    with pytest.raises(ModelError, match=r"node 'the_node' \(Tile\): a tensor of shape .* is beyond the limits"):
        lower(load(model), {"x": (1, 2)})


def test_a_tensor_whose_data_do_not_fit_its_shape_is_refused():
    model = one_node("Add", {"x": X, "c": floats(np.random.default_rng(0), 2)}, ("c",))
    model.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(ModelError, match="'c'"):
        load(model)
    model.graph.initializer[0].dims[0] = 3
    with pytest.raises(ModelError, match="'c'"):
        load(model)


def test_external_data_needs_a_folder_and_stays_inside_it(tmp_path):
    model = one_node("Add", {"x": X, "c": floats(np.random.default_rng(0), 2)}, ("c",))
    (tmp_path / "inside").mkdir()
    onnx.save(model, tmp_path / "inside/m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(ModelError, match="base_dir"):
        load((tmp_path / "inside/m.onnx").read_bytes())
    assert load(tmp_path / "inside/m.onnx", base_dir=tmp_path / "inside").constants["c"].shape == (2,)
    (tmp_path / "inside/w.bin").rename(tmp_path / "w.bin")
    outside = onnx.load(tmp_path / "inside/m.onnx", load_external_data=False)
    for entry in outside.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../w.bin"
    with pytest.raises(ModelError, match="not a file in the model's folder or base_dir"):
        load(outside, base_dir=tmp_path / "inside")


def test_models_older_than_opset_7_are_brought_up():
    x = floats(np.random.default_rng(0), 2, 3, 4, 3)
    slope = np.float32([0.1, 0.2, 0.3])  # per channel then, though the last axis has as many
    model = as_model([helper.make_node("PRelu", ["x", "s"], ["y"])], {"x": x, "s": slope}, ["y"], ("s",), opset=6)
    want = np.where(x < 0, x * slope[:, None, None], x)
    np.testing.assert_allclose(ours(model, {"x": x})[0][0], want, rtol=1e-6)
