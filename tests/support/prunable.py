"""A small network to prune, and what tests of pruning ask of networks."""

import json

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from pycompress.compress.model import graph as g
from pycompress.compress.model.matrix import matrix

SIZE = 32


def answer(model, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"input": x})[0]


def images(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE), np.float32)


def network(nodes, shape, out_shape, opset=17, **constants):
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    answers = [helper.make_tensor_value_info("output", TensorProto.FLOAT, out_shape)]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "net", given, answers, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def conv(x, y, w, *bias, **attributes):
    return helper.make_node("Conv", [x, w, *bias], [y], name=y, **attributes)


def small(seed=0):
    """A stem, a depthwise, a 3x3 and a 1x1 convolution, and a classifier."""
    rng = np.random.default_rng(seed)
    kinds = {"w": (16, 3, 3, 3), "d": (16, 1, 3, 3), "e": (20, 16, 3, 3), "p": (24, 20, 1, 1), "c": (10, 24)}
    nodes = [
        conv("input", "stem", "w", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem"], ["t"]),
        conv("t", "deep", "d", group=16, pads=[1, 1, 1, 1]),
        conv("deep", "wide", "e", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["wide"], ["v"]),
        conv("v", "point", "p", "pb"),
        helper.make_node("GlobalAveragePool", ["point"], ["y"]),
        helper.make_node("Flatten", ["y"], ["z"]),
        helper.make_node("Gemm", ["z", "c"], ["output"], name="head", transB=1),
    ]
    weights = {k: rng.standard_normal(s) / np.sqrt(np.prod(s[1:])) for k, s in kinds.items()}
    return network(nodes, ["n", 3, SIZE, SIZE], ["n", 10], pb=rng.standard_normal(24), **weights)


def told(model):
    return json.loads(g.metadata(model)["pycompress.prune"])


def layer(model, name):
    return matrix(model, next(n for n in model.graph.node if n.name == name))[0]
