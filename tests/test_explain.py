"""What runs in float although its weights are integers says so, and strict plans refuse it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc


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
