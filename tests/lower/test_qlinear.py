"""Integer operators, one at a time, against onnxruntime: within one step where it rounds in another way."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from qlinear import check, codes, kernels, scale

import pycompress as pc
from interpret import interpret
from oracle import as_model, floats, one_node, ort_outputs, ours

MICROSOFT = "com.microsoft"
PAIRS = [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]
types = pytest.mark.parametrize("dtype", ["uint8", "int8"])
pairs = pytest.mark.parametrize("pair", PAIRS, ids=["-".join(p) for p in PAIRS])
where = pytest.mark.parametrize("run_time", [False, True], ids=["constant", "run-time"])


@pairs
@where
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("bias", [False, True])
def test_qlinear_conv(pair, run_time, groups, bias):
    rng = np.random.default_rng(0)
    x, w = codes(rng, pair[0], 2, 6, 7, 5), codes(rng, pair[1], 6, 6 // groups, 3, 2)
    per_channel = pair[1] == "int8" and not run_time
    ws = rng.uniform(0.001, 0.01, 6).astype(np.float32) if per_channel else scale(0.004)
    wz = np.zeros(6, np.int8) if per_channel else codes(rng, pair[1])
    inputs = {"x": x, "xs": scale(0.02), "xz": codes(rng, pair[0]), "w": w, "ws": ws, "wz": wz, "ys": scale(0.1),
              "yz": codes(rng, pair[0])}  # fmt: skip
    if bias:
        inputs["b"] = rng.integers(-5000, 5000, 6, np.int32)
    program = check("QLinearConv", inputs, ["x", "w"] if run_time and not bias else ["x"], steps=1, group=groups,
                    pads=[1, 0, 1, 2], strides=[2, 1])  # fmt: skip
    products = {"qconv", "qdwconv"} & set(kernels(program))
    assert products and not {"dequantize", "quantize"} & set(kernels(program))


@pairs
@where
@pytest.mark.parametrize(
    "shape", [((3, 20), (20, 7)), ((2, 3, 20), (2, 20, 7)), ((2, 3, 20), (20, 7)), ((20,), (20, 7))]
)
def test_qlinear_matmul(pair, run_time, shape):
    rng = np.random.default_rng(1)
    inputs = {
        "a": codes(rng, pair[0], *shape[0]), "as": scale(0.02), "az": codes(rng, pair[0]),
        "b": codes(rng, pair[1], *shape[1]), "bs": scale(0.01), "bz": codes(rng, pair[1]),
        "ys": scale(0.3), "yz": codes(rng, pair[0]),
    }  # fmt: skip
    program = check("QLinearMatMul", inputs, ["a", "b"] if run_time else ["a"], steps=1)
    assert set(kernels(program)) <= {"qgemm", "qpack", "lut", "permute"}


@pairs
@where
@pytest.mark.parametrize("zeros", ["none", "scalar"])
def test_matmul_integer(pair, run_time, zeros):
    rng = np.random.default_rng(2)
    inputs = {"a": codes(rng, pair[0], 2, 5, 30), "b": codes(rng, pair[1], 30, 18)}
    if zeros == "scalar":
        inputs |= {"az": codes(rng, pair[0]), "bz": codes(rng, pair[1])}
    assert "qgemm" in kernels(check("MatMulInteger", inputs, ["a", "b"] if run_time else ["a"]))


def test_matmul_integer_with_a_zero_point_per_row_and_column():
    rng = np.random.default_rng(3)
    a, b, az, bz = (
        codes(rng, "uint8", 2, 5, 30),
        codes(rng, "int8", 30, 18),
        codes(rng, "uint8", 5),
        codes(rng, "int8", 18),
    )
    model = one_node("MatMulInteger", {"a": a, "b": b, "az": az, "bz": bz}, ["b", "az", "bz"])
    (got,), _ = ours(model, {"a": a})
    np.testing.assert_array_equal(got, (a.astype(np.int32) - az[:, None].astype(np.int32)) @ (b.astype(np.int32) - bz))


@where
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_conv_integer(run_time, groups):
    rng = np.random.default_rng(4)
    inputs = {"x": codes(rng, "uint8", 2, 6, 7, 5), "w": codes(rng, "uint8", 6, 6 // groups, 3, 3),
              "xz": np.uint8(77), "wz": np.uint8(130)}  # fmt: skip
    check("ConvInteger", inputs, ["x", "w"] if run_time else ["x"], pads=[1, 1, 0, 2], group=groups)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_dynamic_quantization_is_one_product_with_a_scale_of_its_own(per_channel, bias):
    rng = np.random.default_rng(5)
    n = 7
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["scale"]),
        helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        *(
            [helper.make_node("Add", ["scaled", "b"], ["y"])]
            if bias
            else [helper.make_node("Identity", ["scaled"], ["y"])]
        ),
    ]
    ws = rng.uniform(0.01, 0.1, n).astype(np.float32) if per_channel else np.full(1, 0.05, np.float32)
    constants = {"w": codes(rng, "int8", 20, n), "wz": np.int8(0), "ws": ws, "b": floats(rng, n)}
    x = floats(rng, 3, 20)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants))
    (got,), program = interpret(model, {"x": x})
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], rtol=1e-6, atol=1e-6)
    product = next(s for s in program.steps if s.kernel == "qgemm")
    assert product.args["out"].dtype == np.float32 and product.args["scale"] is not None


@pytest.mark.parametrize("per_channel, zero, bias", [(False, False, True), (True, True, False), (True, False, True)])
@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_dynamic_quantization_as_onnxruntime_saves_it_when_optimized(op, per_channel, zero, bias):
    rng = np.random.default_rng(5)
    n = 7
    w = {"w": codes(rng, "uint8", 20, n)}
    a = {"x": floats(rng, 2, 3, 20)}
    ws = {"ws": rng.uniform(0.01, 0.1, n).astype(np.float32) if per_channel else np.full((), 0.05, np.float32)}
    wz = {"wz": (codes(rng, "uint8", n) if per_channel else codes(rng, "uint8")) if zero else None}
    inputs = a | w | ws | wz
    if op == "MatMulIntegerToFloat":
        inputs = {"x": codes(rng, "uint8", 2, 3, 20)} | w | {"xs": scale(0.02)} | ws | {"xz": codes(rng, "uint8")} | wz
    inputs |= {"b": floats(rng, n) if bias else None}
    model = one_node(op, inputs, ["w", "ws", "wz", "b"], domain=MICROSOFT)
    given = {k: np.asarray(inputs[k]) for k in ("x", "xs", "xz") if k in inputs}
    (got,), program = interpret(model, given)
    np.testing.assert_allclose(got, ort_outputs(model, given)[0], rtol=1e-5, atol=1e-5)
    product = next(s for s in program.steps if s.kernel == "qgemm")
    assert product.args["out"].dtype == np.float32 and product.args["scale"] is not None


def test_a_scale_that_does_not_fit_a_fused_product_is_refused():
    rng = np.random.default_rng(5)
    inputs = {"x": floats(rng, 3, 20), "w": codes(rng, "uint8", 20, 7), "ws": np.ones(3, np.float32)}
    with pytest.raises(pc.ModelError, match="the_node.*b_scale must be float32 of one of the shapes"):
        ours(one_node("DynamicQuantizeMatMul", inputs, ["w", "ws"], domain=MICROSOFT), {"x": inputs["x"]})


@pytest.mark.parametrize("op, shape", [("ConvInteger", (2, 5, 6, 7)), ("MatMulInteger", (2, 3, 5))])
def test_weights_that_a_tool_took_for_activations_are_quantized_while_planning(op, shape):
    """As onnxruntime's quantize_dynamic does where weights come from Constant nodes."""
    rng = np.random.default_rng(6)
    x, w = floats(rng, *shape), floats(rng, *((4, 5, 3, 3) if op == "ConvInteger" else (5, 4)))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DynamicQuantizeLinear", ["w"], ["wq", "ws", "wz"]),
        helper.make_node(op, ["q", "wq", "z", "wz"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["scale"]),
        helper.make_node("Mul", ["real", "scale"], ["y"]),
    ]
    model = as_model(nodes, {"x": x}, ["y"], [])
    (got,), program = interpret(model, {"x": x})
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], rtol=1e-5, atol=1e-5)
    assert kernels(program).count("dynquant") == 1


