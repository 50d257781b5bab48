"""Attention and MultiHeadAttention of ONNX Runtime's domain."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

B, S, N, D = 2, 5, 3, 4
MASKS = {
    "none": lambda rng, t: None,
    "lengths": lambda rng, t: rng.integers(1, t + 1, B),
    "keys": lambda rng, t: ones_first(rng.integers(0, 2, (B, t))),
    "queries": lambda rng, t: ones_first(rng.integers(0, 2, (B, S, t))),
}


def ones_first(mask):
    mask[..., 0] = 1
    return mask


def masked(kind, rng, t):
    mask = MASKS[kind](rng, t)
    return None if mask is None else mask.astype(np.int32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def agree(op, inputs, constants=(), outputs=1, **attributes):
    check(
        op, inputs, constants, outputs=outputs, domain="com.microsoft", opset=17, atol=1e-5, num_heads=N, **attributes
    )


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(
    "attributes",
    [{}, {"unidirectional": 1}, {"scale": 0.3, "mask_filter_value": -3e38}, {"qkv_hidden_sizes": [12, 12, 6]}],
)
@pytest.mark.parametrize("bias", [False, True])
def test_attention(rng, kind, attributes, bias):
    columns = sum(attributes.get("qkv_hidden_sizes", [N * D] * 3))
    inputs = {"x": floats(rng, B, S, 8), "w": floats(rng, 8, columns), "b": floats(rng, columns)}
    inputs |= {"m": masked(kind, rng, S), "past": None, "added": floats(rng, 1, N, S, S) if bias else None}
    agree("Attention", inputs, ("w", "b"), **attributes)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_past(rng, causal):
    inputs = {"x": floats(rng, B, S, 8), "w": floats(rng, 8, 3 * N * D), "b": floats(rng, 3 * N * D), "m": None}
    agree("Attention", inputs | {"past": floats(rng, 2, B, N, 2, D)}, ("w", "b"), outputs=2, unidirectional=causal)


def test_multi_head_attention_of_values_of_another_width(rng):
    agree("MultiHeadAttention", {"q": floats(rng, B, S, 12), "k": floats(rng, B, 7, 12), "v": floats(rng, B, 7, N * 2)})


@pytest.mark.parametrize("mask", [False, True])
def test_keys_and_values_that_are_split_into_heads_have_their_biases(rng, mask):
    inputs = {"q": floats(rng, B, S, N * D), "k": floats(rng, B, N, 7, D), "v": floats(rng, B, N, 7, D)}
    inputs |= {"bias": floats(rng, 3 * N * D), "m": masked("keys", rng, 7) if mask else None}
    agree("MultiHeadAttention", inputs, ("bias",))


def test_multi_head_attention_takes_tensors_apart_or_together(rng):
    """onnxruntime takes those together on GPUs alone."""
    q, k, v = (floats(rng, B, S, N, D) for _ in range(3))
    flat = {name: x.reshape(B, S, N * D) for name, x in zip("qkv", (q, k, v))}
    agree("MultiHeadAttention", flat)
    agree(
        "MultiHeadAttention", {"q": flat["q"], "k": k.transpose(0, 2, 1, 3).copy(), "v": v.transpose(0, 2, 1, 3).copy()}
    )

    def result(inputs):
        return ours(one_node("MultiHeadAttention", inputs, domain="com.microsoft", num_heads=N), inputs)[0][0]

    want = result(flat)
    np.testing.assert_array_equal(result({"q": flat["q"], "k": np.stack([k, v], 3)}), want)
    np.testing.assert_array_equal(result({"q": np.stack([q, k, v], 3)}), want)


@pytest.mark.parametrize("kind", ["none", "keys"])
@pytest.mark.parametrize("past", [False, True])
def test_multi_head_attention_with_bias_mask_and_past(rng, kind, past):
    inputs = {name: floats(rng, B, S, N * D) for name in "qkv"} | {"bias": floats(rng, 3 * N * D)}
    t = S + 2 if past else S
    inputs |= {"m": masked(kind, rng, t), "added": floats(rng, 1, N, S, t)}
    inputs |= {"pk": floats(rng, B, N, 2, D), "pv": floats(rng, B, N, 2, D)} if past else {}
    agree("MultiHeadAttention", inputs, ("bias",), outputs=3 if past else 1)


@pytest.mark.parametrize(
    "op, shapes, attributes, message",
    [
        ("Attention", {"x": (2, 5, 8), "w": (8, 35)}, {}, "do not fit 3 heads"),
        ("Attention", {"x": (2, 5, 8), "w": (8, 36)}, {"do_rotary": 1}, "'do_rotary' = 1 is not supported"),
        ("Attention", {"x": (2, 5, 8), "w": (8, 36), "b": (36,), "m": (2, 5)}, {}, "a mask must be int32"),
        ("MultiHeadAttention", {"q": (2, 5, 12)}, {}, "cannot read shapes"),
        (
            "MultiHeadAttention",
            {"q": (2, 5, 12), "k": (2, 5, 10), "v": (2, 5, 12)},
            {},
            "'num_heads' = 3 does not divide 10",
        ),
        ("MultiHeadAttention", {"q": (2, 5, 12), "k": (2, 5, 15), "v": (2, 5, 12)}, {}, "3 heads do not fit"),
        (
            "MultiHeadAttention",
            {"q": (2, 5, 12), "k": (2, 7, 12), "v": (2, 7, 12)},
            {"unidirectional": 1},
            "'unidirectional' of 5 queries and 7 keys",
        ),
    ],
)
def test_what_does_not_fit_is_refused(rng, op, shapes, attributes, message):
    inputs = {name: floats(rng, *shape) for name, shape in shapes.items()}
    model = one_node(op, inputs, domain="com.microsoft", num_heads=N, **attributes)
    with pytest.raises(ModelError, match="the_node.*" + message):
        ours(model, inputs)
