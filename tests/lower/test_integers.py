"""Integers and bool that are computed at run time, against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress.errors import ModelError

few = settings(max_examples=25, deadline=None, derandomize=True)
ALL = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


def numbers(rng, *shape, dtype="int64", zero=True):
    """Small numbers of both signs where there are two, and some far from 0."""
    limits = np.iinfo(dtype)
    x = rng.integers(max(limits.min, -9), 10, shape).astype(dtype)
    far = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    x = np.where(rng.random(shape) < 0.3, far, x).astype(dtype)
    return x if zero else np.where(x == 0, np.array(3, dtype), x)


def mirrored(op, inputs, expected, constants=(), **options):
    """Where onnxruntime has no such kernel: what numpy says."""
    model = one_node(op, inputs, constants, **options)
    got, _ = ours(model, {n: x for n, x in inputs.items() if n not in constants})
    same(got, [np.asarray(expected)])


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_arithmetic_wraps_around_in_every_type(op, dtype):
    rng = np.random.default_rng(0)
    for a, b in (((2, 3, 4), (3, 1)), ((5,), (5,)), ((1, 4), (3, 1)), ((), (2,))):
        inputs = {"a": numbers(rng, *a, dtype=dtype), "b": numbers(rng, *b, dtype=dtype, zero=False)}
        for constants in ((), ("b",), ("a",)):
            check(op, inputs, constants)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("fmod", [0, 1])
def test_the_rest_of_a_division_has_the_sign_that_was_asked_for(dtype, fmod):
    rng = np.random.default_rng(1)
    inputs = {"a": numbers(rng, 60, dtype=dtype), "b": numbers(rng, 60, dtype=dtype, zero=False)}
    check("Mod", inputs, fmod=fmod)


def test_nothing_traps_where_a_division_has_no_answer():
    low = np.iinfo(np.int64).min
    inputs = {"a": np.array([5, low, 0], np.int64), "b": np.array([0, -1, 0], np.int64)}
    mirrored("Div", inputs, np.array([0, low, 0], np.int64))
    mirrored("Mod", inputs, np.array([0, 0, 0], np.int64))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_whole_powers(dtype):
    x, e = np.array([2, -3, 0, 1, -1, 7], dtype), np.array([5, 3, 0, 9, 4, 2], dtype)
    check("Pow", {"x": x, "e": e})
    check("Pow", {"x": x, "e": np.array(2, dtype)}, ("e",))
    check("Pow", {"x": x, "e": e.astype(np.int64)})
    check("Pow", {"x": x, "e": np.float32(3)}, ("e",))
    mirrored("Pow", {"x": x, "e": np.array([-1, -1, -1, -5, -5, -2], dtype)}, np.array([0, 0, 0, 1, -1, 0], dtype))
    check("Pow", {"x": floats(np.random.default_rng(0), 6), "e": e})


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("op", ["Neg", "Abs", "Sign"])
def test_signs(op, dtype):
    check(op, {"x": numbers(np.random.default_rng(0), 3, 20, dtype=dtype)})


def test_signs_of_numbers_without_one_and_the_lower_half_cut_off():
    x = np.array([0, 1, 2, 250], np.uint8)
    check("Abs", {"x": x})
    check("Sign", {"x": x})
    for dtype in ("int8", "int16", "int32", "int64"):
        mirrored("Relu", {"x": np.array([-3, 0, 3], dtype)}, np.array([0, 0, 3], dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_extremes_and_bounds(dtype):
    rng = np.random.default_rng(0)
    a, b, c = numbers(rng, 2, 3, 4, dtype=dtype), numbers(rng, 3, 1, dtype=dtype), numbers(rng, 4, dtype=dtype)
    for op in ("Min", "Max"):
        check(op, {"a": a, "b": b, "c": c})
        check(op, {"a": a, "b": b}, ("b",))
        check(op, {"a": a})
    low, high = np.array(1, dtype), np.array(5, dtype)
    for bounds in ({"low": low, "high": high}, {"low": low}, {"low": None, "high": high}, {}):
        for constants in ((), tuple(n for n, v in bounds.items() if v is not None)):
            check("Clip", {"a": a, **bounds}, constants)


@pytest.mark.parametrize("dtype", [*ALL, "bool"])
def test_comparisons(dtype):
    rng = np.random.default_rng(0)
    if dtype == "bool":
        a, b = rng.random((3, 9)) < 0.5, rng.random(9) < 0.5
    else:
        a, b = numbers(rng, 3, 9, dtype=dtype), numbers(rng, 9, dtype=dtype)
        b[:3] = a[0, :3]
        for op in ("Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            for constants in ((), ("b",)):
                check(op, {"a": a, "b": b}, constants)
    check("Equal", {"a": a, "b": b})
    check("Equal", {"a": a, "b": b}, ("b",))


def test_large_numbers_are_not_compared_as_floats():
    a = np.array([2**53, 2**62, -(2**62)], np.int64)
    check("Equal", {"a": a, "b": a + 1})
    check("Less", {"a": a, "b": a + 1})


@pytest.mark.parametrize("op", ["And", "Or", "Xor", "Not"])
def test_logic(op):
    rng = np.random.default_rng(0)
    inputs = {"a": rng.random((3, 7)) < 0.5, "b": rng.random(7) < 0.5}
    if op == "Not":
        check(op, {"a": inputs["a"]})
    else:
        check(op, inputs)
        check(op, inputs, ("b",))


@pytest.mark.parametrize("dtype", ALL)
def test_bits(dtype):
    rng = np.random.default_rng(0)
    inputs = {"a": numbers(rng, 3, 9, dtype=dtype), "b": numbers(rng, 9, dtype=dtype)}
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        check(op, inputs)
    check("BitwiseNot", {"a": inputs["a"]})


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_shifts(dtype):
    a = numbers(np.random.default_rng(0), 9, dtype=dtype)
    by = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7], dtype)
    for direction, function in (("LEFT", np.left_shift), ("RIGHT", np.right_shift)):
        mirrored("BitShift", {"a": a, "b": by}, function(a, by), direction=direction)


@pytest.mark.parametrize("dtype", [*ALL, "float32", "bool"])
def test_where_chooses_elements_of_any_size(dtype):
    rng = np.random.default_rng(0)
    c = rng.random((2, 3, 4)) < 0.5
    a, b = rng.integers(0, 9, (3, 1)).astype(dtype), rng.integers(0, 9, (2, 3, 4)).astype(dtype)
    for constants in ((), ("a",), ("b",), ("c",)):
        mirrored("Where", {"c": c, "a": a, "b": b}, np.where(c, a, b), constants)


@few
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data(), st.booleans(), st.sampled_from(["int32", "int64"]),
    st.sampled_from(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"]),
)  # fmt: skip
def test_reductions(shape, data, keep, dtype, op):
    x = np.random.default_rng(0).integers(-9, 10, shape).astype(dtype)
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), max_size=len(shape), unique=True))
    check(op, {"x": x, "a": np.array(axes, np.int64)}, ("a",), keepdims=int(keep), opset=18)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool"])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_extremes_of_small_types(op, dtype):
    x = np.array([[-3, 7, 0], [1, 1, 5]]).astype(dtype)
    check(op, {"x": x, "a": np.array([1], np.int64)}, ("a",), opset=20)


def test_sums_of_whole_numbers_are_exact_wrap_around_and_are_zero_of_nothing():
    """onnxruntime sums integers as float64, and saturates."""
    axes = np.array([1], np.int64)
    big = np.array([[2**31 - 1, 1], [5, -7]], np.int32)
    mirrored("ReduceSum", {"x": big, "a": axes}, np.array([[-(2**31)], [-2]], np.int32), ("a",))
    fine = np.array([[2**53, 1, 1, 1]], np.int64)
    mirrored("ReduceSum", {"x": fine, "a": axes}, np.array([[2**53 + 3]]), ("a",))
    check("ReduceSum", {"x": np.zeros((2, 0), np.int64), "a": axes}, ("a",))


def test_a_mean_of_large_numbers_is_their_mean():
    x = np.array([[2**31 - 1] * 3, [-5, -5, -6]], np.int32)
    check("ReduceMean", {"x": x, "a": np.array([1], np.int64)}, ("a",), opset=18)


@few
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data(), st.booleans(), st.booleans(),
    st.sampled_from(["float32", "int32", "int64", "uint8", "int8"]), st.sampled_from(["ArgMax", "ArgMin"]),
)  # fmt: skip
def test_where_the_extremes_stand(shape, data, keep, last, dtype, op):
    x = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check(op, {"x": x}, axis=axis, keepdims=int(keep), select_last_index=int(last))


def test_the_class_of_each_pixel_of_an_image_in_any_layout():
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 2, 4, 5, 6), "w": floats(rng, 7, 4, 1, 1)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("ArgMax", ["a"], ["y"], axis=1, keepdims=0)]
    model = as_model(nodes, inputs, ["y"], ("w",))
    same(ours(model, {"x": inputs["x"]})[0], ort_outputs(model, {"x": inputs["x"]}))


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(dtype, exclusive, reverse):
    x = (np.random.default_rng(0).standard_normal((3, 4, 5)) * 9).astype(dtype)
    for axis in (0, 1, -1):
        axis = np.array(axis, np.int64)
        check("CumSum", {"x": x, "axis": axis}, ("axis",), exclusive=exclusive, reverse=reverse)
        check("CumSum", {"x": x, "axis": axis}, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "bool"])
@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [None, -2, 0, 1, 9])
def test_triangles(dtype, upper, k):
    x = np.random.default_rng(0).integers(1, 9, (2, 3, 4)).astype(dtype)
    expected = (np.triu if upper else np.tril)(x, k or 0)
    constants = () if k is None else ("k",)
    mirrored("Trilu", {"x": x} | ({} if k is None else {"k": np.array(k)}), expected, constants, upper=upper)


def test_what_is_no_number():
    x = np.float32([[0, np.nan, np.inf], [-np.inf, 1, 3e38]])
    check("IsNaN", {"x": x}, opset=13)
    for positive in (0, 1):
        for negative in (0, 1):
            if positive or negative:  # else nothing depends on the input
                check("IsInf", {"x": x}, detect_positive=positive, detect_negative=negative, opset=10)


def test_a_chain_of_integers_from_floats_and_back():
    x = floats(np.random.default_rng(0), 3, 8) * 50
    inputs = {"x": x, "three": np.array(3, np.int64), "axes": np.array([1], np.int64), "off": np.array(-1, np.int64)}
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=7),
        helper.make_node("Mod", ["i", "three"], ["m"]),
        helper.make_node("Greater", ["m", "i"], ["g"]),
        helper.make_node("Where", ["g", "off", "m"], ["w"]),
        helper.make_node("ReduceSum", ["w", "axes"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=1),
        helper.make_node("Mul", ["x", "f"], ["y"]),
    ]
    model = as_model(nodes, inputs, ["y", "s"], ("three", "axes", "off"))
    same(ours(model, {"x": x})[0], ort_outputs(model, {"x": x}))


@pytest.mark.parametrize(
    "op,inputs,attributes,words",
    [
        ("Add", [np.int64([1, 2]), np.int32([1, 2])], {}, "integers of one type, got i64, i32"),
        ("Neg", [np.uint8([1, 2])], {}, "signed integers"),
        ("Sigmoid", [np.int64([1, 2])], {}, "float32"),
        ("Pow", [np.uint8([1, 2]), np.int64([1, 2])], {}, "integer powers"),
        ("ReduceL2", [np.int64([1, 2])], {}, "float32"),
        ("And", [np.int64([1, 2]), np.int64([1, 2])], {}, "bool"),
        ("BitwiseAnd", [np.float32([1, 2]), np.float32([1, 2])], {}, "integers"),
        ("BitShift", [np.float32([1, 2]), np.float32([1, 2])], {"direction": "LEFT"}, "integers"),
        ("BitShift", [np.uint32([1, 2]), np.uint32([1, 2])], {"direction": "UP"}, "'direction'"),
        ("ArgMax", [np.zeros((2, 0), np.float32)], {"axis": 1}, "no elements"),
        ("ArgMax", [np.zeros((2, 3), np.float32)], {"axis": 2}, "'axis'"),
        ("Trilu", [np.float32([1, 2])], {}, "two dimensions"),
        ("IsNaN", [np.int64([1, 2])], {}, "float32"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(op, inputs, attributes, words):
    inputs = {n: x for n, x in zip("abc", inputs)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, **attributes), inputs)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_signed_numbers_are_shifted_with_their_sign_and_past_the_end(dtype, direction):
    limits, bits = np.iinfo(dtype), np.iinfo(dtype).bits
    x = np.array([limits.min, limits.max, -1, 1, -37, 0], dtype)[:, None]
    by = np.array([0, 1, 3, bits - 1, bits, 100, -1, limits.min], dtype)

    def shifted(a, b):
        if not 0 <= b < bits:
            return -1 if direction == "RIGHT" and a < 0 else 0
        return a >> b if direction == "RIGHT" else (a << b) - limits.min & (1 << bits) - 1

    want = [[shifted(int(a), int(b)) for b in by] for (a,) in x]
    want = np.array(want, object) + (limits.min if direction == "LEFT" else 0)
    if direction == "LEFT":
        want[:, [not 0 <= b < bits for b in by]] = 0
    model = one_node("BitShift", {"x": x, "by": by}, direction=direction, opset=28)
    np.testing.assert_array_equal(ours(model, {"x": x, "by": by})[0][0], want.astype(dtype))


@pytest.mark.parametrize("kind", ["int32", "int64"])
def test_whole_numbers_to_the_power_of_floats(kind):
    inputs = {"x": np.array([1, 2, 3, 9], kind), "e": np.float32([0.5, 3, 2, 0.5])}
    check("Pow", inputs)
    check("Pow", inputs, ("e",))


@pytest.mark.parametrize("source, target", [("float32", "int32"), ("int8", "uint8"), ("uint8", "int8"), ("int64", "float64"),
                                            ("uint8", "bool"), ("bool", "int8"), ("int16", "uint16")])  # fmt: skip
def test_bits_are_read_as_another_type(source, target):
    x = (np.arange(12).reshape(3, 4).T % (2 if target == "bool" else 12)).astype(source)
    model = one_node("BitCast", {"x": x}, to=helper.np_dtype_to_tensor_dtype(np.dtype(target)), opset=26)
    got = ours(model, {"x": x})[0][0]
    assert got.dtype == target
    np.testing.assert_array_equal(got, np.ascontiguousarray(x).view(target))
