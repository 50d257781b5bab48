"""Weights that several nodes have in common are rounded once, and kept once."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model import graph as g
from pycompress.compress.quantization.shared import firsts
from pycompress.compress.tuning.rounded import Forms, calibrated

STEPS, SIZE = 6, 48


def unrolled(kind="MatMul", bias=False):
    """A state that goes through the same weights in each of STEPS steps, and gets an input of its own."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((SIZE, SIZE)).astype("f4") / 7
    tensors, nodes, state = {"w": w if kind == "MatMul" else w[:, :, None, None]}, [], "x0"
    ports = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, shape(kind)) for i in range(STEPS)]
    for i in range(STEPS):
        if bias:
            tensors[f"b{i}"] = rng.standard_normal(SIZE).astype("f4") * i
        nodes.append(helper.make_node(kind, [state, "w", *([f"b{i}"] if bias else [])], [f"h{i}"], f"product{i}"))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"], f"relu{i}"))
        state = f"r{i}"
        if i + 1 < STEPS:
            nodes.append(helper.make_node("Add", [f"r{i}", f"x{i + 1}"], [f"s{i}"], f"add{i}"))
            state = f"s{i}"
    held = [numpy_helper.from_array(x, n) for n, x in tensors.items()]
    out = helper.make_tensor_value_info(state, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", ports, [out], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def shape(kind):
    return [4, SIZE] if kind == "MatMul" else [1, SIZE, 5, 5]


def samples(kind, count=24):
    rng = np.random.default_rng(1)
    return [{f"x{i}": (rng.standard_normal(shape(kind)) + i).astype("f4") for i in range(STEPS)} for _ in range(count)]


@pytest.mark.parametrize(
    "kind, bias, options",
    [("MatMul", False, {}), ("Conv", True, {}), ("MatMul", False, {"activations": "dynamic"}), ("MatMul", False, {"activations": "float"})],
)  # fmt: skip
def test_common_weights_stay_common_and_answers_stay_close(kind, bias, options):
    model, given = unrolled(kind, bias), samples(kind)
    made = pc.quantize(model, given, **options)
    codes = [t for t in made.graph.initializer if t.data_type == TensorProto.INT8 and np.prod(t.dims) == SIZE**2]
    assert len(codes) == 1 and made.ByteSize() < model.ByteSize() + 3000
    wanted, got = (
        np.concatenate([np.ravel(pc.InferenceSession(m).run(None, x)[0]) for x in given]) for m in (model, made)
    )
    assert 10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()) > 30


def test_one_depth_is_noted_for_all():
    made = pc.quantize(unrolled("Conv", True), samples("Conv"))
    depths = json.loads(g.metadata(made)["pycompress.accumulate"])
    assert depths.keys() == {f"product{i}" for i in range(STEPS)} and len(set(depths.values())) == 1


def test_common_weights_keep_eight_bits():
    with pytest.raises(ValueError, match="'product2' cannot have 4 bits: 6 nodes have its weights"):
        pc.quantize(unrolled(), samples("MatMul"), weights={"product2": 4})
    with pytest.raises(ValueError, match="no layer can have 4 bits: .*'product1': 6 nodes .*, which keep 8 bits"):
        pc.quantize(unrolled(), samples("MatMul"), weights=4, first_last=4)


def test_nodes_that_use_a_tensor_in_another_way_do_not_have_common_weights():
    a = helper.make_node("Gemm", ["x", "w"], ["y"], "a")
    b = helper.make_node("Gemm", ["x", "w"], ["z"], "b", transB=1)
    c = helper.make_node("Gemm", ["y", "w"], ["u"], "c")
    assert firsts([a, b, c]) == {"a": "a", "c": "a"}


def test_recertify_and_tune_keep_common_weights_common():
    model, given = unrolled("Conv", True), samples("Conv")
    full = pc.quantize(model, given, accumulate=0, equalize=False)
    for again in (pc.recertify(full), pc.recertify(full, given)):
        codes = [t for t in again.graph.initializer if t.data_type == TensorProto.INT8 and np.prod(t.dims) == SIZE**2]
        assert len(codes) == 1
    network = calibrated(g.copied(model), given[:8])
    made = Forms(network, "auto").build(dict.fromkeys((u.name for u in network.units), "int8"))
    assert made.ByteSize() < model.ByteSize() + 3000
    assert all(Forms(network, "auto").names(u, ("int8", "int4")) == ["int8"] for u in network.units if u.weighted)


def test_codes_that_are_scaled_along_two_axes_are_two_weights():
    rng = np.random.default_rng(3)
    held = {"c": rng.integers(-99, 99, (16, 16), np.int8), "s": np.geomspace(0.001, 0.02, 16, dtype="f4"), "z": np.zeros(16, "i1"),
            "xs": np.float32(0.02), "xz": np.uint8(128)}  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"], "d"),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["w1"], "w1", axis=1),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["w0"], "w0", axis=0),
        helper.make_node("MatMul", ["d", "w1"], ["y"], "y"),
        helper.make_node("Gemm", ["d", "w0"], ["u"], "u", transB=1),
    ]
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 16]) for n in names] for names in ("x", "yu")]
    graph = helper.make_graph(
        nodes, "net", *ports, [numpy_helper.from_array(np.asarray(v), n) for n, v in held.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.standard_normal((4, 16)).astype("f4")
    for want, got in zip(*(pc.InferenceSession(m).run(None, {"x": x}) for m in (model, pc.recertify(model)))):
        assert 10 * np.log10(np.square(want).sum() / np.square(want - got).sum()) > 30