@types
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("other", [(2, 3, 4, 5), (3, 1, 1), (1,), (5,)])
@where
def test_sums_and_products(dtype, op, other, run_time):
    rng = np.random.default_rng(6)
    inputs = {
        "a": codes(rng, dtype, 2, 3, 4, 5), "as": scale(0.02), "az": codes(rng, dtype),
        "b": codes(rng, dtype, *other), "bs": scale(0.03), "bz": codes(rng, dtype), "ys": scale(0.05), "yz": codes(rng, dtype),
    }  # fmt: skip
    program = check(op, inputs, ["a", "b"] if run_time else ["a"], steps=1, domain=MICROSOFT)
    if run_time or other in ((1,), (5,)):
        assert not {"binary", "dequantize"} & set(kernels(program))


@types
@pytest.mark.parametrize("op", ["QLinearSigmoid", "QLinearLeakyRelu"])
def test_functions(dtype, op):
    rng = np.random.default_rng(7)
    inputs = {
        "x": codes(rng, dtype, 4, 9),
        "xs": scale(0.03),
        "xz": codes(rng, dtype),
        "ys": scale(0.02),
        "yz": codes(rng, dtype),
    }
    options = {"alpha": 0.3} if op == "QLinearLeakyRelu" else {}
    program = check(op, inputs, ["x"], steps=1, domain=MICROSOFT, **options)
    assert set(kernels(program)) == {"lut"}


