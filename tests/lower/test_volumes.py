"""Convolutions of three spatial dimensions against onnxruntime."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

WINDOWS = [
    ((3, 3, 3), {"pads": [1] * 6}),
    ((1, 1, 1), {}),
    ((3, 1, 1), {"pads": [1, 0, 0, 1, 0, 0]}),
    ((1, 3, 2), {"pads": [0, 1, 0, 0, 2, 1], "strides": [2, 1, 2]}),
    ((2, 3, 1), {"pads": [2, 0, 1, 0, 1, 0], "strides": [1, 2, 1], "dilations": [2, 1, 1]}),
    ((3, 2, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2, 1]}),
    ((2, 2, 2), {"auto_pad": "SAME_LOWER"}),
    ((2, 2, 2), {"auto_pad": "VALID", "kernel_shape": [2, 2, 2]}),
]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("kernel, attributes", WINDOWS)
@pytest.mark.parametrize("c, outputs, groups", [(3, 5, 1), (4, 6, 2), (4, 4, 4), (1, 2, 1)])
@pytest.mark.parametrize("constant", [("w", "b"), ()])
def test_any_window(rng, kernel, attributes, c, outputs, groups, constant):
    inputs = {
        "x": floats(rng, 2, c, 5, 6, 7),
        "w": floats(rng, outputs, c // groups, *kernel),
        "b": floats(rng, outputs),
    }
    check("Conv", inputs, constant, group=groups, atol=1e-4, **attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2, 2], "pads": [1] * 6, "output_padding": [1, 0, 1]},
        {"strides": [3, 1, 2], "pads": [0, 1, 0, 2, 0, 1]},
        {"dilations": [2, 1, 1], "strides": [2, 1, 1], "pads": [3, 0, 0, 3, 0, 0]},
        {"strides": [3, 2, 1], "auto_pad": "SAME_LOWER"},
        {"strides": [2, 2, 2], "output_shape": [7, 9, 7]},
    ],
)
@pytest.mark.parametrize("c, outputs, groups", [(3, 5, 1), (4, 3, 2), (4, 1, 4)])
@pytest.mark.parametrize("constant", [("w", "b"), ()])
def test_any_transposed_convolution(rng, attributes, c, outputs, groups, constant):
    inputs = {
        "x": floats(rng, 2, c, 3, 4, 3),
        "w": floats(rng, c, outputs, 3, 3, 3),
        "b": floats(rng, outputs * groups),
    }
    check("ConvTranspose", inputs, constant, group=groups, atol=1e-4, **attributes)


@pytest.mark.parametrize("stride, before", [(1, 0), (1, 2), (3, 2)])
def test_a_transposed_convolution_of_which_the_padding_takes_layers_away(rng, stride, before):
    inputs = {"x": floats(rng, 1, 2, 5, 3, 3), "w": floats(rng, 2, 3, 1, 2, 2)}
    pads = [before, 0, 0, 1, 0, 0]
    check("ConvTranspose", inputs, ("w",), strides=[stride, 1, 1], pads=pads, atol=1e-4)


def test_a_constant_volume(rng):
    inputs = {"x": floats(rng, 1, 2, 4, 4, 4), "w": floats(rng, 3, 2, 2, 2, 2)}
    check("Conv", inputs, ("x",), atol=1e-4)


@pytest.mark.parametrize(
    "w, attributes, message",
    [
        ((4, 3, 3, 3), {}, "weights .* do not fit an input"),
        ((4, 2, 3, 3, 3), {}, "'group' = 1 does not fit 3 channels"),
        ((4, 3, 3, 3, 3), {"kernel_shape": [3, 3, 1]}, "'kernel_shape' = .* does not fit weights"),
        ((4, 3, 9, 3, 3), {}, "the window .* does not fit into shape"),
        ((4, 3, 3, 3, 3), {"strides": [1, 1]}, "'strides' = .* must have 3 values"),
    ],
)
def test_what_does_not_fit_is_refused(rng, w, attributes, message):
    inputs = {"x": floats(rng, 1, 3, 5, 6, 7), "w": floats(rng, *w)}
    with pytest.raises(ModelError, match="the_node.*" + message):
        ours(one_node("Conv", inputs, ("w",), **attributes), {"x": inputs["x"]})


def video(rng):
    """Two convolutions with a pool between them, one over single cells, and a classifier."""
    sizes = {"w": (8, 3, 3, 3, 3), "v": (16, 8, 3, 3, 3), "u": (16, 16, 1, 1, 1), "t": (4, 16)}
    tensors = [
        numpy_helper.from_array(floats(rng, *s) / np.float32(np.sqrt(np.prod(s[1:]))), k) for k, s in sizes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1] * 6),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        helper.make_node("Conv", ["p", "v"], ["b"], name="second", pads=[1] * 6),
        helper.make_node("Relu", ["b"], ["q"]),
        helper.make_node("Conv", ["q", "u"], ["c"], name="cells"),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "t"], ["y"], transB=1),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 12, 12])]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_network_for_videos_is_quantized_and_runs_on_integers(rng):
    samples = floats(rng, 8, 1, 3, 8, 12, 12)
    model = pc.quantize(video(rng), list(samples))
    assert pc.verdict(model).snr > 25
    (want,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": samples[0]})
    (got,) = pc.InferenceSession(model).run(None, {"x": samples[0]})
    np.testing.assert_allclose(got, want, atol=0.02 * abs(want).max())
    kernels = {s["node"]: s["kernel"] for s in pc.InferenceSession(pc.compile(model)).explain() if s["macs"]}
    assert kernels["first"] == kernels["second"] == "qconv" and kernels["cells"] == "qgemm"
