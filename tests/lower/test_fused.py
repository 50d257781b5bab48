"""Operators of com.microsoft that ONNX Runtime's optimizer writes, against ONNX Runtime."""

import numpy as np
import pytest
from onnx import helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress.errors import ModelError

MS = {"domain": "com.microsoft"}


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "name,params",
    [("Relu", []), ("Sigmoid", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]),
     ("HardSigmoid", [0.3, 0.4]), ("HardSwish", [])],
)  # fmt: skip
def test_conv_with_its_activation(name, params):
    r = rng()
    more = {"activation_params": params} if params else {}
    inputs = {"x": floats(r, 2, 4, 7, 7), "w": floats(r, 6, 4, 3, 3), "b": floats(r, 6)}
    check("FusedConv", inputs, ("w", "b"), activation=name, pads=[1, 1, 1, 1], strides=[2, 1], atol=1e-4, **more, **MS)


@pytest.mark.parametrize("bias,groups", [(True, 1), (False, 2)])
def test_conv_adds_a_fourth_input_before_its_activation(bias, groups):
    r = rng()
    inputs = {"x": floats(r, 1, 4, 5, 5), "w": floats(r, 6, 4 // groups, 3, 3), "b": floats(r, 6) if bias else None,
              "z": floats(r, 1, 6, 5, 5)}  # fmt: skip
    check("FusedConv", inputs, ("w", "b"), activation="Relu", pads=[1] * 4, group=groups, atol=1e-4, **MS)


@pytest.mark.parametrize(
    "name,params",
    [("Relu", {}), ("Sigmoid", {}), ("Tanh", {}), ("Softplus", {}), ("Softsign", {}), ("Elu", {"alpha": 0.7}),
     ("LeakyRelu", {"alpha": 0.2}), ("ThresholdedRelu", {"alpha": 0.4}), ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
     ("Selu", {"alpha": 1.6, "gamma": 1.05})],
)  # fmt: skip
def test_gemm_with_its_activation(name, params):
    r = rng()
    params = {f"activation_{k}": v for k, v in params.items()}
    inputs = {"x": floats(r, 3, 7), "w": floats(r, 5, 7), "b": floats(r, 5)}
    check("FusedGemm", inputs, ("w", "b"), activation=name, transB=1, alpha=0.5, beta=2.0, atol=1e-4, **params, **MS)


@pytest.mark.parametrize(
    "name,more,words",
    [("LeakyRelu", {}, "LeakyRelu needs 1 parameters"), ("Mystery", {}, "'Mystery' is not supported")],
)
def test_activations_that_are_unknown_or_lack_a_parameter_are_refused(name, more, words):
    inputs = {"x": floats(rng(), 3, 7), "w": floats(rng(), 7, 5)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \(FusedGemm\): attribute 'activation'.*{words}"):
        ours(one_node("FusedGemm", inputs, ("w",), activation=name, **more, **MS), {"x": inputs["x"]})


@pytest.mark.parametrize("const", [(), ("b",)])
@pytest.mark.parametrize(
    "a,b,flags",
    [
        ((2, 4, 5), (2, 5, 6), {}),
        ((2, 5, 4), (2, 5, 6), {"transA": 1}),
        ((2, 4, 5), (2, 6, 5), {"transB": 1}),
        ((5, 4), (6, 5), {"transA": 1, "transB": 1}),
        ((5,), (5, 6), {}),
        ((4, 2, 3, 5), (5, 2, 3, 6), {"transBatchA": 1, "transBatchB": 1}),
        ((4, 2, 3, 5), (2, 3, 5, 6), {"transBatchA": 1}),
        ((5, 2, 3, 4), (2, 3, 5, 6), {"transBatchA": 1, "transA": 1}),
    ],
)
def test_products_of_turned_factors(a, b, flags, const):
    r = rng()
    inputs = {"a": floats(r, *a), "b": floats(r, *b)}
    check("FusedMatMul", inputs, const, alpha=0.125, atol=1e-4, **flags, **MS)


@pytest.mark.parametrize(
    "op,names", [("Gelu", "x"), ("BiasGelu", "xb"), ("FastGelu", "x"), ("FastGelu", "xb"), ("QuickGelu", "x")]
)
def test_gelus(op, names):
    inputs = {"x": floats(rng(), 2, 3, 8), "b": floats(rng(), 8)}
    check(op, {n: inputs[n] for n in names}, ("b",), **MS)


@pytest.mark.parametrize("skip", [(2, 3, 8), (1, 3, 8), (3, 8)])
@pytest.mark.parametrize("beta,bias", [(True, True), (True, False), (False, True), (False, False)])
def test_layer_normalization_of_a_sum(skip, beta, bias):
    r = rng()
    inputs = {"x": floats(r, 2, 3, 8), "s": floats(r, *skip), "g": floats(r, 8), "b": floats(r, 8) if beta else None,
              "c": floats(r, 8) if bias else None}  # fmt: skip
    check("SkipLayerNormalization", inputs, ("g", "b", "c"), epsilon=1e-5, atol=1e-4, **MS)


@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_the_sum_itself_is_an_output_too(op):
    r = rng()
    inputs = {"x": floats(r, 2, 3, 8), "s": floats(r, 2, 3, 8), "g": floats(r, 8)}
    node = helper.make_node(op, ["x", "s", "g"], ["y", "", "", "t"], epsilon=1e-5, **MS)
    model = as_model([node], inputs, ["y", "t"], ["g"])
    feed = {n: inputs[n] for n in "xs"}
    same(ours(model, feed)[0], ort_outputs(model, feed), atol=1e-4)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("placed", [False, True])
def test_words_become_normalized_embeddings(segments, masked, placed):
    rng = np.random.default_rng(0)
    inputs = {"w": rng.integers(0, 20, (2, 5)).astype(np.int32)}
    inputs["s"] = rng.integers(0, 2, (2, 5)).astype(np.int32) if segments else None
    inputs |= {"we": floats(rng, 20, 8), "pe": floats(rng, 6, 8), "se": floats(rng, 2, 8) if segments else None}
    inputs |= {"g": floats(rng, 8), "b": floats(rng, 8)}
    inputs["m"] = np.int32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]) if masked else None
    inputs["p"] = np.int32([[0, 1, 2, 3, 4], [5, 4, 3, 2, 1]]) if placed else None
    constants = ("we", "pe", "se", "g", "b")
    outputs = 3 if segments else 2
    check(
        "EmbedLayerNormalization", inputs, constants, domain="com.microsoft", outputs=outputs, epsilon=1e-12, atol=1e-4
    )


def test_a_mask_that_does_not_fit_is_refused():
    rng = np.random.default_rng(0)
    inputs = {"w": np.zeros((2, 5), np.int32), "s": None, "we": floats(rng, 20, 8), "pe": floats(rng, 6, 8), "se": None}
    inputs |= {"g": floats(rng, 8), "b": floats(rng, 8), "m": np.zeros((2, 4), np.int32)}
    model = one_node("EmbedLayerNormalization", inputs, domain="com.microsoft", outputs=2)
    with pytest.raises(ModelError, match=r"node 'the_node' \(EmbedLayerNormalization\): mask must be int32"):
        ours(model, {n: x for n, x in inputs.items() if x is not None})