@types
def test_softmax(dtype):
    rng = np.random.default_rng(8)
    inputs = {"x": codes(rng, dtype, 4, 9), "xs": scale(0.03), "xz": codes(rng, dtype), "ys": scale(1 / 256),
              "yz": np.array(np.iinfo(dtype).min, dtype)}  # fmt: skip
    nodes = [helper.make_node("QLinearSoftmax", list(inputs), ["y"], domain=MICROSOFT, axis=-1, opset=13)]
    model = as_model(nodes, inputs, ["y"], [n for n in inputs if n != "x"])
    (got,), _ = ours(model, {"x": inputs["x"]})
    assert np.abs(got.astype(int) - ort_outputs(model, {"x": inputs["x"]})[0].astype(int)).max() <= 1


@types
@pytest.mark.parametrize("options", [
    {"kernel_shape": [3, 2]}, {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 1, 1, 0]},
    {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, {},
])  # fmt: skip
def test_average_pools(dtype, options):
    rng = np.random.default_rng(9)
    inputs = {
        "x": codes(rng, dtype, 2, 3, 6, 5),
        "xs": scale(0.03),
        "xz": codes(rng, dtype),
        "ys": scale(0.02),
        "yz": codes(rng, dtype),
    }
    op = "QLinearAveragePool" if options else "QLinearGlobalAveragePool"
    program = check(op, inputs, ["x"], steps=1, domain=MICROSOFT, **options)
    assert "qpool" in kernels(program) and "dequantize" not in kernels(program)


@types
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(dtype, axis):
    rng = np.random.default_rng(10)
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    inputs = {"ys": scale(0.03), "yz": codes(rng, dtype)}
    for i, shape in enumerate(shapes):
        shape[axis] += i
        inputs |= {
            f"x{i}": codes(rng, dtype, *shape),
            f"s{i}": scale(0.02 + 0.01 * (i % 2)),
            f"z{i}": codes(rng, dtype),
        }
    inputs["z1"] = inputs["yz"]
    program = check("QLinearConcat", inputs, ["x0", "x1", "x2"], steps=1, domain=MICROSOFT, axis=axis)
    assert set(kernels(program)) <= {"lut", "permute"}


@pairs
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("turned", [0, 1])
def test_qgemm(pair, quantized, turned):
    rng = np.random.default_rng(11)
    inputs = {
        "a": codes(rng, pair[0], 5, 12), "as": scale(0.02), "az": codes(rng, pair[0]),
        "b": codes(rng, pair[1], *((6, 12) if turned else (12, 6))), "bs": rng.uniform(0.01, 0.02, 6).astype(np.float32),
        "bz": codes(rng, pair[1], 6), "c": rng.integers(-500, 500, 6, np.int32),
    }  # fmt: skip
    inputs |= {"ys": scale(0.1), "yz": codes(rng, pair[0])} if quantized else {}
    steps = 1 if quantized else 1e-4
    program = check("QGemm", inputs, ["a"], steps=steps, domain=MICROSOFT, transB=turned, alpha=0.75)
    assert "qgemm" in kernels(program) and "sgemm" not in kernels(program)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("domain", ["", MICROSOFT])
