import json

import numpy as np
import pytest

import pycompress
from pycompress import peers, zoo
from pycompress.peers import ncnn


@pytest.fixture(scope="module")
def model():
    return zoo.mobilenetv2(width=0.35, resolution=32, classes=10)


def test_without_pnnx_it_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setattr(ncnn, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="ncnn needs pnnx to read .onnx files: pip install --no-deps pnnx"):
        ncnn.convert(model.SerializeToString(), tmp_path)


def test_quantized_models_and_what_pnnx_fails_at_are_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(ncnn, "_program", lambda: "/bin/false")
    samples = iter(np.random.default_rng(0).standard_normal((2, 1, 3, 32, 32), np.float32))
    with pytest.raises(NotImplementedError, match="quantized"):
        ncnn.convert(pycompress.quantize(model, samples).SerializeToString(), tmp_path)
    with pytest.raises(NotImplementedError, match="pnnx cannot convert the model: exit code 1"):
        ncnn.convert(model.SerializeToString(), tmp_path)


def test_a_converted_file_answers_as_the_model_does(model, tmp_path):
    if not peers.installed()["ncnn"]:
        pytest.skip("ncnn is not installed")
    try:
        path = ncnn.convert(model.SerializeToString(), tmp_path)
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    assert json.loads((tmp_path / "model.ncnn.json").read_text()) == {"inputs": {"input": [1, 3, 32, 32]}, "outputs": 1}
    feed = {"input": np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)}
    for threads in (1, 2):
        runner = ncnn.load(path, threads)
        (got,) = peers.call(runner, feed)()
        np.testing.assert_allclose(got, peers.engine("pycompress").load(model, 1).run(feed)[0], atol=1e-4)
