import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from pycompress.compress.model import graph as g
from pycompress.compress.quantization.interleave import Copies, allotted, find_places
from pycompress.compress.quantization.precondition import Preconditioned
from pycompress.compress.quantize import quantize

rng = np.random.default_rng(0)
METADATA = Copies.metadata
CHANNELS, BRIGHT = 32, 8  # of the latter the depthwise convolution takes differences


def interleave(model, samples, exclude=()):
    """How many channels are added, by layer, after `model` was changed in place."""
    feeds = [{"input": x} for x in samples]
    Preconditioned(model, [Copies(model, exclude)], feeds, ["output"]).settled(["input"])
    return json.loads(g.metadata(model).get(METADATA, "{}"))


def network(bright=BRIGHT, last=1):
    """Conv -> Clip(0, 6) -> depthwise Conv -> Clip -> 1x1 Conv, whose first `bright` channels hold the input's brightness."""
    w = rng.normal(0, 0.5, (CHANNELS, 3, 3, 3)).astype("f4")
    w[:bright] = rng.uniform(0.02, 0.05, (bright, 3, 3, 3))
    b = np.where(np.arange(CHANNELS) < bright, 3, 0).astype("f4")
    d = rng.normal(0, 0.3, (CHANNELS, 1, 3, 3)).astype("f4")
    d[:bright] *= 15
    d[:bright] -= d[:bright].mean((1, 2, 3), keepdims=True)
    constants = {
        "w": w,
        "b": b,
        "d": d,
        "e": np.full(CHANNELS, 3, "f4"),
        "v": rng.normal(0, 0.3, (24, CHANNELS, last, last)).astype("f4"),
        "low": np.float32(0),
        "high": np.float32(6),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w", "b"], ["y"], "first", pads=[1] * 4),
        helper.make_node("Clip", ["y", "low", "high"], ["z"], "bound"),
        helper.make_node("Conv", ["z", "d", "e"], ["t"], "depthwise", pads=[1] * 4, group=CHANNELS),
        helper.make_node("Clip", ["t", "low", "high"], ["u"], "act"),
        helper.make_node("Conv", ["u", "v"], ["output"], "last"),
    ]
    nodes[-1].input.append("c")
    constants["c"] = np.zeros(24, "f4")
    ports = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, None, None])
        for n, c in (("input", 3), ("output", 24))
    ]
    tensors = [numpy_helper.from_array(np.asarray(x), n) for n, x in constants.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(count, seed):
    """Smooth images."""
    own = np.random.default_rng(seed)
    at = np.linspace(0, 3, 24)
    return [
        np.stack(
            [np.sin(own.uniform(0.5, 2) * at[:, None] + own.uniform(0.5, 2) * at + own.uniform(0, 6)) for _ in range(3)]
        )[None].astype("f4")
        for _ in range(count)
    ]


def answer(model, x):
    return ort.InferenceSession(model.SerializeToString()).run(None, {"input": x})[0]


def ratio(model, other, xs):
    pairs = [(answer(model, x), answer(other, x)) for x in xs]
    return 10 * np.log10(sum(np.square(a).sum() for a, _ in pairs) / sum(np.square(a - b).sum() for a, b in pairs))


def test_copies_leave_the_float_network_as_it_is_and_lessen_the_error_of_the_quantized_one():
    model, given, unseen = network(), samples(16, 1), samples(8, 2)
    made = g.copied(model)
    assert interleave(made, given) == {"first": 32}
    onnx.checker.check_model(made, full_check=True)
    assert ratio(model, made, unseen) > 50
    with_copies, without = (quantize(model, given, target="vnni", interleave=on) for on in (True, False))
    assert ratio(model, with_copies, unseen) > ratio(model, without, unseen) + 3
    assert json.loads(g.metadata(with_copies)[METADATA]) == {"first": 32}
    assert METADATA not in g.metadata(without)


def test_nothing_is_copied_that_bounds_change_or_that_would_not_pay():
    assert interleave(network(0), samples(4, 1)) == {}
    model = network()
    assert interleave(model, [40 * x for x in samples(4, 1)]) == {}
    assert interleave(model, samples(4, 1), ["depthwise"]) == {}
    assert not find_places(network(last=3))


def test_a_tensor_that_others_read_is_no_place():
    model = network()
    (place,) = find_places(model)
    assert (place.first, place.depthwise, place.last, place.high) == ("first", "depthwise", "last", 6.0)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    assert not find_places(model)
    assert replace(place, high=1.0) != place


def test_channels_share_copies_by_their_errors():
    error, able = np.array([100.0, 50, *[0.1] * 30]), np.ones(32, bool)
    copies = allotted(error, able)
    assert copies.sum() == 64 and copies[0] > copies[1] > copies[2] and copies.min() == 1
    able[0] = False
    assert allotted(error, able) is None  # what can be removed is less than half
    assert allotted(np.ones(16), np.ones(16, bool)) is None  # up to 64 channels would be more than twice as many


def test_a_convolution_of_groups_of_several_channels_is_no_place():
    model = network()
    sizes = {"d": (CHANNELS // 2, 2, 3, 3), "e": (CHANNELS // 2,), "v": (24, CHANNELS // 2, 1, 1)}
    for tensor in model.graph.initializer:
        if tensor.name in sizes:
            tensor.CopyFrom(numpy_helper.from_array(np.ones(sizes[tensor.name], "f4"), tensor.name))
    next(a for a in model.graph.node[2].attribute if a.name == "group").i = CHANNELS // 2
    assert find_places(model) == []
    assert quantize(model, samples(2, 0)).graph.node
