import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import pycompress as pc  # noqa: E402
from pycompress import zoo  # noqa: E402
from pycompress.train import Twin, fold  # noqa: E402


def images(count=8):
    return np.random.default_rng(0).standard_normal((count, 3, 32, 32), np.float32)


def answer(model):
    return pc.InferenceSession(model).run(None, {"input": images()})[0]


@pytest.mark.parametrize("name", zoo.names())
def test_a_folded_network_is_the_same_function(name):
    twin = Twin(zoo.build(name, width=0.25, resolution=32, batch=None, classes=10)).train()
    twin(torch.from_numpy(images()))  # moves the statistics
    model, folded = twin.onnx(), fold(twin)
    assert not any(n.op_type == "BatchNormalization" for n in folded.graph.node)
    expected = answer(model)
    np.testing.assert_allclose(answer(folded), expected, atol=1e-5 * np.abs(expected).max())
    assert answer(fold(model)).tolist() == answer(folded).tolist()


def test_masked_weights_stay_zero():
    twin = Twin(zoo.mobilenetv2(width=0.25, resolution=32, batch=None, classes=10))
    layer = next(layer for layer in twin.layers if layer.pointwise)
    twin.masks[layer.weight] = torch.rand_like(layer.parameter) < 0.5
    again = {one.node: one for one in Twin(fold(twin)).layers}[layer.node]
    assert torch.equal(again.parameter != 0, twin.masks[layer.weight] > 0)
