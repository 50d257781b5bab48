import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pycompress.compress.calibration.moments import STRIP, Moments

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
    for count, bound in ((1, 0.95), (12, 0.75), (4000, 1.02)):
        p = covariance_seen(rng, count, mix)
        plain, shrunk = p.second(p.all, True)[0], p.covariance(True)[0]
        assert np.linalg.norm(shrunk - true) < bound * np.linalg.norm(plain - true)
        np.testing.assert_allclose(np.trace(shrunk), np.trace(plain), rtol=1e-4)


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1.0, 1e12, 1e18, 1e30])
@pytest.mark.parametrize("k", [6, 4000])
def test_covariances_of_any_magnitude_are_those_of_magnitude_1(size, k):
    rng = np.random.default_rng(0)
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    x = rng.standard_normal((5, 9, k)) * np.geomspace(1, 1e-3, k) + 3
    plain, scaled = Moments(node, (10, k)), Moments(node, (10, k))
    for sample in x:
        plain.add(sample.astype("f4"), rng)
        scaled.add((sample * size).astype("f4"), rng)
    np.testing.assert_allclose(scaled.mean / size, plain.mean, rtol=1e-5)
    for about_zero in (True, False):
        factor = np.square(scaled.unit * size / plain.unit)
        got, wanted = scaled.covariance(about_zero) / factor, plain.covariance(about_zero)
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-5 * np.abs(wanted).max())


def test_samples_that_grow_do_not_overflow_and_small_ones_before_them_are_not_lost():
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    p, rng = Moments(node, (1, 2)), np.random.default_rng(0)
    for size in (1e-20, 1.0, 1e18):
        p.add((rng.standard_normal((50, 2)) * size).astype("f4"), rng)
    c = p.covariance(False) / p.unit**2
    assert np.isfinite(c).all() and 1e34 < c[0, 0, 0] < 1e37


def test_a_large_mean_does_not_hide_a_small_variance():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3)) * 0.01 + np.array([1000, -1000, 0])
    node = onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    p = Moments(node, (1, 3))
    p.add(x.astype("f4"), rng)
    np.testing.assert_allclose(p.all.covariance(None)[0].diagonal(), x.astype("f4").var(0, dtype=float), rtol=1e-3)


@pytest.mark.parametrize("k", [2 * STRIP - 1, 2 * STRIP, 2 * STRIP + 5])
@pytest.mark.parametrize("kind", [float, np.float32])
def test_covariances_summed_by_strips_are_whole(k, kind):
    rng = np.random.default_rng(4)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    p, x = Moments(node, (k, 8)), rng.standard_normal((6, 50, k)).astype("f4")
    for sample in x:
        p.add(sample, rng)
    wanted = np.cov(x.reshape(-1, k).T, bias=True)
    np.testing.assert_allclose(p.second(p.all, False, kind)[0], wanted, atol=1e-5)
    c = p.covariance(False)[0]
    assert c.dtype == np.float32 and (c == c.T).all()
    for zero in (False, True):
        share, level = p.shrinkage(zero)
        wanted = p.second(p.all, zero)[0] * (1 - share) + np.eye(k) * share * level
        np.testing.assert_allclose(p.covariance(zero)[0], wanted, atol=1e-5)
