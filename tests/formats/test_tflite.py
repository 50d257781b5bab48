from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

import pycompress
from pycompress import peers, zoo
from pycompress.formats import tflite
from pycompress.peers import litert

SMALL = {"resolution": 32, "classes": 10}
NETWORKS = {
    "mobilenetv1": lambda: zoo.mobilenetv1(width=0.25, **SMALL),
    "mobilenetv2": lambda: zoo.mobilenetv2(width=0.35, **SMALL),
    "mobilenetv3_large": lambda: zoo.build("mobilenetv3_large", **SMALL),
    "efficientnet_lite0": lambda: zoo.efficientnet_lite0(batch=1, **SMALL),
}


class _Words:
    """An enumeration whose values are their names."""

    def __getattr__(self, name):
        return name


class _Schema:
    """Stands for LiteRT's schema: classes are namespaces, values of enumerations are words."""

    def __getattr__(self, name):
        return SimpleNamespace if name.endswith("T") else _Words()


def made(nodes, constants, shape=(1, 8, 8, 8)):
    """[(operator, inputs' tensors, output's tensor, options)] of a graph from x to y, without LiteRT."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    converter = tflite._Converter(shape_inference.infer_shapes(model), _Schema())
    converter._operator = recorder(converter, found := [])
    converter.model()
    return found


def recorder(converter, found):
    def operator(code, inputs, output, kind="", version=1, **options):
        found.append((code, [converter.tensors[i] for i in inputs], converter.tensors[output], options))

    return operator


def conv(source, target, name="conv", **options):
    return helper.make_node("Conv", [source, "w"], [target], name=name, **options)


def q(source, target):
    return helper.make_node("QuantizeLinear", [source, f"{target}.s", f"{target}.z"], [f"{target}.u8"])


def dq(target):
    return helper.make_node("DequantizeLinear", [f"{target}.u8", f"{target}.s", f"{target}.z"], [target])


W = np.random.default_rng(0).standard_normal((8, 8, 3, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "pads, steps, wanted",
    [
        ([1, 1, 1, 1], [1, 1], ["CONV_2D SAME"]),
        ([0, 0, 1, 1], [2, 2], ["CONV_2D SAME"]),
        ([1, 1, 1, 1], [2, 2], ["PAD", "CONV_2D VALID"]),
        ([0, 0, 0, 0], [2, 2], ["CONV_2D VALID"]),
    ],
)
def test_pads_that_same_does_not_mean_become_an_operator(pads, steps, wanted):
    ops = made([conv("x", "y", pads=pads, strides=steps)], {"w": W})
    assert [f"{code} {options.get('padding', '')}".strip() for code, _, _, options in ops] == wanted


def test_normalization_and_activation_become_part_of_the_convolution():
    ones = np.ones(8, np.float32)
    nodes = [
        conv("x", "a"),
        helper.make_node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"], epsilon=0.0),
        helper.make_node("Clip", ["n", "low", "high"], ["y"]),
    ]
    constants = {"w": W, "g": 6 * ones, "b": ones, "m": ones, "v": 4 * ones}
    ((code, inputs, output, options),) = made(nodes, constants | {"low": np.float32(0), "high": np.float32(6)})
    assert (code, options["fusedActivationFunction"], output.name) == ("CONV_2D", "RELU6", "y")
    assert inputs[1].shape == [8, 3, 3, 8] and inputs[2].shape == [8]
    assert output.shape == [1, 6, 6, 8]


def test_uint8_becomes_int8_and_the_bias_has_the_product_s_scale():
    w = (10 * W).astype(np.int8)
    constants = {
        "x1.s": np.float32(0.5), "x1.z": np.uint8(100), "y1.s": np.float32(0.25), "y1.z": np.uint8(0),
        "w.i8": w, "w.s": np.arange(1, 9, dtype=np.float32), "w.z": np.zeros(8, np.int8),
    }  # fmt: skip
    nodes = [
        q("x", "x1"), dq("x1"), helper.make_node("DequantizeLinear", ["w.i8", "w.s", "w.z"], ["w"], axis=0),
        conv("x1", "a"), helper.make_node("Relu", ["a"], ["r"]), q("r", "y1"), dq("y1"),
        helper.make_node("Identity", ["y1"], ["y"]),
    ]  # fmt: skip
    with pytest.raises(NotImplementedError, match="y: Identity has no counterpart"):
        made(nodes, constants)
    nodes[-2:] = [helper.make_node("DequantizeLinear", ["y1.u8", "y1.s", "y1.z"], ["y"])]
    quantize, convolve, dequantize = made(nodes, constants)
    assert [op[0] for op in (quantize, convolve, dequantize)] == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    assert convolve[3]["fusedActivationFunction"] == "RELU"
    x, weights, bias = convolve[1]
    assert x.type == "INT8" and x.quantization.scale == [0.5] and x.quantization.zeroPoint == [-28]
    assert convolve[2].quantization.zeroPoint == [-128]
    assert weights.quantization.quantizedDimension == 0
    np.testing.assert_array_equal(bias.quantization.scale, 0.5 * constants["w.s"])


def test_what_has_no_counterpart_is_refused_by_name():
    with pytest.raises(NotImplementedError, match="node half: Conv of other than two dimensions, dense or depthwise"):
        made([conv("x", "y", name="half", group=2)], {"w": W[:, :4]})
    with pytest.raises(NotImplementedError, match="node y: Softmax has no counterpart"):
        made([helper.make_node("Softmax", ["x"], ["y"])], {})
    with pytest.raises(NotImplementedError, match="x has no fixed shape"):
        made([conv("x", "y")], {"w": W}, shape=("n", 8, 8, 8))


@pytest.mark.parametrize("name", NETWORKS)
def test_converted_networks_answer_as_ours_do_float_and_int8(name):
    if not peers.installed()["litert"]:
        pytest.skip("ai-edge-litert is not installed")
    model = NETWORKS[name]()
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((8, 1, 3, 32, 32)).astype(np.float32)
    feed = {"input": samples[0]}
    for proto, bound in ((model, 1e-4), (pycompress.quantize(model, iter(samples)), 0.1)):
        ours, lite = (m.load(proto.SerializeToString(), 1) for m in (peers.engine("pycompress"), litert))
        wanted, (got,) = ours.run(feed)[0], lite.run(feed)
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= bound * np.ptp(wanted)
