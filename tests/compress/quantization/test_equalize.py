import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress
from pycompress.compress.calibration.engine import runner
from pycompress.compress.model import graph as g
from pycompress.compress.quantization import equalize
from pycompress.compress.quantization.equalize import Streams, find_streams
from pycompress.compress.quantization.precondition import Preconditioned
from pycompress.compress.verdict import snr

RNG = np.random.default_rng(0)


def equalize_streams(model, samples, exclude=()):
    """The streams that are scaled, after `model` was changed in place."""
    streams = Streams(model, exclude)
    Preconditioned(model, [streams], samples, ["output"]).settled(["input"])
    done = json.loads(g.metadata(model).get(Streams.metadata, "{}")).get("scaled", [])
    return [s for s in streams.streams if s.tensors[0] in done]


def model_of(nodes, tensors, shapes):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [numpy_helper.from_array(np.asarray(x, np.float32), name) for name, x in tensors.items()]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def residual(tail="Relu"):
    """A stream that two convolutions make and two read, with channels of very different ranges."""
    reach = np.geomspace(0.02, 20, 8)

    def c(x, w, y, **more):
        return helper.make_node("Conv", [x, w, *([f"{w}b"] if more.pop("bias", 0) else [])], [y], y, **more)

    nodes = [
        c("input", "w0", "a", bias=1),
        c("a", "w1", "h"),
        helper.make_node("Clip", ["h", "zero", "six"], ["r"], "r"),
        c("r", "w2", "b"),
        helper.make_node("Add", ["a", "b"], ["s"], "s"),
        c("s", "w3", "t"),
        helper.make_node(tail, ["t"], ["output"], "output"),
    ]
    tensors = {
        "w0": RNG.standard_normal((8, 4, 1, 1)) * reach[:, None, None, None],
        "w0b": RNG.standard_normal(8) * reach,
    }
    tensors |= {"w1": RNG.standard_normal((16, 8, 1, 1)) / reach[:, None, None], "zero": 0, "six": 6}
    tensors |= {"w2": RNG.standard_normal((8, 16, 1, 1)) * reach[:, None, None, None] / 4}
    tensors |= {"w3": RNG.standard_normal((4, 8, 1, 1)) / reach[:, None, None]}
    model = model_of(nodes, tensors, {"input": ["b", 4, 6, 6], "output": ["b", 4, 6, 6]})
    return model, [{"input": x} for x in RNG.standard_normal((24, 1, 4, 6, 6)).astype("f4")]


def test_streams_whose_channels_are_broadcast_stay_as_they_are():
    nodes = [
        helper.make_node("Conv", ["input", "w0"], ["a"], "a"),
        helper.make_node("Conv", ["input", "w1"], ["b"], "b"),
        helper.make_node("Add", ["a", "b"], ["s"], "s"),
        helper.make_node("Conv", ["s", "w2"], ["output"], "output"),
    ]
    tensors = {"w0": RNG.standard_normal((8, 4, 1, 1)), "w1": RNG.standard_normal((1, 4, 1, 1))}
    tensors["w2"] = RNG.standard_normal((4, 8, 1, 1))
    model = model_of(nodes, tensors, {"input": ["b", 4, 6, 6], "output": ["b", 4, 6, 6]})
    samples = [{"input": x} for x in RNG.standard_normal((4, 1, 4, 6, 6)).astype("f4")]
    before = g.copied(model)
    assert equalize_streams(model, samples) == []
    assert model.graph == before.graph
    assert pycompress.quantize(before, samples).graph.node


def rows():
    """A normalized tensor that two products read."""
    nodes = [
        helper.make_node("LayerNormalization", ["input", "gamma", "beta"], ["x"], "norm"),
        helper.make_node("MatMul", ["x", "wq"], ["q"], "q"),
        helper.make_node("MatMul", ["x", "wk"], ["k"], "k"),
        helper.make_node("Add", ["q", "k"], ["output"], "add"),
    ]
    gamma = np.geomspace(0.05, 20, 16)
    tensors = {"gamma": gamma, "beta": RNG.standard_normal(16)}
    tensors |= {n: RNG.standard_normal((16, 12)) / gamma[:, None] for n in ("wq", "wk")}
    model = model_of(nodes, tensors, {"input": ["b", 5, 16], "output": ["b", 5, 12]})
    return model, [{"input": x} for x in RNG.standard_normal((24, 1, 5, 16)).astype("f4")]


