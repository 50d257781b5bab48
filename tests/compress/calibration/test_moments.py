import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pycompress.compress.calibration.moments import Moments

ATTRIBUTES = [
    {},
    {"pads": [1, 0, 2, 1], "strides": [2, 1]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"auto_pad": "VALID", "dilations": [2, 1]},
    {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
]


@pytest.mark.parametrize("attributes, groups", list(itertools.product(ATTRIBUTES, [1, 2, 4])))
def test_patches_are_what_the_convolution_meets(attributes, groups):
    """The mean of a convolution's output is its weights times the mean patch."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 4, 6, 5)) + 1).astype("f4")
    w = rng.standard_normal((4, 4 // groups, 3, 2)).astype("f4")
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=groups, **attributes)
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy"]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    y = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    p = Moments(node, w.shape)
    p.add(x, rng)
    flat = w.reshape(groups, 4 // groups, 4 // groups, 6).transpose(0, 1, 3, 2).reshape(groups, 4 // groups, -1)
    assert p.all.count == y.size // 4
    np.testing.assert_allclose(np.einsum("gnk,gk->gn", flat, p.mean).ravel(), y.mean((0, 2, 3)), atol=1e-5)
    variance = np.einsum("gnk,gkj,gnj->gn", flat, p.all.covariance(None), flat).ravel()
    np.testing.assert_allclose(variance, y.var((0, 2, 3)), rtol=1e-3)


def test_matrices_too_large_for_covariances_keep_their_variances():
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    x = np.random.default_rng(0).standard_normal((9, 4000)).astype("f4")
    p = Moments(node, (10, 4000))
    p.add(x, np.random.default_rng(0))
    np.testing.assert_allclose(p.covariance(False)[0], x.var(0), atol=1e-5)
    np.testing.assert_allclose(p.covariance(True)[0], np.square(x).mean(0), atol=1e-5)


def covariance_seen(rng, count, mix):
    """What is made of `count` samples of one output each whose covariance is mix.T @ mix."""
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    p = Moments(node, (1, len(mix)))
    for _ in range(count):
        p.add((rng.standard_normal((1, len(mix))) @ mix).astype("f4"), rng)
    return p


def test_few_samples_are_not_believed_and_many_are():
    rng = np.random.default_rng(0)
    mix = np.eye(40) + 0.3 * rng.standard_normal((40, 40))
    true = mix.T @ mix
    for count, most in ((1, 0.95), (12, 0.75), (4000, 1.02)):
        p = covariance_seen(rng, count, mix)
        plain, shrunk = p.second(p.all, True)[0], p.covariance(True)[0]
        assert np.linalg.norm(shrunk - true) < most * np.linalg.norm(plain - true)
        np.testing.assert_allclose(np.trace(shrunk), np.trace(plain), rtol=1e-4)
