import json
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress.compress.model import graph as g
from pycompress.compress.model.prepare import check, prepare, quantize_constants, readable

F = TensorProto.FLOAT
rng = np.random.default_rng(0)
W = rng.standard_normal((8, 12)).astype("f4")
DATA = [np.random.default_rng(i).standard_normal((4, 8)).astype("f4") for i in range(3)]


def N(op, inputs, output, **attributes):
    return helper.make_node(op, inputs, [output], name=f"{op}.{output}", **attributes)


def I64(*values):
    return np.array(values, np.int64)


def product(*before, opset=17, ir=8, **constants):
    """x @ w, `before` makes w."""
    ports = [helper.make_tensor_value_info("x", F, [4, 8]), helper.make_tensor_value_info("y", F, [4, 12])]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph([*before, N("MatMul", ["x", "w"], "y")], "g", ports[:1], ports[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def run(model, x):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pc.VerdictWarning)
        yield


WAYS = {
    "Transpose": lambda: product(N("Transpose", ["k"], "w", perm=[1, 0]), k=W.T.copy()),
    "Reshape": lambda: product(N("Reshape", ["k", "s"], "w"), k=W.ravel(), s=I64(8, 12)),
    "Mul": lambda: product(N("Mul", ["k", "s"], "w"), k=W, s=np.ones((1, 12), "f4") * 2),
    "Identity": lambda: product(N("Identity", ["k"], "i"), N("Identity", ["i"], "w"), k=W),
    "Cast of float16": lambda: product(N("Cast", ["k"], "w", to=F), k=W.astype("f2")),
    "Cast of float64": lambda: product(N("Cast", ["k"], "w", to=F), k=W.astype(float)),
    "Transpose of float16": lambda: product(
        N("Transpose", ["k"], "t", perm=[1, 0]), N("Cast", ["t"], "w", to=F), k=W.T.astype("f2")
    ),
    "Concat": lambda: product(N("Concat", ["k", "l"], "w", axis=1), k=W[:, :5], l=W[:, 5:]),
    "Slice": lambda: product(N("Slice", ["k", "s", "e"], "w"), k=np.r_[W, W], s=I64(0), e=I64(8)),
    "Gather": lambda: product(N("Gather", ["k", "s"], "w"), k=W, s=I64(*range(8))[::-1].copy()),
    "Squeeze": lambda: product(N("Squeeze", ["k", "s"], "w"), k=W[None], s=I64(0)),
    "Constant": lambda: product(N("Constant", [], "w", value=numpy_helper.from_array(W))),
    "weight norm": lambda: product(
        N("ReduceL2", ["v"], "n", axes=[0], keepdims=1), N("Div", ["v", "n"], "u"), N("Mul", ["u", "s"], "w"),
        v=W, s=np.full((1, 12), 3, "f4"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_seen_behind_what_is_made_of_constants(way):
    model = WAYS[way]()
    ready = prepare(g.as_model(model))
    assert [n.op_type for n in ready.graph.node] == ["MatMul"]
    np.testing.assert_allclose(run(ready, DATA[0]), run(model, DATA[0]), rtol=1e-5, atol=1e-5)
    quantized = pc.quantize(model, DATA)
    assert not [t.name for t in quantized.graph.initializer if t.data_type == F and len(t.dims) > 1]
    pruned = pc.prune(model, 0.5, exclude=[])
    assert list(json.loads(g.metadata(pruned)["pycompress.prune"])["layers"]) == ["MatMul.y"]
    assert list(json.loads(g.metadata(pc.factorize(model, rank={"MatMul.y": 2}))["pycompress.factorize"])["layers"])
    if "float16" in way:
        with pytest.raises(pc.ModelError, match="nothing to cast"):
            pc.cast(model)
        return
    cast = pc.cast(model, "bfloat16")
    np.testing.assert_allclose(run(cast, DATA[0]), run(model, DATA[0]), rtol=0.1, atol=0.3)


def test_fills_stay_small():
    model = product(
        N("Expand", ["k", "s"], "big"),
        N("Mul", ["x", "z"], "v"),
        k=np.ones(1, "f4"),
        s=I64(4, 1 << 20),
        w=W,
        z=np.ones(1, "f4"),
    )
    model.graph.output.append(helper.make_tensor_value_info("big2", F, None))
    model.graph.node.append(N("Relu", ["big"], "big2"))
    assert prepare(g.as_model(model)).ByteSize() < 1 << 16


def test_weights_that_are_computed_when_the_model_runs_are_named():
    ports = [helper.make_tensor_value_info(n, F, s) for n, s in (("x", [4, 8]), ("k", [12, 8]), ("y", [4, 5]))]
    nodes = [N("Gemm", ["x", "k"], "h", transB=1), N("Gemm", ["h", "w"], "y")]
    tensors = [numpy_helper.from_array(W.T[:, :5].copy(), "w")]
    graph = helper.make_graph(nodes, "g", ports[:2], ports[2:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    told = json.loads(g.metadata(pc.prune(model, 0.5, exclude=[]))["pycompress.prune"])
    assert told["excluded"] == {"Gemm.h": "its weights are computed when it runs"} and list(told["layers"]) == [
        "Gemm.y"
    ]


def test_initializers_that_old_models_list_as_inputs_are_weights():
    model = product(opset=8, ir=3, w=W)
    model.graph.input.append(helper.make_tensor_value_info("w", F, W.shape))
    for result in (pc.quantize(model, DATA), pc.prune(model, 0.5, exclude=[]), pc.cast(model)):
        assert [i.name for i in result.graph.input] == ["x"] and result.ir_version >= 4
        np.testing.assert_allclose(run(result, DATA[0]).shape, (4, 12))


def test_shapes_that_are_not_declared_do_no_harm():
    model = product(N("Identity", ["k"], "w"), k=W)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.value_info.append(helper.make_tensor_value_info("w", F, None))
    for result in (
        pc.quantize(model, DATA),
        pc.prune(model, 0.5, exclude=[]),
        pc.cast(model),
        pc.factorize(model, rank=4),
    ):
        assert pc.InferenceSession(result).run(None, {"x": DATA[0]})[0].shape == (4, 12)
        check(result)
    assert not model.graph.output[0].type.tensor_type.HasField("shape")


def test_nodes_without_names_get_some_and_metadata_outlive_a_conversion():
    model = product(opset=11, w=W)
    model.graph.node[0].name = ""
    helper.set_model_props(model, {"labels": '["a"]'})
    result = pc.prune(model, 0.5, exclude=[])
    assert g.metadata(result)["labels"] == '["a"]' and all(n.name for n in result.graph.node)


def test_a_shared_weight_that_a_transpose_reads_too_is_its_own_for_each_layer():
    model = product(N("Transpose", ["k"], "w", perm=[1, 0]), N("MatMul", ["z", "k"], "back"), k=W.T.copy())
    model.graph.node[1].input[0] = "y"
    nodes = [model.graph.node[i] for i in (0, 2, 1)]
    g.set_nodes(model, [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes])
    model.graph.output[0].name = "back"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    told = json.loads(g.metadata(pc.prune(model, 0.5, exclude=[]))["pycompress.prune"])
    assert set(told["layers"]) == {"MatMul.y", "MatMul.back"}


def coded(*between, axis=1, codes=None, scale=None):
    """x, rounded, times weights that are DequantizeLinear of codes, with the nodes `between` before the product."""
    x = [N("QuantizeLinear", ["x", "xs", "xz"], "q"), N("DequantizeLinear", ["q", "xs", "xz"], "d")]
    weights = {"c": codes, "cs": scale, "cz": np.zeros(np.shape(scale), np.int8)}
    nodes = [*x, N("DequantizeLinear", ["c", "cs", "cz"], "k", axis=axis), *between]
    model = product(*nodes, xs=np.float32(0.02), xz=np.uint8(128), **weights)
    model.graph.node[-1].input[0] = "d"
    return model


CODES = np.clip(np.rint(W / 0.02), -127, 127).astype(np.int8)


@pytest.mark.parametrize("scale", [np.float32(0.02), np.linspace(0.01, 0.03, 12).astype("f4")])
def test_recertify_sees_codes_behind_a_transpose(scale):
    model = coded(N("Transpose", ["k"], "w", perm=[1, 0]), axis=0, codes=CODES.T.copy(), scale=scale)
    before = run(model, DATA[0])
    ready = readable(g.as_model(model))
    quantize_constants(ready)
    assert "Transpose" not in {n.op_type for n in ready.graph.node}
    np.testing.assert_array_equal(run(ready, DATA[0]), before)
    after = run(pc.recertify(model, DATA), DATA[0])
    assert np.square(after - before).sum() < 0.05 * np.square(before).sum()


def test_recertify_sees_float_weights_that_the_model_rounds_itself():
    model = coded(N("Identity", ["k"], "w"), codes=CODES, scale=np.linspace(0.01, 0.03, 12).astype("f4"))
    q = N("QuantizeLinear", ["f", "cs", "cz"], "c", axis=1)
    model.graph.node.insert(0, q)
    model.graph.initializer.append(numpy_helper.from_array(W, "f"))
    model.graph.initializer.remove(next(t for t in model.graph.initializer if t.name == "c"))
    before = run(model, DATA[0])
    ready = readable(g.as_model(model))
    quantize_constants(ready)
    assert [n.op_type for n in ready.graph.node].count("QuantizeLinear") == 1
    np.testing.assert_array_equal(run(ready, DATA[0]), before)
    assert "pycompress.accumulate" in g.metadata(pc.recertify(model, DATA))


@pytest.mark.parametrize("read_elsewhere", [False, True])
def test_batch_norm_is_folded_through_identity(read_elsewhere):
    rows = {k: rng.uniform(0.5, 1.5, 6).astype("f4") for k in ("scale", "shift", "mean", "var")}
    nodes = [
        N("Conv", ["x", "w"], "a"),
        N("Identity", ["a"], "b"),
        N("Identity", ["b"], "c"),
        N("BatchNormalization", ["c", *rows], "d"),
        N("Add", ["d", "b"], "y") if read_elsewhere else N("Relu", ["d"], "y"),
    ]
    ports = [helper.make_tensor_value_info(k, F, [1, c, 5, 5]) for k, c in (("x", 3), ("y", 6))]
    tensors = [numpy_helper.from_array(v, k) for k, v in (rows | {"w": W[:6, :3].reshape(6, 3, 1, 1)}).items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = rng.standard_normal((1, 3, 5, 5)).astype("f4")
    wanted, made = run(model, x), prepare(g.copied(model))
    assert np.allclose(run(made, x), wanted, atol=1e-5)
    assert ("BatchNormalization" in {n.op_type for n in made.graph.node}) == read_elsewhere
    if not read_elsewhere:
        convolutions = [n for n in pc.quantize(model, [x] * 4).graph.node if n.op_type == "Conv"]
        assert len(convolutions) == 1  # no depthwise one of what was BatchNormalization
