"""What runs in float although its weights are integers says so, and strict plans refuse it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import kernels


def conv_with_bias(bias):
    """A QDQ convolution of one channel whose int32 bias is `bias`."""
    constants = {
        "s": np.float32(1e-3), "z": np.uint8(0), "ws": np.float32(1e-6), "wz": np.int8(0), "bs": np.float32(1e-9),
        "bz": np.int32(0), "w": np.full((1, 4, 1, 1), -100, np.int8), "b": np.array([bias], np.int32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"]),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["y"], name="conv"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 3, 3]) for n, c in (("x", 4), ("y", 1))]
    initializers = [numpy_helper.from_array(x, n) for n, x in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_sum_that_could_overflow_runs_in_float_and_says_so():
    model = conv_with_bias(-(2**31) + 1)
    onnx.checker.check_model(model)
    (row,) = [r for r in pc.InferenceSession(model).explain() if r["macs"]]
    assert row["kernel"] == "sgemm" and "in float, although" in row["reason"]
    with pytest.raises(pc.ModelError, match="strict.*conv"):
        pc.compile(model, strict=True)


def test_a_sum_that_cannot_overflow_runs_on_integers():
    model = conv_with_bias(-1000)
    (row,) = [r for r in pc.InferenceSession(pc.compile(model, strict=True)).explain() if r["macs"]]
    assert row["kernel"] == "qgemm" and "in float" not in row["reason"]


def products(w, group=1):
    """The reasons of the steps that multiply, of a QDQ convolution with int8 weights `w`."""
    constants = {
        "s": np.float32(0.02), "z": np.uint8(7), "ws": np.full(len(w), 0.01, np.float32),
        "wz": np.zeros(len(w), np.int8), "w": w,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv", group=group),
    ]
    c = w.shape[1] * group
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k, 6, 6]) for n, k in (("x", c), ("y", len(w)))]
    ports[1].type.tensor_type.shape.dim[2].dim_value -= w.shape[2] - 1
    ports[1].type.tensor_type.shape.dim[3].dim_value -= w.shape[3] - 1
    initializers = [numpy_helper.from_array(x, n) for n, x in constants.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return [r["reason"] for r in pc.InferenceSession(model).explain() if r["macs"]]


@pytest.mark.parametrize("T", [2, 4, 8])
@pytest.mark.parametrize("size", [1, 3])
def test_integer_products_name_their_windows(T, size):
    k = 24 * size * size
    w = kernels.module("qgemm").weights_for(np.random.default_rng(0), 40, k, T, size * size)
    w = w.reshape(40, size, size, 24).transpose(0, 3, 1, 2)
    assert products(w)[0].endswith(f"; accumulation depth of {T} steps")


def test_depthwise_products_name_their_windows():
    w = kernels.module("qdwconv").weights_for(np.random.default_rng(0), 40, (3, 3), 7).reshape(40, 1, 3, 3)
    assert products(w, 40)[0].endswith("; accumulation depth of 7 pairs")
    assert products(np.full((40, 1, 3, 3), 127, np.int8), 40)[0].endswith("; full range: widened")


def test_products_of_full_range_say_so_and_how_much_of_them():
    w = np.full((40, 24, 1, 1), 127, np.int8)
    w[:, ::2] = -127  # each pair cancels, two pairs are too much
    assert products(w)[0].endswith("; accumulation depth of 1 step")
    w[:] = 127
    assert products(w)[0].endswith("; full range: split or widened")
    w[:16] = 1
    assert products(w)[0].endswith("; accumulation depth of 8 steps, 2 of 3 panels split or widened")
    w[16:32] = 30
    assert products(w)[0].endswith("; accumulation depth of 4 to 8 steps, 1 of 3 panels split or widened")
