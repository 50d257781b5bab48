"""Networks of another shape: nearest separable convolutions, and sizes that grow together."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import zoo

pytest.importorskip("torch")

from pycompress.train.structure import Compound, fresh, least_squares, separable


def convolution(rank, seed=0, stride=2):
    """A model of one convolution 6 -> 8 whose kernels have `rank` per input channel."""
    random = np.random.default_rng(seed)
    w = np.einsum("rnc,rchw->nchw", random.standard_normal((rank, 8, 6)), random.standard_normal((rank, 6, 3, 3)))
    bias = random.standard_normal(8).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", pads=[1, 1, 1, 1], strides=[stride, stride])
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 6, 9, 9]), ("y", None))]
    tensors = [numpy_helper.from_array(w.astype(np.float32), "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), w


def answer(model, x):
    return pc.InferenceSession(model).run(None, {"x": x})[0]


@pytest.mark.parametrize("rank, multiplier", [(1, 1), (2, 2), (2, 3)])
def test_what_is_separable_does_not_change(rank, multiplier):
    model, _ = convolution(rank)
    x = np.random.default_rng(1).standard_normal((1, 6, 9, 9), np.float32)
    split = separable(model, ["conv"], multiplier=multiplier)
    assert [n.name for n in split.graph.node] == ["conv/depthwise", "conv/pointwise"]
    np.testing.assert_allclose(answer(split, x), answer(model, x), rtol=1e-4, atol=1e-3)


def test_the_rest_is_the_least_that_any_filters_leave():
    """Against alternating least squares from several starts."""
    _, w = convolution(4)
    depthwise, pointwise = least_squares(w)
    mine = np.square(np.einsum("nc,chw->nchw", pointwise[:, :, 0, 0], depthwise[:, 0]) - w).sum()
    for seed in range(5):
        d = np.random.default_rng(seed).standard_normal((6, 3, 3))
        for _ in range(200):
            p = np.einsum("nchw,chw->nc", w, d) / np.square(d).sum((1, 2))
            d = np.einsum("nchw,nc->chw", w, p) / np.square(p).sum(0)[:, None, None]
        assert mine <= np.square(np.einsum("nc,chw->nchw", p, d) - w).sum() * (1 + 1e-9)


def test_names_and_networks_without_such_convolutions_are_refused():
    model = zoo.build("mobilenetv1", width=0.25, resolution=32, classes=4)
    with pytest.raises(ValueError, match="there is no ordinary convolution"):
        separable(model)
    with pytest.raises(ValueError, match="'blocks.0.pointwise.conv' is no convolution"):
        separable(model, ["blocks.0.pointwise.conv"])
    with pytest.raises(ValueError, match="multiplier: 0"):
        separable(model, ["stem.conv"], multiplier=0)


def test_compound_scaling_doubles_the_work_for_each_unit():
    scaled = Compound()
    assert scaled.work(1) == pytest.approx(1.92, abs=0.01) and scaled.work(2) == pytest.approx(scaled.work(1) ** 2)
    assert scaled.layers(2, 0) == 2 and scaled.channels(32, 0) == 32 and scaled.resolution(28, 0) == 28
    assert scaled.resolution(28, 2, 4) % 4 == 0 and scaled.channels(30, 1) % 8 == 0
    found = Compound.candidates(2.0, 0.1, 0.05)
    assert found and all(1.9 <= c.work() <= 2.1 for c in found) and Compound(1.2, 1.1, 1.2) in found


def test_fresh_weights_keep_the_size_of_signals_and_differ_by_seed():
    model = zoo.build("mobilenetv2", width=0.5, resolution=32, classes=4)
    a, b, again = fresh(model, 1), fresh(model, 2), fresh(model, 1)
    assert a == again and a != b and [n.name for n in a.graph.node] == [n.name for n in model.graph.node]
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    assert 1e-4 < np.abs(pc.InferenceSession(a).run(None, {"input": x})[0]).max() < 100
    values = {t.name: numpy_helper.to_array(t) for t in a.graph.initializer}
    assert (values["stem.bn.weight"] == 1).all() and (values["stem.bn.running_mean"] == 0).all()
    assert values["six"] == 6 and (values["classifier.bias"] == 0).all()
