"""Normalizations against onnxruntime."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from oracle import check, floats, one_node, ours, same
from pycompress.errors import ModelError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 7), (2, 5, 3, 4)])
@pytest.mark.parametrize("constant", [True, False])
def test_batch_normalization(rng, shape, constant):
    c = shape[1]
    inputs = {
        "x": floats(rng, *shape),
        "s": floats(rng, c),
        "b": floats(rng, c),
        "m": floats(rng, c),
        "v": abs(floats(rng, c)),
    }
    names = ("s", "b", "m", "v") if constant else ()
    for opset in (8, 9, 15):
        check("BatchNormalization", inputs, names, epsilon=0.01, opset=opset, atol=1e-4)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_layer_normalization(rng, axis):
    x = floats(rng, 2, 3, 7)
    tail = x.shape[axis:]
    check("LayerNormalization", {"x": x, "s": floats(rng, *tail), "b": floats(rng, *tail)}, ("s", "b"), axis=axis)
    check("LayerNormalization", {"x": x, "s": floats(rng, *tail)}, axis=axis, epsilon=0.1)
    check("LayerNormalization", {"x": x, "s": floats(rng, *tail), "b": floats(rng, *tail)}, axis=axis, outputs=3)


def test_layer_normalization_of_a_transposed_tensor_with_broadcast_parameters(rng):
    inputs = {"x": floats(rng, 2, 3, 7), "s": floats(rng, 7)}
    model = one_node("RMSNormalization", inputs, ("s",), axis=1)
    same(ours(model, {"x": inputs["x"]})[0], ReferenceEvaluator(model).run(None, {"x": inputs["x"]}))


@pytest.mark.parametrize("image", [(6,), (4, 5)])
def test_instance_and_group_normalization(rng, image):
    inputs = {"x": floats(rng, 2, 6, *image), "s": floats(rng, 6), "b": floats(rng, 6)}
    check("InstanceNormalization", inputs, ("s", "b"))
    check("InstanceNormalization", inputs)
    for groups in (1, 2, 6):
        check("GroupNormalization", inputs, ("s", "b"), num_groups=groups, opset=21)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(rng, size):
    check("LRN", {"x": floats(rng, 2, 7, 3, 4)}, size=size, alpha=0.1, beta=0.5, bias=2.0)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_normalization(rng, p):
    x = floats(rng, 2, 7, 3)
    x[0, 1] = 0
    check("LpNormalization", {"x": x}, p=p)
    model = one_node("LpNormalization", {"x": x}, p=p, axis=-1)
    assert not ours(model, {"x": x})[0][0][0, 1].any()


@pytest.mark.parametrize(
    "op,parameters,attributes,words",
    [
        ("BatchNormalization", [(4,)] * 4, {}, "do not fit"),
        ("BatchNormalization", [(3,)] * 4, {"training_mode": 2}, "'training_mode'"),
        ("LayerNormalization", [(5,)], {}, "broadcast"),
        ("LayerNormalization", [(4,)], {"axis": 3}, "'axis'"),
        ("LayerNormalization", [(4,)], {"stash_type": 10}, "'stash_type'"),
        ("InstanceNormalization", [(2,), (2,)], {}, "must have 3"),
        ("GroupNormalization", [(3,), (3,)], {"num_groups": 2}, "groups"),
        ("LRN", [], {"size": 0}, "'size'"),
        ("LpNormalization", [], {"p": 3}, "'p'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, parameters, attributes, words):
    inputs = {"x": np.zeros((2, 3, 4), np.float32)}
    inputs |= {f"p{i}": np.zeros(s, np.float32) for i, s in enumerate(parameters)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, **attributes), inputs)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("opset", [13, 17])
def test_training_takes_mean_and_variance_from_the_batch_and_keeps_running_ones(constant, opset):
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 4, 3, 5, 6)} | {n: floats(rng, 3) for n in ("s", "b", "m")} | {"v": abs(floats(rng, 3))}
    how = {"training_mode": 1, "outputs": 3} if opset > 13 else {"outputs": 5}  # before opset 14 by the outputs
    names = tuple(inputs) if constant else ()
    model = one_node("BatchNormalization", inputs, names, opset=opset, momentum=0.75, **how)
    results, program = ours(model, {} if constant else inputs)
    y, mean, variance = results[:3]
    assert not (constant and {"reduce", "binary"} & {step.kernel for step in program.steps})
    x = inputs["x"].astype(np.float64)
    own, spread = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shape = (1, 3, 1, 1)
    want = (x - own.reshape(shape)) / np.sqrt(spread + 1e-5).reshape(shape)
    want = want * inputs["s"].reshape(shape) + inputs["b"].reshape(shape)
    np.testing.assert_allclose(y, want, 1e-5, 1e-5)
    np.testing.assert_allclose(mean, 0.75 * inputs["m"] + 0.25 * own, 1e-5, 1e-5)
    np.testing.assert_allclose(variance, 0.75 * inputs["v"] + 0.25 * spread, 1e-5, 1e-5)
