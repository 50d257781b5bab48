"""float16 and bfloat16 models: such inputs and outputs, float32 between, 16-bit weights if a kernel reads them."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from half_models import network, to_half
from pycompress.zoo import mobilenetv2

KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def image(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def kernels(session):
    return {row["node"]: row["kernel"] for row in session.explain()}


@pytest.mark.parametrize("norm", (False, True))
def test_a_float16_model_answers_as_onnxruntime(norm):
    model, x = to_half(network(norm=norm)), image(1, 3, 6, 6).astype(np.float16)
    session = pc.InferenceSession(model)
    (y,) = session.run(None, {"x": x})
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert y.dtype == np.float16 and [p.type for p in session.get_outputs()] == ["tensor(float16)"]
    np.testing.assert_allclose(
        y.astype(np.float32), expected.astype(np.float32), rtol=0, atol=4e-3 * abs(expected).max()
    )
    assert kernels(session)["gemm"] == kernels(session)["matmul"] == kernels(session)["point"] == "hgemm"


@pytest.mark.parametrize("kind", KINDS)
def test_only_inputs_and_outputs_are_rounded(kind):
    """Weights are what they are in the file: float32 arithmetic on them gives the answer."""
    model = to_half(network(norm=False), KINDS[kind])
    x = image(1, 3, 6, 6).astype(kind)
    (y,) = pc.InferenceSession(model).run(None, {"x": x})
    assert y.dtype == np.dtype(kind)
    real = onnx.ModelProto.FromString(model.SerializeToString())
    for t in real.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for port in (*real.graph.input, *real.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT
    (expected,) = pc.InferenceSession(real).run(None, {"x": x.astype(np.float32)})
    assert y.tobytes() == expected.astype(kind).tobytes()


def test_bfloat16_models_run():
    model = to_half(network(), TensorProto.BFLOAT16)
    session = pc.InferenceSession(model)
    (y,) = session.run(None, {"x": image(1, 3, 6, 6).astype(ml_dtypes.bfloat16)})
    (expected,) = pc.InferenceSession(network()).run(None, {"x": image(1, 3, 6, 6)})
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=0, atol=0.05 * abs(expected).max())
    assert [p.type for p in session.get_inputs()] == ["tensor(bfloat16)"]
    assert kernels(session)["gemm"] == "hgemm"


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_keeps_weights_at_16_bits(kind, tmp_path):
    plan = pc.compile(to_half(network(), KINDS[kind]))
    plan.save(tmp_path / "half.plan.safetensors")
    x = image(1, 3, 6, 6).astype(kind)
    (y,) = pc.InferenceSession(plan).run(None, {"x": x})
    (again,) = pc.InferenceSession(tmp_path / "half.plan.safetensors").run(None, {"x": x})
    assert again.dtype == x.dtype and again.tobytes() == y.tobytes()
    held = [t for n, t in plan._tensors.items() if n in ("gemm.w", "matmul.w", "point.w")]
    assert len(held) == 3 and kind in {t.dtype.name for t in held} and {t.itemsize for t in held} == {2}
    assert [row["reason"] for row in plan.notes[0] if row["node"] == "point"][0].endswith("weights, rounded again")
    assert any("have no 16-bit kernel" in row["reason"] for row in plan.notes[0])


def test_weights_that_a_factor_puts_beyond_float16_stay_float32():
    model = network()
    for t in model.graph.initializer:
        if t.name == "scale":
            t.CopyFrom(numpy_helper.from_array(np.full(24, 60000, np.float32), "scale"))
        if t.name == "var":
            t.CopyFrom(numpy_helper.from_array(np.full(24, 1e-4, np.float32), "var"))
    assert kernels(pc.InferenceSession(to_half(model)))["point"] == "sgemm"


def test_float_weights_that_are_float16_numbers_are_read_as_such():
    model, x = network(norm=False), image(1, 3, 6, 6)
    for t in model.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float16).astype(np.float32), t.name))
    (y,) = pc.InferenceSession(model).run(None, {"x": x})
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    session = pc.InferenceSession(model)
    assert kernels(session)["gemm"] == "hgemm" and y.dtype == np.float32
    assert kernels(pc.InferenceSession(network()))["gemm"] == "sgemm"


def test_mixed_models_cast_where_they_say_and_at_their_edges():
    node = helper.make_node
    w = numpy_helper.from_array((np.arange(12).reshape(3, 4) / 7).astype(np.float16), "w")
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("MatMul", ["h", "w"], ["m"]),
        node("Constant", [], ["one"], value=numpy_helper.from_array(np.float16(1), "one")),
        node("Add", ["m", "one"], ["s"]),
        node("Identity", ["s"], ["half"]),
        node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
        node("Cast", ["s"], ["i"], to=TensorProto.INT64),
        node("Identity", ["w"], ["copy"]),
    ]
    outputs = [
        ("y", TensorProto.FLOAT, [2, 4]),
        ("half", TensorProto.FLOAT16, [2, 4]),
        ("i", TensorProto.INT64, [2, 4]),
    ]
    graph = helper.make_graph(
        nodes, "mixed", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info(*o) for o in (*outputs, ("copy", TensorProto.FLOAT16, [3, 4]))], [w],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    x = np.float32([[1, 2, 3], [-1, 0.5, 2]])
    ours = pc.InferenceSession(model).run(None, {"x": x})
    ort_outputs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    for a, b in zip(ours, ort_outputs):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(ours[3], numpy_helper.to_array(w))


def test_images_may_feed_a_float16_model():
    pixels = np.random.default_rng(0).integers(0, 255, (1, 6, 6, 3), np.uint8)
    plan = pc.compile(to_half(network()), preprocess={"mean": 127.5, "std": 64.0})
    (y,) = pc.InferenceSession(plan).run(None, {"x": pixels})
    x = ((pixels.astype(np.float32) - 127.5) / 64).transpose(0, 3, 1, 2)
    (expected,) = pc.InferenceSession(network()).run(None, {"x": x})
    np.testing.assert_allclose(y.astype(np.float32), expected, rtol=0, atol=1e-2 * abs(expected).max())


def test_a_network_of_the_zoo_in_float16():
    model, x = mobilenetv2(), image(1, 3, 224, 224)
    half = to_half(model)
    (expected,) = onnxruntime.InferenceSession(half.SerializeToString()).run(None, {"input": x.astype(np.float16)})
    plan = pc.compile(half)
    (y,) = pc.InferenceSession(plan).run(None, {"input": x.astype(np.float16)})
    expected = expected.astype(np.float64)
    assert np.linalg.norm(y - expected) < 0.02 * np.linalg.norm(expected)
    assert plan.nbytes < 0.55 * pc.compile(model).nbytes
