"""4-bit weights: INT4 and UINT4 through DequantizeLinear."""

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

import pycompress as pc
from int4_models import FORMS, XS, YS, Graph, everywhere, expected, floats, product, run, tolerance
from oracle import ort_outputs
from pycompress.kernels import module


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv"])
def test_every_form_meets_codes_on_integers(op, form):
    g = Graph(np.random.default_rng(1))
    n, k = 130, 96
    x = floats(g.rng, *{"Gemm": (7, k), "MatMul": (2, 7, k), "Conv": (2, k, 3, 5)}[op])
    zero = np.int8(-20) if form.get("zeros") else np.uint8(100)
    model = g.model(x.shape, product(g, op, g.qdq("x", zero=zero), n, k, form))
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"}
    assert ("group" if form.get("block", k) < k else "per channel") in reasons and "4-bit weights" in reasons
    np.testing.assert_allclose(got, expected(model, x), 1e-4, tolerance(form))


@pytest.mark.parametrize("form", FORMS[1:6], ids=str)
def test_onnxruntime_answers_the_same(form):
    g = Graph(np.random.default_rng(2))
    x = floats(g.rng, 5, 96)
    model = g.model(x.shape, product(g, "Gemm", g.qdq("x"), 100, 96, form))
    np.testing.assert_allclose(run(model, x)[0], ort_outputs(model, {"x": x})[0], 1e-4, tolerance(form))


