import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization as ort_quant

import pycompress as pc
from pycompress import kernels, zoo
from pycompress.compress.model import graph as g
from pycompress.compress.model.matrix import matrix
from pycompress.compress.quantization.round import PAIRS
from pycompress.compress.quantize import quantize
from pycompress.zoo import photos

SIZE = 64


def samples(count, seed=0, names=photos.CALIBRATION):
    return [photos.preprocess(c) for c in photos.crops(names, count, seed, SIZE)]


class Reader(ort_quant.CalibrationDataReader):
    def __init__(self):
        self.left = iter(samples(4))

    def get_next(self):
        x = next(self.left, None)
        return None if x is None else {"input": x}


def ort_quantized(tmp_path, model, form="QDQ", **options):
    """`model` quantized by ONNX Runtime."""
    source, target = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    onnx.save(model, source)
    options = {"per_channel": True, "weight_type": ort_quant.QuantType.QInt8} | options
    ort_quant.quantize_static(source, target, Reader(), quant_format=ort_quant.QuantFormat[form], **options)
    return onnx.load(target)


def network(name="mobilenetv2"):
    return zoo.build(name, width=0.35, resolution=SIZE, classes=20, batchnorm=False)


def answer(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": x})[0]


def distance(model, other):
    """Root of the squared difference of their answers to unseen photos, relative to the spread of those of `other`."""
    wanted = np.stack([answer(other, x) for x in samples(6, 1, photos.EVALUATION)])
    got = np.stack([answer(model, x) for x in samples(6, 1, photos.EVALUATION)])
    return np.sqrt(np.square(got - wanted).mean() / wanted.var())


def depths(model):
    """The accumulation depth of each layer, by node."""
    model = g.as_model(model)
    values, made, found = g.constants(model), g.producers(model), {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in made:
            continue
        node.input[1] = made[node.input[1]].input[0]
        q, segments, groups = matrix(model, node)
        q = q.astype(np.int8)
        if groups > 1:
            kernel = tuple(values[node.input[1]].dims[2:])
            found[node.name] = int(kernels.module("qdwconv").accumulation_depth(q, kernel).min())
        else:
            found[node.name] = int(kernels.module("qgemm").accumulation_depth(q, segments).min())
    return found


def grids(model):
    """Scale and zero point of each activation."""
    values = g.constants(model)
    return {
        n.input[0]: tuple(numpy_helper.to_array(values[v]).item() for v in n.input[1:3])
        for n in model.graph.node
        if n.op_type == "QuantizeLinear"
    }


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_large"])
def test_weights_of_another_toolkit_get_a_depth_and_answers_stay(tmp_path, name):
    model = network(name)
    quantized = ort_quantized(tmp_path, model)
    given = pc.recertify(quantized, samples(8))
    assert grids(given) == grids(quantized)
    assert len(given.SerializeToString()) < 1.1 * len(quantized.SerializeToString())
    chosen = json.loads(g.metadata(given)["pycompress.accumulate"])
    assert 0 in depths(quantized).values() and chosen
    for node, T in depths(given).items():
        assert T >= chosen.get(node, PAIRS)
    assert distance(given, model) < 1.1 * distance(quantized, model) + 0.01


@pytest.mark.parametrize("T", [1, 4, 8])
def test_the_depth_can_be_given_and_needs_no_samples(tmp_path, T):
    model = network()
    quantized = ort_quantized(tmp_path, model)
    given = pc.recertify(quantized, accumulate=T)
    assert min(depths(given).values()) >= min(T, PAIRS)
    assert distance(given, quantized) < 0.3
    assert json.loads(g.metadata(given)["pycompress.accumulate"])["head.conv"] == T


def test_without_samples_the_depth_is_two(tmp_path):
    chosen = json.loads(g.metadata(pc.recertify(ort_quantized(tmp_path, network())))["pycompress.accumulate"])
    assert set(chosen.values()) == {2}


def test_weights_that_pass_are_kept_to_the_byte():
    model = quantize(network(), samples(2), accumulate=4)
    kept = pc.recertify(model, accumulate=4)
    for x in samples(2, 1):
        np.testing.assert_array_equal(answer(kept, x), answer(model, x))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("weight_type", ["QInt8", "QUInt8"])
def test_weights_of_all_kinds_are_read(tmp_path, per_channel, weight_type):
    quantized = ort_quantized(
        tmp_path, network(), per_channel=per_channel, weight_type=ort_quant.QuantType[weight_type],
        activation_type=ort_quant.QuantType[weight_type],
    )  # fmt: skip
    given = pc.recertify(quantized, samples(2), accumulate=2)
    assert min(depths(given).values()) >= 2
    assert distance(given, quantized) < 0.3


def test_operators_on_codes_come_back_as_pairs(tmp_path):
    quantized = ort_quantized(tmp_path, network(), "QOperator")
    before = [n.op_type for n in quantized.graph.node]
    given = pc.recertify(quantized, samples(2))
    after = [n.op_type for n in given.graph.node]
    assert "QLinearConv" in before and not {"QLinearConv", "QGemm"} & set(after)
    assert min(depths(given).values()) >= 2
    assert distance(given, quantized) < 0.3
    x = samples(1, 1, photos.EVALUATION)[0]
    ours = pc.InferenceSession(given).run(None, {"input": x})[0]
    np.testing.assert_allclose(ours, answer(given, x), atol=0.1 * np.abs(ours).max())


def test_what_cannot_be_recertified_is_said():
    with pytest.raises(pc.ModelError, match="nothing to recertify"):
        pc.recertify(network())
    with pytest.raises(ValueError, match="accumulate must be 'auto', 1, 2, 4 or 8, got 0"):
        pc.recertify(network(), accumulate=0)


def test_the_model_is_not_changed(tmp_path):
    quantized = ort_quantized(tmp_path, network())
    before = quantized.SerializeToString(deterministic=True)
    pc.recertify(quantized, samples(1))
    assert quantized.SerializeToString(deterministic=True) == before


def test_a_layer_without_bias_gets_one_that_takes_up_the_error():
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.02), "z": np.uint8(100), "ws": np.full(8, 0.01, np.float32), "wz": np.zeros(8, np.int8),
        "w": rng.integers(-127, 128, (8, 40, 1, 1)).astype(np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"], axis=0),
        helper.make_node("Conv", ["x", "v"], ["output"]),
    ]
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 5, 5]) for n, c in (("input", 40), ("output", 8))
    ]
    tensors = [numpy_helper.from_array(x, n) for n, x in constants.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = [(rng.standard_normal((1, 40, 5, 5)) + 1).astype("f4") for _ in range(8)]
    given = pc.recertify(model, data, accumulate=8)
    assert len(next(n for n in given.graph.node if n.op_type == "Conv").input) == 3
    off = np.stack([answer(given, x) - answer(model, x) for x in data])
    assert np.abs(off.mean((0, 1, 3, 4))).max() < 0.3 * off.std()


@pytest.mark.parametrize(
    "shape,taken", [((6,), True), ((1, 6), True), ((1, 1), True), ((), True), ((6, 1), False), ((6, 6), False)]
)
def test_a_gemm_whose_sum_is_no_bias_of_its_columns_is_left_alone(shape, taken):
    rng = np.random.default_rng(0)
    weights = {
        "scale": np.float32(0.03), "zero": np.uint8(128), "w": rng.integers(-127, 128, (40, 6)).astype(np.int8),
        "steps": rng.uniform(0.01, 0.02, 6).astype(np.float32), "zeros": np.zeros(6, np.int8),
        "c": (10 * rng.standard_normal(shape)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "steps", "zeros"], ["b"], axis=1),
        helper.make_node("Gemm", ["a", "b", "c"], ["y"], "gemm"),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (6, 40))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (6, 6))],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    if not taken:
        with pytest.raises(pc.ModelError, match="nothing to recertify"):
            pc.recertify(model)
        return
    x = rng.standard_normal((6, 40), np.float32)
    before, after = (pc.InferenceSession(m).run(None, {"x": x})[0] for m in (model, pc.recertify(model)))
    assert np.abs(after - before).max() < 0.05 * np.abs(before).max()


@pytest.mark.parametrize("function", [pc.quantize, pc.recertify])
def test_models_that_are_not_valid_are_refused_before_any_sample_is_read(function):
    model = network()
    model.graph.node[0].attribute.append(helper.make_attribute("nonsense", 1))

    def never():
        raise AssertionError
        yield

    with pytest.raises(pc.ModelError, match="not a valid ONNX model"):
        function(model, never())