def test_quantize_and_dequantize(dtype, axis, domain):
    rng = np.random.default_rng(12)
    shape = (3, 4, 5)
    size = () if axis is None else (shape[axis],)
    s, z = rng.uniform(0.01, 0.1, size).astype(np.float32), codes(rng, dtype, *size)
    options = {"domain": domain} | ({} if axis is None else {"axis": axis})
    x = floats(rng, *shape) * np.float32(3)
    check("QuantizeLinear", {"x": x, "s": s, "z": z}, ["x"], **options)
    check("DequantizeLinear", {"x": codes(rng, dtype, *shape), "s": s, "z": z}, ["x"], **options)


def test_ties_and_infinities_are_quantized_as_onnx_says():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, np.inf, -np.inf, 1e30, -1e30], np.float32)
    check("QuantizeLinear", {"x": x, "s": np.float32(1), "z": np.int8(3)}, ["x"])


def test_dequantize_int32():
    rng = np.random.default_rng(13)
    check(
        "DequantizeLinear",
        {"x": rng.integers(-(2**31), 2**31 - 1, 20, np.int32), "s": np.float32(0.37)},
        ["x"],
        steps=64,
    )


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
@pytest.mark.parametrize("block", [0, 4])
def test_weights_of_four_bits(kind, block):
    rng = np.random.default_rng(14)
    low, high = (-8, 8) if kind == TensorProto.INT4 else (0, 16)
    w = rng.integers(low, high, (12, 6))
    scales = rng.uniform(0.01, 0.1, (3, 6) if block else 6).astype(np.float32)
    zeros = rng.integers(low, high, scales.shape)
    x = floats(rng, 3, 12)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["real"], axis=0 if block else 1, block_size=block),
        helper.make_node("MatMul", ["x", "real"], ["y"]),
    ]
    model = as_model(nodes, {"x": x, "s": scales}, ["y"], ["s"], opset=21)
    for name, data in (("w", w), ("z", zeros)):
        model.graph.initializer.append(helper.make_tensor(name, kind, data.shape, data.reshape(-1).tolist()))
    (got,), _ = ours(model, {"x": x})
    real = (w - (np.repeat(zeros, block, 0) if block else zeros)) * (np.repeat(scales, block, 0) if block else scales)
    np.testing.assert_allclose(got, x @ real, rtol=1e-5, atol=1e-5)


def test_float_weights_between_quantize_and_dequantize_become_codes():
    rng = np.random.default_rng(15)
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"], axis=0),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        helper.make_node("Conv", ["xd", "wd"], ["y"], kernel_shape=[3, 3]),
    ]
    constants = {"w": floats(rng, 5, 4, 3, 3), "ws": np.full(5, 0.02, np.float32), "wz": np.zeros(5, np.int8),
                 "xs": np.float32(0.03), "xz": np.uint8(120)}  # fmt: skip
    x = floats(rng, 1, 4, 6, 6)
    model = as_model(nodes, {"x": x} | constants, ["y"], list(constants))
    (got,), program = ours(model, {"x": x})
    np.testing.assert_allclose(got, ort_outputs(model, {"x": x})[0], rtol=1e-4, atol=1e-4)
    assert "qconv" in kernels(program)


