from functools import cache

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pycompress as pc  # noqa: E402
from pycompress import zoo  # noqa: E402
from pycompress.train import Exact, Twin, exact  # noqa: E402

WAYS = {
    "int8": {"accumulate": 8},
    "int8 of full range": {"target": "vnni"},
    "symmetric": {"symmetric": True},
    "int4": {"weights": 4, "rounding": "plain", "first_last": 4},
    "int4 with zero points": {"weights": 4, "rounding": "plain", "zero_points": True, "group_size": 64},
    "int4 per channel": {"weights": 4, "rounding": "plain", "group_size": None},
}


def images(count=16, seed=0, size=32, channels=3):
    return np.random.default_rng(seed).standard_normal((count, channels, size, size), np.float32)


@cache
def quantized(name, way):
    return pc.quantize(zoo.build(name, width=0.35, resolution=32, batch=None, classes=10), images(), **WAYS[way])


def check(model, x, input_name="input"):
    """Every tensor of codes, and the output, are the engine's."""
    mine = Exact(model)
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = {o.name for o in shown.graph.output}
    for name in mine.codes:
        if name not in given:
            shown.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, None))
    session = pc.InferenceSession(shown)
    names = [o.name for o in session.get_outputs()]
    engine = dict(zip(names, session.run(None, {input_name: x})))
    answer, kept = mine(x, keep=mine.codes)
    assert mine.codes
    for name in mine.codes:
        np.testing.assert_array_equal(kept[name].numpy(), engine[name], err_msg=name)
    np.testing.assert_array_equal(answer.numpy(), pc.InferenceSession(model).run(None, {input_name: x})[0])


CASES = [*((way, "mobilenetv2") for way in WAYS), ("int8", "mobilenetv3_small"), ("int4", "mobilenetv3_small")]


@pytest.mark.parametrize("way, name", CASES)
def test_codes_of_every_tensor_are_the_engine_s(way, name):
    check(quantized(name, way), images(64, seed=1) * 1.5)


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_codes_of_a_trained_twin_are_the_engine_s(way):
    twin = Twin(quantized("mobilenetv2", way)).train()
    optimizer = torch.optim.Adam(twin.parameters(), 3e-3)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(twin(torch.from_numpy(images())), torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    check(twin.onnx(), images(32, seed=2))
    assert torch.equal(exact(twin, images()), Exact(twin.onnx())(images()))


def graph(nodes, constants, channels=6):
    made = [helper.make_node(op, i, o.split(), name=f"{op}_{k}", **more) for k, (op, i, o, more) in enumerate(nodes)]
    ports = [("x", [None, channels, 9, 9]), ("y", None)]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ports]
    values = [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    body = helper.make_graph(made, "g", ports[:1], ports[1:], values)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)])


