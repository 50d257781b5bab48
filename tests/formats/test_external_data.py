"""Tensors stored beside the model: read by default from its own folder, and from nowhere else."""

import os

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import pycompress as pc
from oracle import as_model, floats
from pycompress.errors import ModelError
from pycompress.lower import load

W, X = floats(np.random.default_rng(0), 16, 16), floats(np.random.default_rng(1), 2, 16)


def model(count=1):
    nodes = [helper.make_node("MatMul", ["x" if not i else f"t{i}", f"w{i}"], [f"t{i + 1}"]) for i in range(count)]
    constants = {f"w{i}": W for i in range(count)}
    made = as_model(nodes, {"x": X} | constants, [f"t{count}"], list(constants))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info(f"t{count}", onnx.TensorProto.FLOAT, None))
    return made


def saved(folder, name="m.onnx", location="w.bin", **how):
    folder.mkdir(exist_ok=True)
    onnx.save(model(**how), folder / name, save_as_external_data=True, location=location, size_threshold=0)
    return folder / name


def run(source, **how):
    return pc.InferenceSession(source, **how).run(None, {"x": X})[0]


def located(path, location, **more):
    """The model with its external data said to be elsewhere."""
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        entries = {e.key: e.value for e in tensor.external_data} | {"location": location} | more
        del tensor.external_data[:]
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    return proto


def test_data_beside_the_model_is_read_without_being_asked(tmp_path):
    path = saved(tmp_path / "a")
    np.testing.assert_allclose(run(path), X @ W, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(str(path)), X @ W, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(run(pc.compile(path)), X @ W, rtol=1e-4, atol=1e-4)
    pruned = pc.prune(path, 0.5, exclude=[])
    assert (numpy_helper.to_array(pruned.graph.initializer[0]) == 0).mean() == 0.5
    with pytest.raises(ModelError, match="'w0': its data is stored outside the model: give base_dir"):
        load(path.read_bytes())
    np.testing.assert_allclose(run(path.read_bytes(), base_dir=path.parent), X @ W, rtol=1e-4, atol=1e-4)


def test_a_cache_of_links_into_one_folder_is_read_by_its_real_files(tmp_path):
    path = saved(tmp_path / "blobs", "m.onnx", "m.onnx.data")
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for name, blob in (("m.onnx", "aaa"), ("m.onnx.data", "bbb")):
        os.rename(path.parent / name, path.parent / blob)
        os.symlink(f"../../blobs/{blob}", snapshot / name)
    np.testing.assert_allclose(run(snapshot / "m.onnx"), X @ W, rtol=1e-4, atol=1e-4)


def test_hard_links_are_files_like_any_other(tmp_path):
    path = saved(tmp_path / "a")
    other = tmp_path / "b"
    other.mkdir()
    for name in ("m.onnx", "w.bin"):
        os.link(path.parent / name, other / name)
    np.testing.assert_allclose(run(other / "m.onnx"), X @ W, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "", "sub/../../w.bin", "nothing.bin", ".", "a\0b"])
def test_locations_outside_the_folder_are_refused(tmp_path, location):
    path = saved(tmp_path / "a")
    (tmp_path / "w.bin").write_bytes((path.parent / "w.bin").read_bytes())
    (path.parent / "sub").mkdir()
    proto = located(path, location)
    with pytest.raises(ModelError, match="'w0'"):
        load(proto, base_dir=path.parent)


def test_a_link_that_leads_out_of_the_folder_and_what_is_no_file_are_refused(tmp_path):
    path = saved(tmp_path / "a")
    os.rename(path.parent / "w.bin", tmp_path / "secret")
    os.symlink(tmp_path / "secret", path.parent / "w.bin")
    with pytest.raises(ModelError, match="is not a file in the model's folder or base_dir"):
        load(path)
    os.unlink(path.parent / "w.bin")
    os.mkfifo(path.parent / "w.bin")
    with pytest.raises(ModelError, match="is not a file in the model's folder or base_dir"):
        load(path)


@pytest.mark.parametrize(
    "more,words",
    [
        ({"offset": -1}, "outside"),
        ({"length": 10**9}, "outside"),
        ({"offset": "x"}, "integers"),
        ({"length": 8}, "do not fit its shape"),
        ({"mode": "w"}, "key 'mode' is not known"),
    ],
)
def test_offsets_and_lengths_must_fit_file_and_shape(tmp_path, more, words):
    path = saved(tmp_path / "a")
    with pytest.raises(ModelError, match=words):
        load(located(path, "w.bin", **more), base_dir=path.parent)


def test_a_file_that_many_tensors_name_is_held_once(tmp_path):
    path = saved(tmp_path / "a", count=3)
    loaded = load(located(path, "w.bin", offset=0), base_dir=path.parent)
    assert len({id(x.base.base if x.base.base is not None else x.base) for x in loaded.constants.values()}) == 1
