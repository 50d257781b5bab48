"""Quantized graphs as other toolkits write them."""

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model, floats, ort_outputs

RNG = np.random.default_rng(0)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def run(model, x):
    session = pc.InferenceSession(model)
    return session.run(None, x)[0], session.explain()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("pads", [(0, 0, 0, 1, 0, 0, 0, 0), (0, 0, 1, 2, 0, 0, 3, 0), (0, 1, 0, 0, 0, 0, 1, 0)])
def test_the_border_of_two_joined_scales_is_zero(dtype, axis, pads):
    nodes = []
    for n in "ab":
        nodes += [node("QuantizeLinear", ["x", n + "s", n + "z"], [n + "q"]),
                  node("DequantizeLinear", [n + "q", n + "s", n + "z"], [n])]  # fmt: skip
    nodes += [node("Concat", ["a", "b"], ["c"], axis=axis), node("Pad", ["c", "p"], ["y"])]
    shift = 128 if dtype == np.int8 else 0
    constants = {"as": np.float32(0.05), "az": dtype(100 - shift), "bs": np.float32(0.02), "bz": dtype(130 - shift),
                 "p": np.array(pads)}  # fmt: skip
    x = RNG.uniform(-1, 1, (1, 2, 3, 4)).astype(np.float32)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13)
    np.testing.assert_allclose(run(model, {"x": x})[0], ort_outputs(model, {"x": x})[0], atol=1e-6)


@pytest.mark.parametrize("dtype,low,high", [(np.int8, -8, 7), (np.int8, -2, 1), (np.uint8, 0, 15)])
@pytest.mark.parametrize("op", ["Clip", "MaxMin"])
def test_codes_clipped_to_fewer_bits_stay_codes(dtype, low, high, op):
    clip = [node("Clip", ["q", "lo", "hi"], ["k"])]
    if op == "MaxMin":
        clip = [node("Max", ["q", "lo"], ["m"]), node("Min", ["m", "hi"], ["k"])]
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), *clip, node("DequantizeLinear", ["k", "s", "z"], ["y"])]
    constants = {"s": np.float32(0.1), "z": dtype(0), "lo": dtype(low), "hi": dtype(high)}
    x = floats(RNG, 3, 40)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13)
    np.testing.assert_allclose(run(model, {"x": x})[0], ort_outputs(model, {"x": x})[0], atol=1e-6)


def test_a_dead_channel_of_scale_zero_gives_its_bias_and_others_are_as_they_were():
    q = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["a"])]
    nodes = [
        *q,
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        node("Gemm", ["a", "wd", "b"], ["y"], transB=1),
    ]
    constants = {"s": np.float32(0.1), "z": np.int8(0), "w": np.int8([[1, 2, 3], [9, 9, 9]]), "ws": np.float32([0.5, 0]),
                 "wz": np.zeros(2, np.int8), "b": np.float32([0, 0.25])}  # fmt: skip
    x = np.float32([[1, -2, 3]])
    got, rows = run(as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13), {"x": x})
    np.testing.assert_allclose(got, [[3.0, 0.25]], atol=1e-6)
    assert any(r["kernel"] in ("qgemm", "qspmm") for r in rows)  # whichever skips the zeros faster here


def test_a_tensor_of_scale_zero_is_zero():
    x = np.uint8([0, 1, 255])
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["y"])]
    constants = {"s": np.float32(0), "z": np.uint8(0)}
    np.testing.assert_array_equal(
        run(as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13), {"x": x})[0], 0
    )


@pytest.mark.parametrize("form", ["Unsqueeze", "Reshape", "Squeeze"])
def test_weights_with_a_scale_per_output_stay_integers_behind_moves(form):
    q = [node("QuantizeLinear", ["x", "xs", "xz"], ["q"]), node("DequantizeLinear", ["q", "xs", "xz"], ["d"])]
    shape, args, tail = {
        "Unsqueeze": ((8, 4), np.array([2, 3]), [node("Conv", ["d", "wt"], ["y"])]),
        "Reshape": ((4, 3, 3, 1), np.array([4, 1, 3, 3]), [node("Conv", ["d", "wt"], ["y"], pads=[1] * 4, group=4)]),
        "Squeeze": ((8, 4, 1, 1), np.array([2, 3]), [node("Reshape", ["d", "s2"], ["dr"]), node("Gemm", ["dr", "wt"], ["y"], transB=1)]),
    }[form]  # fmt: skip
    nodes = [*q, node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0), node(form, ["wd", "args"], ["wt"]), *tail]
    constants = {"xs": np.float32(0.05), "xz": np.int8(-3), "w": RNG.integers(-60, 61, shape).astype(np.int8),
                 "ws": np.linspace(0.01, 0.02, shape[0]).astype(np.float32), "wz": np.zeros(shape[0], np.int8),
                 "args": args, "s2": np.array([36, 4])}  # fmt: skip
    x = floats(RNG, 1, 4, 6, 6)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13)
    got, rows = run(model, {"x": x})
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], atol=1e-3)
    assert all(r["kernel"].startswith("q") for r in rows if r["macs"])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", ["none", "packed", "float"])
