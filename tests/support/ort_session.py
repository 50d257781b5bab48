"""Models and checks for tests that a session is a drop-in for onnxruntime's."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import pycompress.ort as ort

ENGINES = pytest.mark.parametrize("engine", [ort, onnxruntime], ids=["pycompress", "onnxruntime"])


def network(dtype=TensorProto.FLOAT, shape=("N", 2)):
    """y = x + w and z = relu(y) for matrices of floats, otherwise z = x; with all the metadata that a model may have."""
    port = helper.make_tensor_value_info
    nodes, outputs, weights = [helper.make_node("Identity", ["x"], ["z"], "same")], [port("z", dtype, shape)], []
    if dtype == TensorProto.FLOAT and len(shape) == 2:
        nodes = [helper.make_node("Add", ["x", "w"], ["y"], "sum"), helper.make_node("Relu", ["y"], ["z"], "positive")]
        outputs.insert(0, port("y", dtype, shape))
        weights = [helper.make_tensor("w", dtype, [2], [1.0, -2.0])]
    graph = helper.make_graph(
        nodes, "the graph", [port("x", dtype, shape)], outputs, weights, doc_string="of the graph"
    )
    about = dict(producer_name="a test", domain="example.org", doc_string="of the model", model_version=7)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], **about)
    model.ir_version = 8
    helper.set_model_props(model, {"character": "a\nb", "version": "of the author"})
    return model.SerializeToString()


X = np.arange(4, dtype=np.float32).reshape(2, 2)
Y, Z = X + np.float32([1, -2]), np.maximum(X + np.float32([1, -2]), 0)


def refused(call, kinds):
    with pytest.raises(kinds):
        call()


def value_of(engine, x):
    return engine.OrtValue.ortvalue_from_numpy(x)