X, S, Z = np.zeros((2, 3), np.float32), np.float32(1), np.uint8(0)
BAD = {
    "negative scale": ("QuantizeLinear", {"x": X, "s": np.float32(-1), "z": Z}, {}, "'s' must be finite and not negative"),
    "NaN scale": ("DequantizeLinear", {"x": X.astype(np.uint8), "s": np.float32(np.nan), "z": Z}, {}, "finite and not negative"),
    "infinite scale": ("DequantizeLinear", {"x": X.astype(np.uint8), "s": np.float32(np.inf), "z": Z}, {}, "finite and not negative"),
    "double scale": ("QuantizeLinear", {"x": X, "s": np.float64(1), "z": Z}, {}, "'s' must be float32"),
    "zero point of another type": ("DequantizeLinear", {"x": X.astype(np.int8), "s": S, "z": Z}, {}, "'z' must be i8"),
    "sizes that differ": ("QuantizeLinear", {"x": X, "s": np.ones(3, np.float32), "z": np.zeros(2, np.uint8)}, {"axis": 1}, "of one size"),
    "axis out of range": ("QuantizeLinear", {"x": X, "s": np.ones(3, np.float32), "z": np.zeros(3, np.uint8)}, {"axis": 2}, "attribute 'axis'"),
    "axis of another size": ("QuantizeLinear", {"x": X, "s": np.ones(3, np.float32), "z": np.zeros(3, np.uint8)}, {"axis": 0}, "attribute 'axis'"),
    "matrix of scales": ("QuantizeLinear", {"x": X, "s": np.ones((2, 3), np.float32), "z": np.zeros((2, 3), np.uint8)}, {}, "scalars or vectors"),
    "blocks that do not fit": ("QuantizeLinear", {"x": X, "s": np.ones((2, 3), np.float32), "z": np.zeros((2, 3), np.uint8)}, {"block_size": 2}, "attribute 'block_size'"),
    "negative block": ("QuantizeLinear", {"x": X, "s": S, "z": Z}, {"block_size": -1}, "attribute 'block_size'"),
    "int32 target": ("QuantizeLinear", {"x": X, "s": S, "z": np.int32(0)}, {}, "to i32"),
    "float codes": ("DequantizeLinear", {"x": X, "s": S}, {}, "works on"),
    "integer input": ("QuantizeLinear", {"x": X.astype(np.int32), "s": S, "z": Z}, {}, "float32"),
    "unknown output type": ("QuantizeLinear", {"x": X, "s": S}, {"output_dtype": TensorProto.FLOAT8E4M3FN}, "output_dtype"),
    "float inputs": ("MatMulInteger", {"x": X, "w": np.zeros((3, 2), np.int8)}, {}, "input 0 must be u8 or i8"),
    "zero point of the weights": ("MatMulInteger", {"x": X.astype(np.uint8), "w": np.zeros((3, 2), np.int8), "z": Z, "wz": Z}, {}, "'wz' must be i8"),
    "too many zero points": ("MatMulInteger", {"x": X.astype(np.uint8), "w": np.zeros((3, 2), np.int8), "z": np.zeros(3, np.uint8)}, {}, "'z' must have 1 or 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_parameters_are_refused_by_name(what):
    op, inputs, options, words = BAD[what]
    model = one_node(op, inputs, [n for n in inputs if n != "x"], **options)
    with pytest.raises(pc.ModelError, match="the_node") as error:
        ours(model, {"x": inputs["x"]})
    assert words in str(error.value)


def test_a_per_tensor_scale_is_asked_for_where_only_one_is_allowed():
    inputs = {"x": np.zeros((1, 2, 3, 3), np.uint8), "xs": np.ones(2, np.float32), "xz": np.zeros(2, np.uint8),
              "w": np.zeros((1, 2, 1, 1), np.int8), "ws": S, "wz": np.int8(0), "ys": S, "yz": Z}  # fmt: skip
    model = one_node("QLinearConv", inputs, [n for n in inputs if n != "x"])
    with pytest.raises(pc.ModelError, match="'xs' must be a scalar"):
        ours(model, {"x": inputs["x"]})


def test_quantizing_to_four_bits_is_refused():
    model = one_node("QuantizeLinear", {"x": X, "s": S, "z": None}, ["s"], opset=21)
    model.graph.node[0].input[2] = "z"
    model.graph.initializer.append(helper.make_tensor("z", TensorProto.INT4, [], [0]))
    with pytest.raises(pc.ModelError, match="less than 8 bits"):
        ours(model, {"x": X})
    assert numpy_helper.to_array(model.graph.initializer[0]).shape == ()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0), ()])
def test_empty_tensors_and_scalars_are_quantized(shape):
    per_axis = (3,) if shape else ()
    parameters = {"s": np.ones(per_axis, np.float32), "z": np.zeros(per_axis, np.uint8)}
    check("QuantizeLinear", {"x": np.zeros(shape, np.float32)} | parameters, ["x"])
    check("DequantizeLinear", {"x": np.zeros(shape, np.uint8)} | parameters, ["x"])


@pytest.mark.parametrize("m,k,n", [(0, 3, 4), (3, 0, 4), (2, 3, 0)])
def test_empty_products(m, k, n):
    inputs = {"a": np.zeros((m, k), np.uint8), "b": np.zeros((k, n), np.int8)}
    (got,), _ = ours(one_node("MatMulInteger", inputs, ["b"]), {"a": inputs["a"]})
    np.testing.assert_array_equal(got, np.zeros((m, n), np.int32))