def test_matmulnbits_of_all_bits_and_zero_points(bits, zeros):
    k, n, block = 64, 5, 32
    per, blocks = 8 // bits, k // block
    codes = RNG.integers(0, 1 << bits, (n, k))
    packed = sum(codes[:, i::per] << (bits * i) for i in range(per)).astype(np.uint8).reshape(n, blocks, -1)
    scale = RNG.uniform(0.01, 0.04, (n, blocks)).astype(np.float32)
    zero = np.full((n, blocks), float(1 << (bits - 1)))
    constants = {"b": packed, "s": scale.reshape(-1)}
    if zeros == "packed":
        zero = RNG.integers(0, 1 << bits, (n, blocks)).astype(float)
        width = -(-blocks * bits // 8)
        full = np.zeros((n, width * per), int)
        full[:, :blocks] = zero
        constants["z"] = sum(full[:, i::per] << (bits * i) for i in range(per)).astype(np.uint8).reshape(-1)
    elif zeros == "float":
        zero = RNG.uniform(0, (1 << bits) - 1, (n, blocks)).astype(np.float32)
        constants["z"] = zero.astype(np.float32)
    x = floats(RNG, 3, k)
    made = helper.make_node(
        "MatMulNBits", ["x", *constants], ["y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block
    )
    got, _ = run(as_model([made], {"x": x} | constants, ["y"], list(constants), opset=17), {"x": x})
    of = np.arange(k) // block
    want = x.astype(float) @ ((codes - zero[:, of]) * scale[:, of]).T
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_what_onnxruntime_s_optimizer_saves_gives_the_same_answer():
    x = floats(RNG, 2, 8, 6, 6)
    constants = {"w": floats(RNG, 16, 8, 3, 3), "b": floats(RNG, 16), "fw": floats(RNG, 5, 16), "fb": floats(RNG, 5)}
    fused = [node("FusedConv", ["x", "w", "b"], ["r"], pads=[1] * 4, domain="com.microsoft", activation="Relu"),
             node("GlobalAveragePool", ["r"], ["g"]), node("Flatten", ["g"], ["f"]),
             node("FusedGemm", ["f", "fw", "fb"], ["y"], transB=1, domain="com.microsoft", activation="LeakyRelu", activation_alpha=0.2)]  # fmt: skip
    plain = [node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["r"]),
             node("GlobalAveragePool", ["r"], ["g"]), node("Flatten", ["g"], ["f"]),
             node("Gemm", ["f", "fw", "fb"], ["d"], transB=1), node("LeakyRelu", ["d"], ["y"], alpha=0.2)]  # fmt: skip
    given = {"x": x} | constants
    got, want = (run(as_model(n, given, ["y"], list(constants), opset=17), {"x": x})[0] for n in (fused, plain))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu", "QuickGelu"])
def test_gelus_of_onnxruntime(op):
    x, b = floats(RNG, 3, 16), floats(RNG, 16)
    inputs = {"x": x} | ({} if op == "QuickGelu" else {"b": b})
    model = as_model([node(op, list(inputs), ["y"], domain="com.microsoft")], inputs, ["y"], ["b"], opset=17)
    np.testing.assert_allclose(run(model, {"x": x})[0], ort_outputs(model, {"x": x})[0], rtol=1e-4, atol=1e-5)


def test_skip_layer_normalization():
    x, skip, gamma, beta = floats(RNG, 2, 3, 16), floats(RNG, 2, 3, 16), floats(RNG, 16), floats(RNG, 16)
    inputs = {"x": x, "s": skip, "g": gamma, "b": beta}
    model = as_model([node("SkipLayerNormalization", list(inputs), ["y"], domain="com.microsoft", epsilon=1e-5)], inputs,
                     ["y"], ["g", "b"], opset=17)  # fmt: skip
    feed = {"x": x, "s": skip}
    np.testing.assert_allclose(run(model, feed)[0], ort_outputs(model, feed)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    "op,names",
    [("Min", "q lo hi"), ("Max", "hi q lo"), ("Max", "q each"), ("Min", "each q"), ("Max", "q lo q")],
)
def test_codes_are_bounded_by_several_values_or_one_per_column(dtype, op, names):
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node(op, names.split(), ["k"]),
             node("DequantizeLinear", ["k", "s", "z"], ["y"])]  # fmt: skip
    low = -100 if dtype == np.int8 else 20
    constants = {"s": np.float32(0.05), "z": dtype(low + 60), "lo": dtype(low), "hi": dtype(low + 90),
                 "each": np.arange(low + 40, low + 80, 8, dtype=dtype)}  # fmt: skip
    constants = {n: c for n, c in constants.items() if n in {i for m in nodes for i in m.input}}
    x = floats(RNG, 7, 5)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants), opset=13)
    np.testing.assert_array_equal(run(model, {"x": x})[0], ort_outputs(model, {"x": x})[0])


