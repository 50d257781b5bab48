import warnings

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.calibration.computable import computable

F, INT = TensorProto.FLOAT, TensorProto.INT64
DATA = [np.random.default_rng(i).standard_normal((1, 3, 8, 8)).astype("f4") for i in range(9)]


def conv(x, y, w, **attributes):
    return helper.make_node("Conv", [x, w], [y], name=y, **attributes)


def detector(*tail, outputs, domains=(), **constants):
    """Three convolutions, and the nodes `tail` after them."""
    rng = np.random.default_rng(0)
    sizes = {"w": (16, 3, 3, 3), "v": (16, 16, 1, 1), "u": (8, 16, 1, 1)}
    held = {k: (rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype("f4") for k, s in sizes.items()} | constants
    nodes = [conv("x", "a", "w", pads=[1] * 4), helper.make_node("Relu", ["a"], ["r"], name="relu"), conv("r", "b", "v"), conv("b", "c", "u")]  # fmt: skip
    ports = [helper.make_tensor_value_info(n, kind, None) for n, kind in outputs.items()]
    given = [helper.make_tensor_value_info("x", F, [1, 3, 8, 8])]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()]
    graph = helper.make_graph([*nodes, *tail], "g", given, ports, tensors)
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def with_unique():
    tail = [
        helper.make_node("Flatten", ["c"], ["f"], name="f"),
        helper.make_node("Unique", ["f"], ["y", "i"], name="top"),
    ]
    return detector(*tail, outputs={"y": F, "i": INT})


def with_foreign_middle():
    """A layer after what only others run."""
    tail = [
        helper.make_node("Anything", ["c"], ["z"], name="strange", domain="some.where"),
        conv("z", "y", "t"),
    ]
    t = np.random.default_rng(1).standard_normal((4, 8, 1, 1)).astype("f4")
    return detector(*tail, outputs={"y": F, "b": F}, domains=["some.where"], t=t)


def with_classes():
    tail = [
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="p"),
        helper.make_node("ArgMax", ["p"], ["y"], name="best", axis=1),
    ]
    return detector(*tail, outputs={"y": INT})


PASSES = {
    "quantize": lambda m, **k: pc.quantize(m, DATA, **k),
    "quantize 4": lambda m, **k: pc.quantize(m, DATA, weights=4, first_last=4, **k),
    "quantize mixed": lambda m, **k: pc.quantize(m, DATA, weights="mixed", first_last=4, **k),
    "prune": lambda m, **k: pc.prune(m, 0.5, calibration=DATA, exclude=[], **k),
    "prune without a fit": lambda m, **k: pc.prune(m, 0.5, calibration=DATA, exclude=[], reconstruct=False, **k),
    "prune channels": lambda m, **k: pc.prune(m, 0.25, pattern="channel", calibration=DATA, exclude=[], **k),
    "factorize": lambda m, **k: pc.factorize(m, rank=4, calibration=DATA, exclude=[], **k),
    "factorize by ratio": lambda m, **k: pc.factorize(m, ratio=0.8, calibration=DATA, exclude=[], **k),
    "cast": lambda m, **k: pc.cast(m, calibration=DATA, **k),
    "recertify": lambda m, **k: pc.recertify(pc.quantize(m, DATA, accumulate=0), DATA, **k),
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pc.VerdictWarning)
        yield


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("model", [with_unique, with_foreign_middle, with_classes])
def test_what_the_engine_lacks_stays_as_it_is_and_the_rest_is_compressed_and_judged(name, model):
    model = model()
    result = PASSES[name](model)
    given = pc.verdict(result)
    assert given.samples and given.snr is not None
    last = [n.op_type for n in model.graph.node][-1]
    assert [n.op_type for n in result.graph.node].count(last) >= 1
    if last != "Conv":
        ort.InferenceSession(result.SerializeToString()).run(None, {"x": DATA[0]})


@pytest.mark.parametrize(
    "model, ends, blocked",
    [
        (with_unique, ["f"], {"top"}),
        (with_foreign_middle, ["b", "c"], {"strange", "y"}),
        (with_classes, ["p"], {"best"}),
    ],
)
def test_errors_are_measured_at_the_last_float_tensors_that_are_computed(model, ends, blocked):
    able = computable(model(), {"x": DATA[0]})
    assert able.ends == ends and set(able.why) <= blocked


def test_layers_after_what_is_not_computed_are_left_alone_and_said():
    given = pc.verdict(pc.quantize(with_foreign_middle(), DATA))
    assert given.left["y"] == "it comes after node 'strange', which is not computed here"
    assert "operator 'Anything' of domain 'some.where' is not supported" in given.left["strange"]


def test_a_node_whose_attributes_cannot_be_lowered_is_found():
    tail = [
        helper.make_node("Softmax", ["c"], ["s"], name="s"),
        helper.make_node("Unique", ["s"], ["y", "i"], name="top", axis=1),
    ]
    model = detector(*tail, outputs={"y": F, "i": INT})
    model.graph.node[-2].attribute.append(helper.make_attribute("axis", 7))
    able = computable(model, {"x": DATA[0]})
    assert set(able.why) == {"s", "top"} and able.ends == ["c"]


def test_a_model_that_is_computed_whole_is_taken_as_it_is():
    model = detector(outputs={"c": F})
    able = computable(model, {"x": DATA[0]})
    assert able.part is model and able.ends == ["c"] and not able.why


def of_nothing_known():
    """A model whose first node is not computed here, so that nothing is."""
    nodes = [helper.make_node("Anything", ["x"], ["z"], name="strange", domain="some.where"), conv("z", "y", "w")]
    given = [helper.make_tensor_value_info("x", F, [1, 3, 8, 8])]
    w = numpy_helper.from_array(DATA[0][:, :, :3, :3].repeat(32, 0), "w")
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", F, None)], [w])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("some.where", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("name", [n for n in PASSES if n not in ("cast", "prune channels", "recertify")])
def test_a_model_of_which_nothing_is_computed_is_refused_with_the_node(name):
    with pytest.raises(ValueError, match="strange"):
        PASSES[name](of_nothing_known())


def test_what_needs_no_samples_still_compresses_it():
    result = pc.cast(of_nothing_known(), "bfloat16", calibration=DATA)
    assert {t.data_type for t in result.graph.initializer} == {TensorProto.BFLOAT16}
