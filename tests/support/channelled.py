"""Networks whose channels are pruned, and what they are compared with."""

import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model import graph as g
from pycompress.compress.model.prepare import prepare
from pycompress.compress.pruning.channel_rules import follow
from pycompress.compress.pruning.channels import masked, take_away

SIZE = 64
RNG = np.random.default_rng


def ort_outputs(model, feed):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options).run(None, feed)


def ours(model, feed):
    return pc.InferenceSession(model).run(None, feed)


def image(*shape, seed=0):
    return {"input": RNG(seed).standard_normal(shape or (1, 3, SIZE, SIZE), np.float32)}


def agree(a, b):
    """Sums of the same terms in another order: bounds per element would need the graph, so one for the whole."""
    for x, y in zip(a, b):
        np.testing.assert_allclose(x, y, rtol=0, atol=2e-4 * np.abs(x).max())


def node(op, x, y, *more, **attributes):
    return helper.make_node(op, [x, *more], [y], name=y, **attributes)


def conv(x, y, w, *bias, **attributes):
    return node("Conv", x, y, w, *bias, **attributes)


def network(nodes, shape=(1, 3, 16, 16), output="output", opset=17, **constants):
    """A model; tuples are shapes of Gaussian weights, everything else is a constant."""
    rng = RNG(0)
    made = {
        k: (rng.standard_normal(v) / np.sqrt(np.prod(v[1:]))).astype(np.float32) if isinstance(v, tuple) else v
        for k, v in constants.items()
    }
    given = [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)]
    tensors = [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in made.items()]
    answers = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "net", given, answers, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)  # the output's shape
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def report(model):
    return json.loads(g.metadata(model)["pycompress.prune"])


def kept(model):
    return {layer: group["kept"] for group in report(model)["groups"] for layer in group["layers"]}


def shape(model, name):
    return tuple(g.constants(model)[name].dims)


def pinned(model):
    return {layer: why for row in report(model)["pinned"] for layer in row["layers"] for why in row["why"]}


def takes_any_half(model, feed, seed=0):
    """Takes half of each group at random; the pruned network answers as the whole one with zeros. Returns it."""
    model = prepare(model)
    deps = follow(model)
    groups = [group.free for group in deps.groups() if group.free]
    gone = {r for free in groups for r in RNG(seed).permutation(free)[: len(free) // 2].tolist()}
    assert gone
    pruned, whole = take_away(model, deps, gone), masked(model, deps, gone)
    onnx.checker.check_model(pruned, full_check=True)
    wanted = ort_outputs(whole, feed)
    agree(wanted, ort_outputs(pruned, feed))
    agree(wanted, ours(pruned, feed))
    return pruned