@pytest.mark.parametrize("scale", [[0.1, 0, 0.02, 0.3], [0, 0, 0, 0]])
@pytest.mark.parametrize("op", ["QLinearConv", "QLinearMatMul", "QGemm"])
def test_dead_channels_of_integer_operators_give_what_onnxruntime_gives(op, scale):
    x = RNG.integers(0, 256, (1, 8, 5, 5) if op == "QLinearConv" else (5, 8)).astype(np.uint8)
    w = RNG.integers(-100, 100, (4, 8, 3, 3) if op == "QLinearConv" else (8, 4)).astype(np.int8)
    constants = {"xs": np.float32(0.03), "xz": np.uint8(120), "w": w, "ws": np.float32(scale), "wz": np.zeros(4, np.int8),
                 "ys": np.float32(0.8), "yz": np.uint8(100), "b": RNG.integers(-5000, 5000, 4).astype(np.int32)}  # fmt: skip
    names = {"QLinearConv": "x xs xz w ws wz ys yz b", "QLinearMatMul": "x xs xz w ws wz ys yz",
             "QGemm": "x xs xz w ws wz b ys yz"}[op].split()  # fmt: skip
    constants = {n: c for n, c in constants.items() if n in names}
    model = as_model(
        [node(op, names, ["y"], domain="com.microsoft" if op == "QGemm" else "")],
        {"x": x} | constants,
        ["y"],
        list(constants),
    )
    got, want = run(model, {"x": x})[0], ort_outputs(model, {"x": x})[0]
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.astype(int), want.astype(int), rtol=0, atol=1)
    dead = np.array(scale) == 0
    np.testing.assert_array_equal(got[:, dead], 100)


PAIRS = {
    "edge": ([node("Pad", ["c", "p"], ["y"], mode="edge")], {"p": np.array([0, 1, 1, 1, 0, 1, 2, 0])}),
    "reflect": ([node("Pad", ["c", "p"], ["y"], mode="reflect")], {"p": np.array([0, 2, 1, 1, 0, 1, 2, 0])}),
    "a border other than zero": ([node("Pad", ["c", "p", "v"], ["y"])],
                                 {"p": np.array([0, 1, 1, 0, 0, 0, 2, 0]), "v": np.float32(0.33)}),
    "a crop": ([node("Pad", ["c", "p"], ["y"])], {"p": np.array([0, -1, 1, -1, 0, 0, -1, 0])}),
    "rows": ([node("Gather", ["c", "i"], ["y"], axis=1)], {"i": np.array([4, 0, 3, 3])}),
    "backwards": ([node("Slice", ["c", "a", "e", "x1", "a"], ["y"])],
                  {"a": np.array([-1]), "e": np.array([-9]), "x1": np.array([1])}),
    "split": ([node("Split", ["c", "sizes"], ["y", "k"], axis=1)], {"sizes": np.array([3, 2])}),
    "channels last": ([node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1])], {}),
    "flat": ([node("Flatten", ["c"], ["y"])], {}),
    "axes merged": ([node("Reshape", ["c", "to"], ["y"])], {"to": np.array([1, 20, 4])}),
    "tiles": ([node("Tile", ["c", "r"], ["y"])], {"r": np.array([1, 2, 1, 2])}),
    "blocks": ([node("SpaceToDepth", ["c"], ["y"], blocksize=2)], {}),
    "a pool": ([node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])], {}),
    "a mean": ([node("AveragePool", ["c"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)], {}),
    "a resize": ([node("Resize", ["c", "", "by"], ["y"], mode="nearest")], {"by": np.float32([1, 1, 2, 2])}),
    "another join": ([node("Concat", ["c", "a0"], ["y"], axis=1)], {}),
}  # fmt: skip


@pytest.mark.parametrize("what", PAIRS)
@pytest.mark.parametrize("dtype,zeros", [(np.uint8, (100, 140)), (np.int8, (-7, 30))])
def test_two_joined_scales_stay_apart_through_every_move(what, dtype, zeros):
    moves, more = PAIRS[what]
    inputs = {"x0": floats(RNG, 1, 2, 4, 4), "x1in": floats(RNG, 1, 3, 4, 4) * 3}
    nodes, constants = [], dict(more)
    for i, (name, scale) in enumerate(zip(inputs, (0.02, 0.05))):
        constants |= {f"s{i}": np.float32(scale), f"z{i}": dtype(zeros[i])}
        nodes += [node("QuantizeLinear", [name, f"s{i}", f"z{i}"], [f"q{i}"]),
                  node("DequantizeLinear", [f"q{i}", f"s{i}", f"z{i}"], [f"a{i}"])]  # fmt: skip
    nodes += [node("Concat", ["a0", "a1"], ["c"], axis=1), *moves]
    model = as_model(nodes, inputs | constants, ["y"], list(constants), opset=18)
    np.testing.assert_allclose(run(model, inputs)[0], ort_outputs(model, inputs)[0], rtol=0, atol=1e-5)
