import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pycompress import kernels, zoo
from pycompress.compress.model import graph as g
from pycompress.compress.model.matrix import matrix
from pycompress.compress.quantize import quantize
from pycompress.compress.verdict import verdict
from pycompress.errors import ModelError
from pycompress.zoo import photos

SIZE = 64


def answer(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": x})[0]


def samples(count, seed=0, names=photos.CALIBRATION):
    return [photos.preprocess(c) for c in photos.crops(names, count, seed, SIZE)]


def network(nodes, shape, out_shape, opset=17, **constants):
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    answers = [helper.make_tensor_value_info("output", TensorProto.FLOAT, out_shape)]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "net", given, answers, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def conv(x, y, w="w", *bias, **attributes):
    return helper.make_node("Conv", [x, w, *bias], [y], name=y, **attributes)


def small():
    """A stem, a depthwise and a 1x1 convolution with their activations, and a classifier."""
    rng = np.random.default_rng(0)
    kinds = {"w": (8, 3, 3, 3), "d": (8, 1, 3, 3), "p": (12, 8, 1, 1), "c": (10, 12)}
    nodes = [
        conv("input", "s", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["s", "zero", "six"], ["t"], name="t"),
        conv("t", "u", "d", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["u"], ["v"], name="v"),
        conv("v", "x", "p"),
        helper.make_node("GlobalAveragePool", ["x"], ["y"], name="y"),
        helper.make_node("Flatten", ["y"], ["z"], name="z"),
        helper.make_node("Gemm", ["z", "c"], ["output"], name="output", transB=1),
    ]
    weights = {k: rng.standard_normal(shape) for k, shape in kinds.items()}
    return network(nodes, ["n", 3, SIZE, SIZE], ["n", 10], zero=0, six=6, **weights)


def ops(model):
    return [n.op_type for n in model.graph.node]


@pytest.mark.parametrize("name", zoo.names())
def test_networks_keep_their_answers(name):
    model = zoo.build(name, width=0.25, resolution=SIZE, classes=20)
    quantized = quantize(model, samples(6))
    error = spread = 0
    for x in samples(4, 1, photos.EVALUATION):
        wanted = answer(model, x)
        error += np.square(answer(quantized, x) - wanted).mean()
        spread += wanted.var()
    assert np.sqrt(error / spread) < 0.3
    assert {"Conv", "Gemm", "QuantizeLinear", "DequantizeLinear"} <= set(ops(quantized))
    assert len(quantized.SerializeToString()) < 0.6 * len(model.SerializeToString())


def test_scales_of_activations_are_scalars_so_that_other_runtimes_fuse_them(tmp_path):
    quantized = quantize(zoo.mobilenetv2(width=0.35, resolution=SIZE, classes=10), samples(4))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(quantized.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused = ops(onnx.load(tmp_path / "fused.onnx"))
    assert "QLinearConv" in fused and "QLinearAdd" in fused
    assert not {"Conv", "FusedConv", "NhwcFusedConv", "Add"} & set(fused)


@pytest.mark.parametrize("T", [0, 1, 2, 4, 8])
def test_every_weight_meets_the_bounds_of_the_depth_asked_for(T):
    model = quantize(zoo.mobilenetv2(width=0.25, resolution=SIZE, classes=20), samples(2), accumulate=T)
    values, made = g.constants(model), g.producers(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            dequantize = made[node.input[1]]
            codes = numpy_helper.to_array(values[dequantize.input[0]])
            assert codes.dtype == np.int8 and not numpy_helper.to_array(values[dequantize.input[2]]).any()
            node.input[1] = dequantize.input[0]
            q, segments, groups = matrix(model, node)
            q = q.astype(np.int8)
            if groups == 1:
                assert kernels.module("qgemm").fits(q, T, segments).all()
            else:
                assert kernels.module("qdwconv").fits(q, 7 if T else 0, (3, 3)).all()


def test_biases_are_int32_with_the_scale_of_the_products():
    model = quantize(small(), samples(2))
    values, made = g.constants(model), g.producers(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            assert len(node.input) == 3  # bias correction gives one to those that had none
            x, w, b = (made[n] for n in node.input)
            scales = [numpy_helper.to_array(values[n.input[1]]) for n in (x, w, b)]
            np.testing.assert_array_equal(scales[2], scales[0] * scales[1])
            assert values[b.input[0]].data_type == TensorProto.INT32


def test_an_activation_belongs_to_the_convolution_before_it():
    model = quantize(small(), samples(2))
    readers = g.consumers(model)
    for name, kind in (("s", "Clip"), ("u", "Relu")):
        (after,) = readers[name]
        assert after.op_type == kind
        assert [n.op_type for n in readers[after.output[0]]] == ["QuantizeLinear"]


def test_bias_correction_takes_out_the_mean_error():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 16, 1, 1))
    nodes = [conv("input", "c"), helper.make_node("Identity", ["c"], ["output"])]
    model = network(nodes, [1, 16, 4, 4], [1, 8, 4, 4], w=w)
    data = [(rng.standard_normal((1, 16, 4, 4)) + 3).astype("f4") for _ in range(50)]
    drift = []
    for correct in (True, False):
        quantized = quantize(model, data, accumulate=8, bias_correction=correct)
        errors = [answer(quantized, x) - answer(model, x) for x in data]
        drift.append(np.abs(np.mean(errors, (0, 1, 3, 4))).mean())
    assert drift[0] < 0.2 * drift[1]


def test_tensors_that_meet_without_arithmetic_share_a_grid():
    rng = np.random.default_rng(0)
    nodes = [
        conv("input", "a"),
        conv("input", "b", "v"),
        helper.make_node("MaxPool", ["a"], ["p"], name="p", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["p", "b"], ["j"], name="j", axis=1),
        conv("j", "output", "u"),
    ]
    u = rng.standard_normal((2, 8, 1, 1))
    w = rng.standard_normal((4, 3, 1, 1))
    model = network(nodes, [1, 3, 8, 8], [1, 2, 8, 8], w=w, v=10 * w, u=u)
    quantized = quantize(model, [rng.standard_normal((1, 3, 8, 8)).astype("f4") for _ in range(4)])
    values = g.constants(quantized)
    scales = {n.input[0]: numpy_helper.to_array(values[n.input[1]]) for n in quantized.graph.node if "Qu" in n.op_type}
    assert scales["a"] == scales["p"] == scales["b"] == scales["j"] != scales["input"]


def test_outputs_stay_float_unless_asked():
    rng = np.random.default_rng(0)
    model = network([conv("input", "output")], [1, 3, 8, 8], [1, 4, 8, 8], w=rng.standard_normal((4, 3, 1, 1)))
    data = rng.standard_normal((4, 3, 8, 8)).astype("f4")
    assert ops(quantize(model, data))[-1] == "Conv"
    rounded = quantize(model, data, quantize_outputs=True)
    assert ops(rounded)[-2:] == ["QuantizeLinear", "DequantizeLinear"]
    assert [o.name for o in rounded.graph.output] == ["output"]
    assert len(np.unique(answer(rounded, data[:1]))) <= 256
    np.testing.assert_allclose(answer(rounded, data[:1]), answer(model, data[:1]), atol=0.1)


def test_excluded_nodes_stay_float():
    model = small()
    quantized = quantize(model, samples(2), exclude=["s", "output"])
    made, nodes = g.producers(quantized), {n.name: n for n in quantized.graph.node}
    assert nodes["s"].input[1] not in made and nodes["output"].input[1] not in made
    assert made[nodes["u"].input[1]].op_type == "DequantizeLinear"


def test_gemm_and_matmul_in_all_their_forms():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((6, 8)), rng.standard_normal((5, 6)), rng.standard_normal((5, 4))
    nodes = [
        helper.make_node("MatMul", ["input", "a_t"], ["h"]),
        helper.make_node("Gemm", ["h", "b", "bias"], ["i"], alpha=0.5, beta=2.0, transB=1),
        helper.make_node("Gemm", ["i", "c"], ["output"]),
    ]
    model = network(nodes, ["n", 8], ["n", 4], a_t=a.T, b=b, c=c, bias=rng.standard_normal((1, 5)))
    data = rng.standard_normal((40, 8)).astype("f4")
    quantized = quantize(model, data)
    assert ops(quantized).count("DequantizeLinear") == 8
    wanted = answer(model, data)
    assert np.abs(answer(quantized, data) - wanted).max() < 0.03 * np.abs(wanted).max()


def test_grouped_convolutions_and_old_opsets():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((6, 2, 3, 3))
    batch = {k: rng.uniform(0.5, 1.5, 6) for k in ("gamma", "beta", "mean", "var")}
    nodes = [
        conv("input", "c", group=3, pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", *batch], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        conv("p", "output", "v"),
    ]
    model = network(nodes, [1, 6, 8, 8], [1, 2, 1, 1], 8, w=w, v=rng.standard_normal((2, 6, 1, 1)), **batch)
    data = rng.standard_normal((16, 6, 8, 8)).astype("f4")
    quantized = quantize(model, data)
    assert "BatchNormalization" not in ops(quantized)
    wanted = np.concatenate([answer(model, x[None]) for x in data])
    got = np.concatenate([answer(quantized, x[None]) for x in data])
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_calibration_comes_in_several_forms_and_is_consumed_once():
    model = small()
    before = model.SerializeToString(deterministic=True)
    data = samples(3)
    forms = [
        ({"input": x} for x in data),
        iter(data),
        (x[0] for x in data),
        np.concatenate(data),
    ]
    results = {quantize(model, form).SerializeToString(deterministic=True) for form in forms}
    assert len(results) == 1
    assert model.SerializeToString(deterministic=True) == before


def test_open_dimensions_may_be_declared_as_minus_one():
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    quantized = quantize(model, samples(2))
    assert "QuantizeLinear" in ops(quantized)


def test_models_come_as_path_bytes_or_proto(tmp_path):
    model = small()
    onnx.save(model, tmp_path / "m.onnx")
    forms = [model, model.SerializeToString(), tmp_path / "m.onnx", str(tmp_path / "m.onnx")]
    assert len({quantize(f, samples(1)).SerializeToString(deterministic=True) for f in forms}) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"accumulate": 3}, "accumulate must be"),
        ({"accumulate": True}, "accumulate must be"),
        ({"target": "sparc"}, "target must be one of portable, .*got 'sparc'"),
        ({"target": "vnni", "accumulate": 8}, "target 'vnni' means accumulate=0"),
        ({"method": "kl"}, "method must be one of mse"),
        ({"percentile": 20}, r"percentile must be in \(50, 100\]"),
        ({"operators": ["Softmax"]}, "cannot quantize Softmax"),
        ({"operators": "Softmax"}, "cannot quantize Softmax"),
        ({"exclude": ["nothing"]}, "no node 'nothing'"),
        ({"operators": ["Add"]}, "nothing to quantize"),
        ({"calibration": []}, "no samples"),
        ({"calibration": 3}, "must be an iterable"),
        ({"calibration": {"input": 3}}, "must be an iterable of samples"),
        ({"calibration": np.zeros((2, 3, 64), "f4")}, "has 4 dimensions"),
        ({"calibration": [np.zeros((1, 3, 64, 64))]}, "must be float32"),
        ({"calibration": [np.zeros((1, 3, 32, 32), "f4")]}, "must have shape"),
        ({"calibration": [{"image": np.zeros((1, 3, 64, 64), "f4")}]}, r"the model's inputs are \['input'\]"),
        ({"calibration": [np.full((1, 3, 64, 64), np.nan, "f4")]}, "'input' is not finite in sample 0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    model = small()
    with pytest.raises(ValueError, match=message):
        quantize(model, **({"calibration": samples(1)} | options))


def test_bad_models_are_named(tmp_path):
    model = small()
    with pytest.raises(ModelError, match="not an ONNX model"):
        quantize(b"no model", samples(1))
    with pytest.raises(ModelError, match="quantized already"):
        quantize(quantize(model, samples(1)), samples(1))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=0)
    with pytest.raises(ModelError, match="stored outside the model: give base_dir"):
        quantize((tmp_path / "m.onnx").read_bytes(), samples(1))
    assert len(quantize(tmp_path / "m.onnx", samples(1), base_dir=tmp_path).graph.node)
    with pytest.raises(TypeError, match="a model is a path"):
        quantize(3, samples(1))


def test_dead_channels_and_constant_activations_do_no_harm():
    w = np.zeros((4, 3, 1, 1))
    w[0] = 1e-3
    bias = np.array([0, 5, 0, -1e6])
    nodes = [conv("input", "c", "w", "b"), conv("c", "output", "v")]
    model = network(nodes, [1, 3, 4, 4], [1, 4, 4, 4], w=w, b=bias, v=np.eye(4)[:, :, None, None])
    data = np.zeros((2, 3, 4, 4), "f4")
    got = answer(quantize(model, data), data[:1])
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[0, 3], -1e6, rtol=0.01)


def test_a_target_with_dot_products_keeps_the_full_range_of_the_weights():
    model = zoo.mobilenetv2(width=0.25, resolution=SIZE, classes=20)
    portable, vnni, plain = (
        quantize(model, samples(2), **options) for options in ({}, {"target": "vnni"}, {"accumulate": 0})
    )
    assert vnni.graph.SerializeToString() == plain.graph.SerializeToString()

    def largest(m):
        return [
            np.abs(numpy_helper.to_array(t).astype(int)).max()
            for t in m.graph.initializer
            if t.data_type == TensorProto.INT8 and len(t.dims) > 1
        ]

    assert min(largest(vnni)) >= 127 > min(largest(portable))
    assert quantize(model, samples(2), target="avx2").graph.SerializeToString() == portable.graph.SerializeToString()


def test_what_is_not_judged_has_the_same_codes():
    model = zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    judged, plain = quantize(model, x), quantize(model, x, judge=False)
    assert judged.graph == plain.graph
    assert verdict(judged).snr is not None and verdict(plain).snr is None
    with pytest.raises(ValueError, match="min_snr needs judge=True"):
        quantize(model, x, judge=False, min_snr=3)