W, V, S = ["x", "w"], ["h", "v"], {"kernel_shape": [3, 3]}
BODIES = {  # from a, the result of a convolution of x, to h, which another convolution reads
    "average": [("AveragePool", ["a"], "h", {**S, "pads": [1, 0, 1, 1], "strides": [2, 1]})],
    "average counted": [("AveragePool", ["a"], "h", {**S, "pads": [1] * 4, "count_include_pad": 1})],
    "maximum": [("MaxPool", ["a"], "h", {**S, "pads": [1] * 4, "strides": [2, 2]})],
    "mean": [("ReduceMean", ["a", "spatial"], "h", {})],
    "sum, relu": [("Add", ["a", "x"], "s", {}), ("Relu", ["s"], "h", {})],
    "difference": [("Sub", ["x", "a"], "h", {})],
    "product, clip": [("Mul", ["x", "a"], "s", {}), ("Clip", ["s", "low", "high"], "h", {})],
    "relu, clip": [("Relu", ["a"], "r", {}), ("Clip", ["r", "", "high"], "h", {})],
    "square": [("Mul", ["x", "x"], "h", {})],
    "swish": [("Sigmoid", ["a"], "s", {}), ("Mul", ["a", "s"], "h", {})],
    "hard swish": [("HardSwish", ["a"], "h", {})],
    "gelu": [("Gelu", ["a"], "h", {"approximate": "tanh"})],
    "elu, tanh": [("Elu", ["a"], "r", {"alpha": 0.7}), ("Tanh", ["r"], "h", {})],
    "concat": [("Concat", ["x", "a"], "c", {"axis": 1}), ("Slice", ["c", "three", "nine", "one"], "h", {})],
    "split": [("Split", ["a"], "p q", {"axis": 1, "num_outputs": 2}), ("Concat", ["q", "p"], "h", {"axis": 1})],
    "transposed": [("Transpose", ["a"], "h", {"perm": [0, 1, 3, 2]})],
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("body", BODIES)
def test_every_operator_on_codes_is_the_engine_s(body, padded):
    rng = np.random.default_rng(3)
    every = {
        "w": rng.standard_normal((6, 6, 1, 1)).astype(np.float32), "v": rng.standard_normal((5, 6, 1, 1)).astype(np.float32),
        "b": rng.standard_normal(5).astype(np.float32), "spatial": np.array([2, 3]), "low": np.float32(-1), "high": np.float32(2),
        "one": np.array([1]), "three": np.array([3]), "nine": np.array([9]),
    }  # fmt: skip
    more = {}
    if padded:
        every["w"] = rng.standard_normal((6, 6, 3, 3)).astype(np.float32) * np.float32(0.4)
        more = {"pads": [1] * 4}
    nodes = [("Conv", W, "a", more), *BODIES[body], ("Conv", [*V, "b"], "y", {})]
    used = {name for _, inputs, _, _ in nodes for name in inputs}
    model = graph(nodes, {n: v for n, v in every.items() if n in used})
    x = images(40, seed=4, size=9, channels=6) + np.float32(0.3)
    check(pc.quantize(model, x[:20], accumulate=4, quantize_outputs=padded), x * np.float32(1.3), "x")


def test_a_residual_of_two_products_is_the_engine_s():
    rng = np.random.default_rng(3)
    w = {n: rng.standard_normal((6, 6, 1, 1)).astype(np.float32) for n in ("w", "u", "v")}
    nodes = [
        ("Conv", W, "a", {}),
        ("Relu", ["a"], "r", {}),
        ("Conv", ["r", "u"], "c", {}),
        ("Add", ["r", "c"], "h", {}),
        ("Conv", V, "y", {}),
    ]
    x = images(40, seed=4, size=9, channels=6)
    check(pc.quantize(graph(nodes, w), x), x, "x")


def test_flat_networks_are_the_engine_s():
    rng = np.random.default_rng(5)
    values = {
        "w": rng.standard_normal((8, 6, 3, 3)).astype(np.float32),
        "v": rng.standard_normal((12, 392)).astype(np.float32),
    }
    values |= {"m": rng.standard_normal((12, 5)).astype(np.float32), "b": rng.standard_normal(12).astype(np.float32)}
    nodes = [
        ("Conv", W, "a", {}), ("Relu", ["a"], "r", {}), ("Flatten", ["r"], "f", {}), ("Gemm", ["f", "v", "b"], "g", {"transB": 1}),
        ("Relu", ["g"], "h", {}), ("MatMul", ["h", "m"], "y", {}),
    ]  # fmt: skip
    x = images(20, seed=6, size=9, channels=6)
    for options in ({}, {"weights": 4, "rounding": "plain", "first_last": 4}, {"target": "vnni"}):
        check(pc.quantize(graph(nodes, values), x, **options), x, "x")


def test_what_stays_float_agrees_up_to_rounding():
    model = zoo.mobilenetv2(width=0.25, resolution=32, batch=None, classes=10)
    x = images()
    made = pc.quantize(model, x, exclude=["head.conv", "classifier"])
    mine, engine = exact(made, x).numpy(), pc.InferenceSession(made).run(None, {"input": x})[0]
    np.testing.assert_allclose(mine, engine, atol=1e-4 * np.abs(engine).max())
    mine, engine = exact(model, x).numpy(), pc.InferenceSession(model).run(None, {"input": x})[0]
    np.testing.assert_allclose(mine, engine, atol=1e-4 * np.abs(engine).max())


def test_what_cannot_be_evaluated_is_named():
    with pytest.raises(NotImplementedError, match=r"node 'Det_0' \(Det\)"):
        Exact(graph([("Det", ["x"], "y", {})], {}))
    with pytest.raises(KeyError, match="no tensor 'nowhere'"):
        exact(quantized("mobilenetv2", "int8"), images(), keep=["nowhere"])
