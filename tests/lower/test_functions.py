"""Operators that ONNX defines by others, against onnxruntime and onnx's reference."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from oracle import as_model, check, floats, one_node, ours, same
from pycompress import InferenceSession
from pycompress.errors import ModelError

CASES = [
    dict(),
    dict(is_causal=1),
    dict(scale=0.3, softcap=2.0),
    dict(qk_matmul_output_mode=1, outputs=4),
]


@pytest.mark.parametrize("how", CASES)
@pytest.mark.parametrize("shared", [1, 2])
def test_attention_by_heads(how, shared):
    rng = np.random.default_rng(0)
    q, k, v = floats(rng, 2, 4, 3, 8), floats(rng, 2, 4 // shared, 5, 8), floats(rng, 2, 4 // shared, 5, 6)
    outputs = how.get("outputs", 1)
    options = {n: x for n, x in how.items() if n != "outputs"}
    made = ["y", "", "", "s"][:outputs]
    node = helper.make_node("Attention", ["q", "k", "v"], made, name="the_node", **options)
    feed = {"q": q, "k": k, "v": v}
    model = as_model([node], feed, [n for n in made if n], opset=23)
    same(ours(model, feed)[0], reference(model, feed), 1e-4, 1e-5)


def reference(model, feed):
    given = type(model).FromString(model.SerializeToString())
    for port in given.graph.output:
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    return ReferenceEvaluator(given).run(None, feed)


def test_attention_of_rows_with_a_mask_and_a_past():
    rng = np.random.default_rng(0)
    inputs = {"q": floats(rng, 2, 3, 16), "k": floats(rng, 2, 4, 16), "v": floats(rng, 2, 4, 16)}
    inputs |= {"mask": rng.random((3, 7)) < 0.8, "pk": floats(rng, 2, 2, 3, 8), "pv": floats(rng, 2, 2, 3, 8)}
    inputs["mask"][:, 0] = True
    model = one_node("Attention", inputs, opset=23, outputs=3, q_num_heads=2, kv_num_heads=2)
    same(ours(model, inputs)[0], reference(model, inputs), 1e-4, 1e-5)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_positions_turn_pairs_of_numbers(interleaved):
    rng = np.random.default_rng(0)
    inputs = {
        "x": floats(rng, 2, 3, 4, 8),
        "c": floats(rng, 9, 4),
        "s": floats(rng, 9, 4),
        "p": rng.integers(0, 9, (2, 4)),
    }
    check("RotaryEmbedding", inputs, opset=23, interleaved=interleaved)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses(reduction, weighted):
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 3, 5, 2), "y": rng.integers(0, 5, (3, 2))}
    inputs |= {"w": abs(floats(rng, 5))} if weighted else {}
    for op in ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"):
        check(op, inputs, reduction=reduction, ignore_index=1)


def test_small_functions():
    x = floats(np.random.default_rng(0), 2, 3, 4, 5)
    check("Shrink", {"x": x}, bias=0.2, lambd=0.7)
    check("Shrink", {"x": x}, opset=9)
    check("MeanVarianceNormalization", {"x": x}, rtol=1e-4, atol=1e-4)
    check("CenterCropPad", {"x": x, "s": np.array([2, 6])}, ("s",), axes=[1, 3])
    theta = floats(np.random.default_rng(1), 2, 2, 3)
    for corners in (0, 1):
        check("AffineGrid", {"t": theta, "s": np.array([2, 1, 3, 4])}, ("s",), align_corners=corners)


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_a_window_s_size_may_be_an_input_of_a_session(op):
    session = InferenceSession(one_node(op, {"n": np.array(8)}, opset=17, periodic=0))
    model = one_node(op, {"n": np.array(8)}, opset=17, periodic=0)
    for n in (8, 11):
        want = reference(model, {"n": np.array(n)})
        same(session.run(None, {"n": np.array(n)}), want)


def test_what_is_wrong_inside_names_the_node_itself():
    with pytest.raises(
        ModelError, match=r"node 'the_node' \(SoftmaxCrossEntropyLoss\): attribute 'other' is not supported"
    ):
        inputs = {"x": np.zeros((3, 5), np.float32), "y": np.zeros(3, np.int64)}
        ours(one_node("SoftmaxCrossEntropyLoss", inputs, other=1), inputs)
    with pytest.raises(ModelError, match=r"node 'the_node' \(AffineGrid\): as ONNX defines it: node 'the_node/"):
        inputs = {"t": np.zeros((2, 2, 3), np.float32), "s": np.array([2, 1, 3, 4, 5, 6])}
        ours(one_node("AffineGrid", inputs, ("s",)), {"t": inputs["t"]})


def test_the_steps_of_a_definition_are_named_after_the_node():
    rng = np.random.default_rng(0)
    inputs = {n: floats(rng, 1, 2, 3, 8) for n in "qkv"}
    session = InferenceSession(one_node("Attention", inputs, opset=23))
    session.run(None, inputs)
    names = {row["node"] for row in session.explain()} - {""}
    assert names and all(name.startswith("the_node/") for name in names)
