"""Steps between codes become integer kernels that answer what the contract says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pycompress as pc
from interpret import interpret
from pycompress.lower import Preprocess, load, lower
from pycompress.optimize import optimize, uncompressed
from qdq import Builder, check, small_network

TYPES = st.sampled_from([np.uint8, np.int8])


def random(rng, *shape):
    return (rng.standard_normal(shape) * 3).astype(np.float32)


def codes(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def zero_point(rng, dtype, count=()):
    return codes(rng, dtype, count)


def kernels(program):
    return [step.kernel for step in program.steps]


@st.composite
def convolutions(draw):
    groups, each = draw(st.sampled_from([(1, 1), (1, 5), (2, 3), (3, 1), (33, 1)]))
    per_output = draw(st.integers(1, 3)) if groups < 33 else 1
    return {
        "seed": draw(st.integers(0, 2**32 - 1)), "group": groups, "inputs": groups * each,
        "outputs": groups * per_output if groups > 1 else draw(st.sampled_from([1, 4, 17])),
        "size": draw(st.tuples(st.integers(5, 9), st.integers(5, 9))), "k": draw(st.sampled_from([1, 2, 3])),
        "stride": draw(st.integers(1, 2)), "pads": draw(st.lists(st.integers(0, 1), min_size=4, max_size=4)),
        "dilation": draw(st.integers(1, 1 + draw(st.booleans()))), "x_type": draw(TYPES), "w_type": draw(TYPES),
        "y_type": draw(TYPES), "per_channel": draw(st.booleans()), "bias": draw(st.sampled_from(["none", "i32", "f32"])),
        "after": draw(st.sampled_from([None, "Relu", "Clip", "HardSwish"])), "batch": draw(st.integers(1, 2)),
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_convolutions(case):
    rng = np.random.default_rng(case["seed"])
    g = Builder(rng)
    k, count, group = case["k"], case["outputs"], case["group"]
    channels = (count,) if case["per_channel"] else ()
    x = g.quantize("x", 0.05, zero_point(rng, case["x_type"]))
    scale = rng.uniform(0.01, 0.03, channels).astype(np.float32)
    w = g.codes(
        codes(rng, case["w_type"], (count, case["inputs"] // group, k, k)),
        scale,
        zero_point(rng, case["w_type"], channels),
    )
    inputs = [x, w]
    if case["bias"] == "i32":
        total = (np.float64(np.float32(0.05)) * scale).astype(np.float32)
        inputs.append(
            g.codes(
                rng.integers(-9999, 9999, count, np.int32), np.broadcast_to(total, count), np.zeros(count, np.int32)
            )
        )
    elif case["bias"] == "f32":
        inputs.append(g.constant(rng.standard_normal(count)))
    y = g.op("Conv", *inputs, kernel_shape=[k, k], group=group, strides=[case["stride"]] * 2, pads=case["pads"],
             dilations=[case["dilation"]] * 2)  # fmt: skip
    if case["after"] in ("Relu", "Clip"):
        y = g.relu6(y) if case["after"] == "Clip" else g.op("Relu", y)
    y = g.quantize(y, 0.2, zero_point(rng, case["y_type"]))
    if case["after"] == "HardSwish":
        y = g.quantize(g.op("HardSwish", y), 0.1, zero_point(rng, case["y_type"]))
    program, _, _ = check(
        g.model((case["inputs"], *case["size"]), y), {"x": random(rng, case["batch"], case["inputs"], *case["size"])}
    )
    products = {"qconv", "qdwconv", "qgemm"}
    assert set(kernels(program)) <= products | {"quantize", "permute", "dequantize", "lut"}
    assert sum(k == "lut" for k in kernels(program)) <= 0, kernels(program)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), TYPES, TYPES, st.booleans(), st.sampled_from(["Gemm", "MatMul", "MatMul3"]))
def test_matrix_products(seed, x_type, w_type, per_channel, op):
    rng = np.random.default_rng(seed)
    m, k, n = rng.integers(1, 40, 3)
    g = Builder(rng)
    x = g.quantize("x", 0.02, zero_point(rng, x_type))
    channels = (n,) if per_channel else ()
    turned = op == "Gemm" and bool(rng.integers(2))
    scale, zero = rng.uniform(0.01, 0.03, channels), zero_point(rng, w_type, channels)
    w = g.codes(codes(rng, w_type, (n, k) if turned else (k, n)), scale, zero, 0 if turned else 1)
    if op == "Gemm":
        y = g.op("Gemm", x, w, g.constant(rng.standard_normal(n)), transB=int(turned))
    else:
        y = g.op("MatMul", x, w)
    y = g.quantize(y, 0.1, zero_point(rng, x_type))
    shape = (k,) if op != "MatMul3" else (int(m), k)
    program, _, _ = check(g.model(shape, y), {"x": random(rng, 2 if op == "MatMul3" else m, *shape)})
    assert set(kernels(program)) <= {"quantize", "qgemm", "dequantize"}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), TYPES, st.sampled_from(["Add", "Sub", "Mul"]), st.sampled_from([None, "Relu", "Clip"]),
    st.sampled_from([(2, 5, 4, 3), (1, 5, 1, 1), (4, 3), (2, 1, 4, 3)]),
)  # fmt: skip
def test_two_tensors_of_codes_meet_in_integers(seed, dtype, op, after, other):
    rng = np.random.default_rng(seed)
    g = Builder(rng)
    x = g.quantize("x", 0.04, zero_point(rng, dtype))
    picked = {
        (2, 5, 4, 3): "x", (1, 5, 1, 1): g.op("GlobalAveragePool", "x"),
        (4, 3): "x", (2, 1, 4, 3): "x",
    }[other]  # fmt: skip
    y = g.quantize(picked, 0.03, zero_point(rng, dtype))
    z = g.op(op, x, y) if rng.integers(2) else g.op(op, y, x)
    z = {"Relu": lambda: g.op("Relu", z), "Clip": lambda: g.relu6(z), None: lambda: z}[after]()
    z = g.quantize(z, 0.1, zero_point(rng, dtype))
    program, _, _ = check(g.model((5, 4, 3), z), {"x": random(rng, 2, 5, 4, 3)})
    assert "qbinary" in kernels(program) and "binary" not in kernels(program)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    TYPES,
    st.sampled_from(["AveragePool", "GlobalAveragePool", "MaxPool"]),
    st.integers(0, 1),
)
def test_pools(seed, dtype, op, padded):
    rng = np.random.default_rng(seed)
    g = Builder(rng)
    x = g.quantize("x", 0.04, zero_point(rng, dtype))
    options = {}
    if op != "GlobalAveragePool":
        options = {"kernel_shape": rng.integers(2, 4, 2).tolist(), "strides": rng.integers(1, 3, 2).tolist(),
                   "pads": rng.integers(0, 2, 4).tolist()}  # fmt: skip
    if op == "AveragePool":
        options["count_include_pad"] = padded
    y = g.quantize(g.op(op, x, **options), 0.03, zero_point(rng, dtype))
    program, _, _ = check(g.model((5, 8, 7), y), {"x": random(rng, 2, 5, 8, 7)})
    assert "qpool" in kernels(program) and not {"pool", "reduce"} & set(kernels(program))


@pytest.mark.parametrize("op", ["Relu", "LeakyRelu", "HardSigmoid", "HardSwish", "Sigmoid", "Tanh"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_functions_of_one_tensor_are_tables(op, dtype):
    rng = np.random.default_rng(3)
    g = Builder(rng)
    y = g.op(op, g.quantize("x", 0.04, zero_point(rng, dtype)))
    program, _, _ = check(g.model((5, 6), g.quantize(y, 0.02, zero_point(rng, dtype))), {"x": random(rng, 2, 5, 6)})
    assert kernels(program) == ["quantize", "lut", "dequantize"]


def decomposed_hardswish(g, y, q):
    """x * clip(x + 3, 0, 6) / 6 with codes between all of its parts."""
    gate = q(g.relu6(q(g.op("Add", y, g.constant(np.float32(3))))))
    return q(g.op("Mul", q(g.op("Mul", y, gate)), g.constant(np.float32(1 / 6))))


def swish(g, y, q):
    return q(g.op("Mul", y, q(g.op("Sigmoid", y))))


@pytest.mark.parametrize("function", [decomposed_hardswish, swish])
def test_functions_in_several_roundings_are_one_table_in_the_product(function):
    rng = np.random.default_rng(4)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, 3, 3, 3)), 0.01, np.int8(0))
    y = g.op("Conv", g.quantize("x", 0.03, np.uint8(99)), w, kernel_shape=[3, 3])
    scales = iter([0.05, 0.06, 0.04, 0.07, 0.03])
    y = function(g, g.quantize(y, 0.08, np.uint8(120)), lambda v: g.quantize(v, next(scales), np.uint8(30)))
    program, _, _ = check(g.model((3, 7, 6), y), {"x": random(rng, 2, 3, 7, 6)})
    assert [k for k in kernels(program) if k != "permute"] == ["qpixels", "qconv", "dequantize"]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("after", [None, "Relu", "HardSwish"])
def test_a_residual_sum_joins_the_product_and_keeps_its_rounding(first, after):
    rng = np.random.default_rng(5)
    g = Builder(rng)
    x = g.quantize("x", 0.04, np.uint8(100))
    w = g.codes(codes(rng, np.int8, (8, 8, 1, 1)), 0.01, np.int8(0))
    y = g.quantize(g.op("Conv", x, w), 0.1, np.uint8(140))
    z = g.op("Add", x, y) if first else g.op("Add", y, x)
    z = g.quantize(g.op("Relu", z) if after == "Relu" else z, 0.08, np.uint8(50))
    if after == "HardSwish":
        z = g.quantize(g.op("HardSwish", z), 0.07, np.uint8(20))
    program, _, _ = check(g.model((8, 5, 4), z), {"x": random(rng, 2, 8, 5, 4)})
    expected = ["quantize", "qgemm", *(["lut"] if after == "HardSwish" else []), "dequantize"]
    assert [k for k in kernels(program) if k != "permute"] == expected


@pytest.mark.parametrize("scales", [(0.05, 0.05, 0.05), (0.05, 0.03, 0.04)])
def test_joined_codes_are_written_in_place(scales):
    rng = np.random.default_rng(6)
    g = Builder(rng)
    x = g.quantize("x", 0.04, np.uint8(100))
    parts = []
    for scale, count in zip(scales, (8, 16)):
        w = g.codes(codes(rng, np.int8, (count, 8, 3, 3)), 0.01, np.int8(0))
        parts.append(g.quantize(g.op("Conv", x, w, kernel_shape=[3, 3], pads=[1] * 4), scale, np.uint8(80)))
    y = g.quantize(g.op("Concat", *parts, axis=1), scales[2], np.uint8(80))
    program, _, _ = check(g.model((8, 5, 4), y), {"x": random(rng, 2, 8, 5, 4)})
    assert [k for k in kernels(program) if k != "permute"] == ["quantize", "qconv", "qconv", "dequantize"]


def test_a_product_that_others_read_stays_float():
    rng = np.random.default_rng(7)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, 8)), 0.01, np.int8(0))
    y = g.op("MatMul", g.quantize("x", 0.04, np.uint8(100)), w)
    z = g.op("Add", g.quantize(y, 0.1, np.uint8(9)), y)
    program, _, _ = check(g.model((8,), z), {"x": random(rng, 4, 8)})
    product = next(s for s in program.steps if s.kernel == "qgemm")
    assert product.args["out"].dtype == np.float32


@pytest.mark.parametrize(("mean", "std", "scale", "zero", "luts"), [
    ((0.0,), (1.0,), 1.0, 0, 0),
    ((128.0,), (64.0,), 1 / 64, 128, 0),
    ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), 0.02, 114, 1),
])  # fmt: skip
def test_uint8_images_become_codes_by_table_or_as_they_are(mean, std, scale, zero, luts):
    rng = np.random.default_rng(8)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, 3, 1, 1)), 0.01, np.int8(0))
    model = load(
        g.model((3, 6, 5), g.quantize(g.op("Conv", g.quantize("x", scale, np.uint8(zero)), w), 0.5, np.uint8(128)))
    )
    program = lower(model, {"x": (2, 6, 5, 3)}, preprocess={"x": Preprocess(mean, std)})
    optimize(program)
    assert (
        kernels(program).count("lut") == luts
        and "normalize" not in kernels(program)
        and "quantize" not in kernels(program)
    )
    images = rng.integers(0, 256, (2, 6, 5, 3), np.uint8)
    floats = (images.astype(np.float32) - np.float32(mean)) / np.float32(std)
    got = pc.InferenceSession(
        pc.compile(model, input_shapes={"x": images.shape}, preprocess={"mean": mean, "std": std})
    ).run(None, {"x": images})
    want, _ = interpret(model.proto, {"x": np.ascontiguousarray(floats.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(got[0], want[0], atol=0.5 * 1.01 * luts)


def test_sums_that_int32_may_not_hold_stay_float():
    rng = np.random.default_rng(9)
    g = Builder(rng)
    x = g.quantize("x", 1.0, np.uint8(0))
    w = g.codes(np.full((40000, 1), 255, np.uint8), 1.0, np.uint8(0), 1)
    model = g.model((40000,), g.quantize(g.op("MatMul", x, w), 1e8, np.uint8(0)))
    (got,), program = interpret(model, {"x": np.full((1, 40000), 255, np.float32)})
    assert "qgemm" not in kernels(program)
    np.testing.assert_allclose(got, 26e8, rtol=0.01)


def test_uncompressed_names_the_nodes_whose_integer_weights_run_in_float():
    rng = np.random.default_rng(10)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, 8)), 0.01, np.int8(0))
    y = g.op("MatMul", g.quantize("x", 0.04, np.uint8(100)), w)
    z = g.op("MatMul", y, w)
    model = load(g.model((8,), g.op("MatMul", z, g.constant(rng.standard_normal((8, 2))))))
    program = lower(model, {"x": (4, 8)})
    optimize(program)
    assert uncompressed(program, model) == [z]
    with pytest.raises(pc.ModelError, match=z):
        pc.compile(model, input_shapes={"x": (4, 8)}, strict=True)
    float_model = load(small_network(rng))
    program = lower(float_model, {"x": (1, 3, 20, 20)})
    optimize(program)
    assert uncompressed(program, float_model) == []


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("after", [None, "Relu"])
def test_the_max_pool_of_a_product_is_taken_from_codes(pads, after):
    rng = np.random.default_rng(11)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, 3, 3, 3)), 0.01, np.int8(0))
    y = g.op("Conv", g.quantize("x", 0.03, np.uint8(99)), w, kernel_shape=[3, 3])
    y = g.op("MaxPool", g.op("Relu", y) if after else y, kernel_shape=[2, 3], strides=[2, 2], pads=[pads] * 4)
    model = g.model((3, 9, 8), g.quantize(y, 0.08, np.uint8(120)))
    program, _, _ = check(model, {"x": random(rng, 2, 3, 9, 8)})
    assert [k for k in kernels(program) if k != "permute"] == ["qpixels", "qconv", "qpool", "dequantize"]


@pytest.mark.parametrize("outputs, last", [(16, "qgemm"), (600, "unary")])
def test_exponentials_of_many_sums_are_a_step_of_their_own(outputs, last):
    rng = np.random.default_rng(5)
    g = Builder(rng)
    w = g.codes(codes(rng, np.int8, (8, outputs)), 0.01, np.int8(0))
    y = g.op("Sigmoid", g.op("MatMul", g.quantize("x", 0.03, np.uint8(99)), w))
    program, _, _ = check(g.model((8,), y), {"x": random(rng, 3, 8)})
    assert kernels(program)[-1] == last
