"""MatMulNBits of ONNX Runtime's domain."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

import pycompress as pc
from int4_models import Graph, everywhere, floats, run
from oracle import ort_outputs


def nbits(g, x, n, k, block=32, zeros=False, bias=False, half=False, **attributes):
    blocks = -(-k // block)
    inputs = [x, g.constant(g.rng.integers(0, 256, (n, blocks, block // 2)).astype(np.uint8))]
    inputs.append(g.constant(g.rng.uniform(0.01, 0.05, (n, blocks)).astype(np.float16 if half else np.float32)))
    if zeros or bias:
        inputs.append(g.constant(g.rng.integers(0, 256, (n, -(-blocks // 2))).astype(np.uint8)) if zeros else "")
    if bias:
        inputs += ["", g.constant(floats(g.rng, n))]
    return g.op(
        "MatMulNBits", *inputs, domain="com.microsoft", **{"N": n, "K": k, "bits": 4, "block_size": block} | attributes
    )


@pytest.mark.parametrize("zeros,bias", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("block", [16, 32, 64, 256])
def test_matmulnbits_is_onnxruntimes(block, zeros, bias):
    g = Graph(np.random.default_rng(13))
    x = floats(g.rng, 2, 5, 96)
    model = g.model(x.shape, nbits(g, "x", 40, 96, block, zeros, bias))
    want = ort_outputs(model, {"x": x})[0]
    got, kernels, reasons = run(model, x)
    assert kernels == {"sgemm"} and "weights have 4 bits" in reasons
    np.testing.assert_allclose(got, want, 1e-4, 1e-4)
    got, kernels, reasons = run(model, x, int4_activations="dynamic")
    assert kernels == ({"sgemm"} if block == 16 else {"q4gemm"})
    assert ("no multiple of 32" if block == 16 else "4-bit weights") in reasons
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_accuracy_level_4_allows_integers():
    g = Graph(np.random.default_rng(14))
    x = floats(g.rng, 33, 100)
    model = g.model(x.shape, nbits(g, "x", 40, 100, 64, zeros=True, accuracy_level=4))
    want = ort_outputs(model, {"x": x})[0]
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"} and "group 64" in reasons
    assert np.abs(got - want).max() < 0.03 * np.abs(want).max()
    assert run(model, x, int4_activations="float")[1] == {"sgemm"}


def test_weights_that_are_in_no_layout_of_a_gpu_may_say_so():
    """As ONNX Runtime 1.32 does of every node."""
    got = []
    for more in ({}, {"weight_prepacked": 0}):
        g = Graph(np.random.default_rng(14))
        x = floats(g.rng, 3, 64)
        got.append(run(g.model(x.shape, nbits(g, "x", 8, 64, **more)), x)[0])
    np.testing.assert_array_equal(*got)


def test_matmulnbits_on_codes_that_the_file_has():
    g = Graph(np.random.default_rng(15))
    x = floats(g.rng, 8, 64)
    model = g.model(x.shape, nbits(g, g.qdq("x"), 40, 64))
    got, kernels, _ = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"}
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], 1e-4, 1e-4)


def test_a_bias_computed_at_run_time_is_added():
    g = Graph(np.random.default_rng(16))
    x = floats(g.rng, 1, 64)
    model = g.model(x.shape, nbits(g, "x", 64, 64))
    model.graph.node[0].input.extend(["", "", "flat"])
    model.graph.node.insert(0, helper.make_node("Reshape", ["x", "s"], ["flat"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([64]), "s"))
    np.testing.assert_allclose(run(model, x)[0], ort_outputs(model, {"x": x})[0], 1e-4, 1e-4)


def changed(**attributes):
    def change(node, constants):
        for name, value in attributes.items():
            node.attribute.remove(next(a for a in node.attribute if a.name == name))
            node.attribute.append(helper.make_attribute(name, value))

    return change


def given(index, x):
    def change(node, constants):
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = "other"
        constants.append(numpy_helper.from_array(x, "other"))

    return change


REFUSED = {
    "'bits'": changed(bits=3),
    "'block_size'": changed(block_size=48),
    "B must be uint8": changed(block_size=64),
    "'K'": changed(K=63),
    "'weight_prepacked'": lambda node, _: node.attribute.append(helper.make_attribute("weight_prepacked", 1)),
    "'accuracy_level'": lambda node, _: node.attribute.append(helper.make_attribute("accuracy_level", 7)),
    "'transposed'": lambda node, _: node.attribute.append(helper.make_attribute("transposed", 1)),
    "g_idx must be 64 integers from 0 to 1": given(4, np.full(64, 2, np.int32)),
    "zero_points must be finite": given(3, np.full((40, 2), np.nan, np.float32)),
    "zero_points must have 40": given(3, np.zeros(39, np.uint8)),
    "scales must be": given(2, np.zeros(79, np.float32)),
    "scales must be finite": given(2, np.full(80, np.nan, np.float32)),
    "bias": given(5, np.zeros(39, np.float32)),
    "input 1 'B' must be known": lambda node, _: node.input.__setitem__(1, "x"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_matmulnbits_does_not_do_here_is_refused_by_name(words):
    g = Graph(np.random.default_rng(17))
    model = g.model((2, 64), nbits(g, "x", 40, 64))
    REFUSED[words](model.graph.node[0], model.graph.initializer)
    with pytest.raises(pc.ModelError, match="MatMulNBits") as error:
        pc.compile(model)
    assert words in str(error.value)


# ---- plans ----