def contract(a, za, sa, q4, bias, sy, zy):
    """Codes that the contract of q4gemm answers with, in numpy: exact sums of groups, then float32 step by step."""
    total = np.zeros((len(a), len(q4.w)), np.float32)
    for i in range(q4.scale.shape[1]):
        part = slice(i * q4.group, (i + 1) * q4.group)
        sums = (a[:, part].astype(np.int64) - 128) @ (q4.w[:, part].astype(np.int64) - q4.zero[:, i : i + 1]).T
        total += q4.scale[:, i] * sums.astype(np.float32)
    colsum = q4.dense().astype(np.float64).sum(1).astype(np.float32)
    v = (total - np.float32(za - 128) * colsum) * np.float32(np.float64(sa) / sy) + (bias / np.float64(sy)).astype(
        np.float32
    )
    return np.clip(np.rint(np.clip(v, -zy, 255 - zy)) + zy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("relu", [False, True])
def test_codes_are_those_of_the_contract_and_within_one_step_of_float64(relu):
    g = Graph(np.random.default_rng(3))
    n, k, group = 70, 160, 32
    scale = g.rng.uniform(0.005, 0.02, (n, k // group)).astype(np.float16)
    codes, bias = g.rng.integers(-8, 8, (n, k)), floats(g.rng, n)
    w = g.op("DequantizeLinear", g.constant(codes, TensorProto.INT4), g.constant(scale), axis=1, block_size=group)
    y = g.op("Gemm", g.qdq("x"), g.op("Cast", w, to=TensorProto.FLOAT), g.constant(bias), transB=1)
    y = g.op("Relu", y) if relu else y
    y = g.op("QuantizeLinear", y, g.constant(YS), g.constant(np.uint8(90)))
    x = floats(g.rng, 50, k)
    model = g.model(x.shape, y, TensorProto.UINT8)
    got, kernels, reasons = everywhere(model, x)
    assert kernels == {"q4gemm"} and "to uint8" in reasons
    a = np.clip(np.rint(x / XS) + 100, 0, 255).astype(np.uint8)
    q4 = pc.weights.Q4((codes + 8).astype(np.uint8), scale.astype(np.float32), np.full(scale.shape, 8, np.uint8), group)
    want = contract(a, 100, XS, q4, bias.astype(np.float64), YS, 90)
    want = np.maximum(want, 90) if relu else want
    np.testing.assert_array_equal(got, want)
    real = (a.astype(np.float64) - 100) * np.float64(XS) @ q4.dense().astype(np.float64).T + bias
    exact = np.clip(np.rint((np.maximum(real, 0) if relu else real) / np.float64(YS)) + 90, 0, 255)
    difference = np.abs(got - exact)
    assert difference.max() <= 1 and np.count_nonzero(difference) < 5


def test_sums_activations_and_tables_join_the_product():
    g = Graph(np.random.default_rng(4))
    x = g.qdq("x")
    y = g.qdq(g.op("Conv", x, g.weights((64, 64, 1, 1), axis=1, block=32), g.constant(floats(g.rng, 64))), 0.1)
    y = g.qdq(g.op("Add", x, y), np.float32(0.09))
    z = g.qdq(g.op("Conv", y, g.weights((48, 64, 1, 1), axis=1, block=32)), 0.3)
    z = g.qdq(g.op("HardSwish", z), np.float32(0.1), np.uint8(10))
    z = g.op("GlobalAveragePool", z)
    x = floats(g.rng, 1, 64, 6, 6)
    model = g.model(x.shape, z)
    got, kernels, reasons = everywhere(model, x, strict=True)
    assert kernels == {"q4gemm"} and "added to" in reasons and "as a table" in reasons
    np.testing.assert_allclose(got, expected(model, x), atol=0.1)


def test_a_bias_that_is_added_afterwards_joins_the_product():
    g = Graph(np.random.default_rng(5))
    y = g.op("MatMul", g.qdq("x"), g.weights((64, 40), axis=0, block=32))
    y = g.qdq(g.op("Relu", g.op("Add", g.constant(floats(g.rng, 40)), y)), YS, np.uint8(0))
    x = floats(g.rng, 9, 64)
    model = g.model(x.shape, y)
    session = pc.InferenceSession(pc.compile(model))
    assert [r["kernel"] for r in session.explain()][:2] == ["quantize", "q4gemm"]
    assert "binary" not in [r["kernel"] for r in session.explain()]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected(model, x), atol=1.01 * YS)


def test_turned_weights_stay_at_four_bits():
    g = Graph(np.random.default_rng(6))
    w = g.op("Transpose", g.weights((24, 64), axis=1, block=32, zeros=True), perm=[1, 0])
    x = floats(g.rng, 3, 64)
    model = g.model(x.shape, g.op("MatMul", g.qdq("x"), w))
    got, kernels, _ = run(model, x)
    assert kernels == {"q4gemm"}
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-4)


@pytest.mark.parametrize("op", ["MatMul", "Gemm", "Conv"])
def test_float_activations_stay_float_unless_asked_for(op):
    g = Graph(np.random.default_rng(7))
    k = 96
    x = floats(g.rng, *{"Gemm": (7, k), "MatMul": (2, 7, k), "Conv": (1, k, 3, 5)}[op])
    model = g.model(x.shape, product(g, op, "x", 50, k, {"axis": "k", "block": 32}))
    want = expected(model, x)
    for wish, words in (("file", "dynamic"), ("float", "keeps its activations")):
        got, kernels, reasons = run(model, x, int4_activations=wish)
        assert kernels == {"sgemm"} and "weights have 4 bits" in reasons and words in reasons
        np.testing.assert_allclose(got, want, 1e-4, 1e-4)
        with pytest.raises(pc.ModelError, match="strict"):
            pc.compile(model, strict=True, int4_activations=wish)
    got, kernels, _ = everywhere(model, x, strict=True, int4_activations="dynamic")
    assert kernels == {"q4gemm"}
    rows = x.transpose(0, 2, 3, 1).reshape(-1, k) if op == "Conv" else x.reshape(-1, k)
    back = np.empty((len(rows), k), np.uint8), np.empty(len(rows), np.float32), np.empty(len(rows), np.int32)
    module("dynquant").dynquant(np.ascontiguousarray(rows), *back)
    rounded = (back[0].astype(np.int32) - back[2][:, None]).astype(np.float32) * back[1][:, None]
    rounded = rounded.reshape(1, 3, 5, k).transpose(0, 3, 1, 2) if op == "Conv" else rounded.reshape(x.shape)
    np.testing.assert_allclose(got, expected(model, rounded), 1e-4, 1e-4)
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_rows_are_rounded_once_for_all_products_of_one_kind():
    g = Graph(np.random.default_rng(8))
    parts = [g.op("MatMul", "x", g.weights((64, 16), axis=0, block=32)) for _ in range(3)]
    x = floats(g.rng, 4, 64)
    model = g.model(x.shape, g.op("Concat", *parts, axis=1))
    session = pc.InferenceSession(pc.compile(model, int4_activations="dynamic"))
    assert [r["kernel"] for r in session.explain()].count("dynquant") == 1
    assert np.abs(session.run(None, {"x": x})[0] - expected(model, x)).max() < 0.1


def test_an_unknown_wish_is_refused():
    g = Graph(np.random.default_rng(9))
    with pytest.raises(ValueError, match="int4_activations must be one of"):
        pc.compile(g.model((1, 2), g.op("Relu", "x")), int4_activations="fast")


WIDENED = {
    "small": ("qgemm", (32, 16, 1, 1), {}),
    "3x3": ("qconv", (24, 64, 3, 3), {}),
    "depthwise": ("qdwconv", (64, 1, 3, 3), {"group": 64}),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("what", WIDENED)
def test_codes_are_widened_to_eight_bits_where_there_is_no_kernel_of_four(what, zeros, signed):
    kernel, shape, attributes = WIDENED[what]
    g = Graph(np.random.default_rng(10))
    x = floats(g.rng, 1, shape[1] * attributes.get("group", 1), 7, 7)
    y = g.op(
        "Conv",
        g.qdq("x"),
        g.weights(shape, zeros=zeros, signed=signed),
        g.constant(floats(g.rng, shape[0])),
        **attributes,
    )
    model = g.model(x.shape, y)
    got, kernels, _ = everywhere(model, x, strict=True)
    assert kernels == {kernel}
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-3)  # the bias counts steps of input times weight


UNFIT = {
    "3x3 in blocks": ((24, 64, 3, 3), {"axis": 1, "block": 32}, "have no kernel"),
    "blocks of 16": ((24, 64, 1, 1), {"axis": 1, "block": 16}, "no multiple of 32"),
    "blocks of outputs": ((64, 64, 1, 1), {"axis": 0, "block": 32}, "another axis"),
    "scales of inputs": ((24, 64, 1, 1), {"axis": 1}, "another axis"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_has_no_kernel_runs_in_float_and_says_why(what):
    shape, form, words = UNFIT[what]
    g = Graph(np.random.default_rng(11))
    x = floats(g.rng, 1, shape[1], 5, 5)
    model = g.model(x.shape, g.op("Conv", g.qdq("x"), g.weights(shape, **form), pads=[shape[2] // 2] * 4))
    got, kernels, reasons = run(model, x)
    assert kernels <= {"sgemm", "sconv"} and words in reasons
    np.testing.assert_allclose(got, expected(model, x), 1e-4, 1e-4)
    with pytest.raises(pc.ModelError, match="strict"):
        pc.compile(model, strict=True)


def test_blocked_weights_that_are_moved_are_what_they_stand_for():
    g = Graph(np.random.default_rng(12))
    w = g.weights((64, 6), axis=0, block=32, zeros=True)
    y = g.op("Add", g.op("Reshape", w, g.constant(np.array([6, 64]))), "x")
    y = g.op(
        "Pad",
        g.op("Concat", y, g.op("Reshape", w, g.constant(np.array([6, 64]))), axis=1),
        g.constant(np.array([1, 0, 0, 2])),
    )
    x = floats(g.rng, 6, 64)
    model = g.model(x.shape, y)
    np.testing.assert_allclose(run(model, x)[0], expected(model, x), 1e-6, 1e-6)


# ---- MatMulNBits ----


def test_a_saved_plan_holds_nibbles_and_half_scales_and_answers_the_same(tmp_path):
    g = Graph(np.random.default_rng(18))
    y = g.qdq("x")
    for _ in range(2):
        y = g.qdq(g.op("Conv", y, g.weights((256, 256, 1, 1), axis=1, block=32, half=True)), 0.2, np.uint8(128))
    x = floats(g.rng, 1, 256, 9, 9)
    model = g.model(x.shape, y)
    plan = pc.compile(model)
    plan.save(tmp_path / "p.plan.safetensors")
    loaded = pc.InferenceSession(tmp_path / "p.plan.safetensors")
    want = pc.InferenceSession(plan).run(None, {"x": x})[0]
    assert loaded.run(None, {"x": x})[0].tobytes() == want.tobytes()
    groups = 2 * 256 * 8
    assert (tmp_path / "p.plan.safetensors").stat().st_size < 2 * 256 * 128 + groups * 2 + 30_000


def test_equal_codes_of_other_scales_are_other_weights():
    g = Graph(np.random.default_rng(19))
    w = g.weights((64, 16), axis=0, block=32)
    dequantize = g.nodes[-1]
    twice = g.constant(2 * numpy_helper.to_array(g.constants[1]))
    other = g.op("DequantizeLinear", dequantize.input[0], twice, axis=0, block_size=32)
    x = g.qdq("x")
    a, b = g.op("MatMul", x, w), g.op("MatMul", x, other)
    x = floats(g.rng, 4, 64)
    model = g.model(x.shape, g.op("Concat", a, b, axis=1))
    got, kernels, _ = run(model, x)
    assert kernels == {"q4gemm"}
    np.testing.assert_array_equal(got[:, 16:], 2 * got[:, :16])


def test_large_images_run_in_tiles():
    g = Graph(np.random.default_rng(20))
    y = g.qdq(g.op("Conv", g.qdq("x"), g.weights((64, 64, 1, 1), axis=1, block=32)), 0.2, np.uint8(128))
    y = g.op("Conv", y, g.weights((64, 1, 3, 3)), group=64, pads=[1, 1, 1, 1])
    y = g.qdq(y, 0.3, np.uint8(128))
    x = floats(g.rng, 1, 64, 192, 192)
    got, kernels, reasons = run(g.model(x.shape, y), x, strict=True)
    assert kernels == {"q4gemm", "qdwconv"} and "lines 0 to" in reasons
    small = run(g.model((1, 64, 60, 192), y), np.ascontiguousarray(x[:, :, :60]), strict=True)
    assert "lines 0 to" not in small[2]
    np.testing.assert_array_equal(got[:, :, :58], small[0][:, :, :58])