@pytest.mark.parametrize("make", [residual, rows])
def test_the_float_network_stays_and_its_quantization_gains(make):
    model, samples = make()
    scaled = g.copied(model)
    (stream,) = equalize_streams(scaled, samples[:8])
    onnx.checker.check_model(scaled, full_check=True)
    wanted, got = ([runner(m)(None, x)[0] for x in samples[16:]] for m in (model, scaled))
    assert snr(wanted, got) > 90
    assert json.loads(g.metadata(scaled)[Streams.metadata]) == {"scaled": stream.tensors[:1]}
    found = [
        [runner(pycompress.quantize(model, samples[:16], equalize=e, target="vnni"))(None, x)[0] for x in samples[16:]]
        for e in (False, True)
    ]
    assert snr(wanted, found[1]) > snr(wanted, found[0]) + 3


def test_what_is_in_a_stream_and_what_is_not():
    model, _ = residual()
    (stream,) = find_streams(model)
    assert set(stream.tensors) == {"a", "b", "s"}
    assert stream.makers == ["a", "b"] and stream.readers == ["h", "t"] and stream.axis == 1 and not stream.smooth
    (stream,) = find_streams(rows()[0])
    assert stream.tensors == ["x"] and stream.makers == ["norm"] and stream.axis == -1 and stream.smooth
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, ["b", 8, 6, 6]))
    assert not find_streams(model)  # callers see its channels
    assert not equalize_streams(residual()[0], residual()[1][:2], exclude=["b"])


def test_a_stream_with_which_the_float_network_would_change_is_refused_by_name(monkeypatch):
    model, samples = residual()
    before = model.SerializeToString()
    scale = equalize._scale

    def wrong(model, stream, reach):
        scale(model, stream, reach)
        w = next(t for t in model.graph.initializer if t.name.startswith("t.weight"))
        w.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(w) * np.float32(1.1), w.name))

    monkeypatch.setattr(equalize, "_scale", wrong)
    assert equalize_streams(model, samples[:4]) == []
    told = json.loads(g.metadata(model)[Streams.metadata])
    assert told["scaled"] == [] and "keep 20.0 dB" in told["refused"]["a"]
    del model.metadata_props[:]
    assert model.SerializeToString() == before


def rows_of_few_values(count):
    """Two layers with a Relu between, and `count` rows: in each, a different few of 64 channels are large."""
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Gemm", ["input", "w0"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["r"], "r"),
        helper.make_node("Gemm", ["r", "w1"], ["output"], "output"),
    ]
    tensors = {"w0": rng.standard_normal((256, 64)), "w1": rng.standard_normal((64, 4))}
    model = model_of(nodes, tensors, {"input": [1, 256], "output": [1, 4]})
    return model, [{"input": rng.standard_normal((1, 256)).astype(np.float32)} for _ in range(count)]


def test_few_values_of_a_channel_do_not_decide_how_it_is_scaled():
    model, samples = rows_of_few_values(128)
    wanted = [runner(model)(["output"], s) for s in samples]

    def left(count, equalize):
        made = pycompress.quantize(model, samples[:count], equalize=equalize, judge=False, accumulate=0)
        session = pycompress.InferenceSession(made)
        return min(snr(a, b) for a, b in zip(zip(*wanted), zip(*[session.run(None, s) for s in samples])))

    assert left(6, True) > left(6, False) - 1  # 3.7 dB less where six values do decide


def test_channels_are_scaled_by_their_ranges_alone_from_16_values_on():
    streams = Streams(rows_of_few_values(1)[0])
    rows = np.random.default_rng(0).standard_normal((16, 1, 64)).astype(np.float32)
    for row in rows[:15]:
        streams.add(dict.fromkeys(streams.tensors, row))
    assert all((streams._reach(t) != streams._sums[t]).any() for t in streams.tensors)
    streams.add(dict.fromkeys(streams.tensors, rows[15]))
    assert all((streams._reach(t) == streams._sums[t]).all() for t in streams.tensors)
