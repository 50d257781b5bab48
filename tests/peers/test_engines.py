import numpy as np
import pytest

from pycompress import peers, zoo
from pycompress.peers.memory import peak_memory


@pytest.fixture(scope="module")
def model():
    return zoo.mobilenetv2(width=0.35, resolution=32, classes=10)


@pytest.mark.parametrize("name", peers.ENGINES)
def test_engines_answer_alike_behind_one_interface(name, model):
    if not peers.installed()[name]:
        pytest.skip(f"{name} is not installed")
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    ours = peers.engine("pycompress").load(model.SerializeToString(), 1)
    try:
        other = peers.engine(name).load(model.SerializeToString(), 1)
    except ModuleNotFoundError as error:  # the engine is there, its converter is not
        pytest.skip(str(error))
    assert other.inputs == {"input": (np.dtype("float32"), (1, 3, 32, 32))}
    np.testing.assert_allclose(ours.run({"input": x})[0], other.run({"input": x})[0], atol=1e-4)


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert peers.installed()["onnxruntime"] is None
    with pytest.raises(ModuleNotFoundError, match="onnxruntime is not installed"):
        peers.engine("onnxruntime")
    with pytest.raises(ValueError, match="unknown engine"):
        peers.engine("numpy")


def test_memory_is_that_of_the_engine_s_own_process(model, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    nothing = peak_memory(None)
    assert 5e6 < nothing < 500e6
    if peers.installed()["onnxruntime"]:
        assert peak_memory("onnxruntime", tmp_path / "m.onnx") > nothing + 5e6
    with pytest.raises(RuntimeError, match="pycompress"):
        peak_memory("pycompress", tmp_path / "none.onnx")
