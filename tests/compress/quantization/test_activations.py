"""Weights alone, and activations that are quantized when they are computed."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress
from pycompress import zoo
from pycompress.compress.verdict import snr


def answers(model, feeds):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    run = ort.InferenceSession(model.SerializeToString(), options).run
    return [run(None, {"input": x})[0] for x in feeds]


def perceptron(transposed=True):
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.standard_normal((32, 24)).astype("f4"), "w0")]
    tensors.append(
        numpy_helper.from_array(rng.standard_normal((10, 32)[:: 1 if transposed else -1]).astype("f4"), "w1")
    )
    tensors += [numpy_helper.from_array(rng.standard_normal(10).astype("f4"), "b1")]
    nodes = [
        helper.make_node("MatMul", ["input", "w0t"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["output"], "second", transB=int(transposed)),
    ]
    tensors[0] = numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(tensors[0]).T), "w0t")
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", k]) for n, k in (("input", 24), ("output", 10))]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model, rng.standard_normal((24, 1, 24)).astype("f4")


@pytest.mark.parametrize("transposed", [True, False])
def test_dynamic_products_give_nearly_the_same_answers_in_both_engines(transposed):
    model, data = perceptron(transposed)
    quantized = pycompress.quantize(model, list(data[:16]), activations="dynamic")
    onnx.checker.check_model(quantized, full_check=True)
    kinds = [n.op_type for n in quantized.graph.node]
    assert kinds.count("MatMulInteger") == 2 and "QuantizeLinear" not in kinds
    got = answers(quantized, data[16:])
    assert snr(answers(model, data[16:]), got) > 30
    session = pycompress.InferenceSession(quantized)
    np.testing.assert_allclose(
        [session.run(None, {"input": x})[0] for x in data[16:]], got, atol=2e-2 * np.abs(got).max()
    )


@pytest.mark.parametrize("bits, least", [(8, 38), (4, 14)])
def test_weights_alone_leave_activations_in_float(bits, least):
    model, data = perceptron()
    quantized = pycompress.quantize(model, list(data[:16]), activations="float", weights=bits, first_last=bits)
    onnx.checker.check_model(quantized, full_check=True)
    kinds = [n.op_type for n in quantized.graph.node]
    assert "QuantizeLinear" not in kinds and kinds.count("DequantizeLinear") == 2
    got = answers(quantized, data[16:])
    assert snr(answers(model, data[16:]), got) > least
    session = pycompress.InferenceSession(quantized)
    np.testing.assert_allclose([session.run(None, {"input": x})[0] for x in data[16:]], got, rtol=1e-4, atol=1e-4)


def test_convolutions_stay_float_inside_where_activations_are_dynamic():
    model = zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    samples = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    quantized = pycompress.quantize(model, samples, activations="dynamic")
    assert quantized.ByteSize() < model.ByteSize() / 2
    kinds = [n.op_type for n in quantized.graph.node]
    assert kinds.count("MatMulInteger") == 1 and "ConvInteger" not in kinds
    assert pycompress.verdict(quantized).snr > 25


def test_bad_choices_are_named():
    model, data = perceptron()
    with pytest.raises(ValueError, match="activations must be one of static, dynamic, float, got 'int8'"):
        pycompress.quantize(model, list(data), activations="int8")
    with pytest.raises(ValueError, match='quantize_outputs needs activations="static"'):
        pycompress.quantize(model, list(data), activations="float", quantize_outputs=True)
