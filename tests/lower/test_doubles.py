"""float64, and rare functions of float32, against onnxruntime and numpy."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

WIDE = dict(rtol=1e-13, atol=1e-13)


def doubles(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum"])
def test_two_tensors_of_doubles(op):
    a, b = doubles(0, 2, 3, 4), doubles(1, 3, 1)
    if op == "Pow":
        a, b = abs(a) + 0.1, b
    check(op, {"a": a, "b": b}, **WIDE)
    check(op, {"a": a, "b": b}, ("b",), **WIDE)


def test_doubles_that_onnxruntime_does_not_take():
    inputs = {"a": doubles(0, 2, 3, 4), "b": doubles(1, 3, 4)}
    for op, want in (("Mean", lambda a, b: (a + b) / 2), ("PRelu", lambda a, b: np.where(a < 0, a * b, a))):
        np.testing.assert_allclose(ours(one_node(op, inputs), inputs)[0][0], want(**inputs), rtol=1e-15)


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
def test_doubles_are_compared_to_their_last_bit(op):
    a = np.array([1.0, 1.0, np.nan, -np.inf])
    check(op, {"a": a, "b": np.array([1.0, np.nextafter(1.0, 2), np.nan, np.inf])})


@pytest.mark.parametrize("op", ["Exp", "Sqrt", "Log", "Abs", "Neg", "Floor", "Ceil", "Round", "Reciprocal", "Sign", "Sin",
                                "Cos", "Tanh", "Sigmoid", "Relu", "Erf"])  # fmt: skip
def test_functions_of_doubles(op):
    x = np.append(doubles(0, 40) * 3, [0.5, 1.5, 2.5])
    x = abs(x) if op in ("Sqrt", "Log") else x
    got = ours(one_node(op, {"x": x}), {"x": x})[0][0]
    from math import erf

    plain = {"Sigmoid": lambda v: 1 / (1 + np.exp(-v)), "Relu": lambda v: np.maximum(v, 0), "Round": np.rint,
             "Neg": np.negative, "Erf": np.vectorize(erf)}  # fmt: skip
    np.testing.assert_allclose(got, plain.get(op, getattr(np, op.lower(), None))(x), rtol=1e-14)


@pytest.mark.parametrize("op", ["Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"])
def test_rare_functions_of_floats(op):
    x = np.tanh(floats(np.random.default_rng(0), 3, 50))
    check(op, {"x": abs(x) + 1 if op == "Acosh" else x}, opset=22)


@pytest.mark.parametrize(
    "op, outside", [("Acosh", [0.5, -1.5, -2e7, -1e9, -1e20, -np.inf]), ("Atanh", [1.5, -3, 1e20, -np.inf])]
)
def test_functions_are_nan_outside_of_their_domain(op, outside):
    x = np.array([*outside, np.nan] * 5, np.float32)
    assert np.isnan(ours(one_node(op, {"x": x}), {"x": x})[0][0]).all()


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("fmod", [0, 1])
def test_the_rest_of_a_division(kind, fmod):
    a = np.array([7, -7, 7.5, -7.5, 0.25, 0], kind)
    b = np.array([3, 3, -2, -2, 5, -3], kind)
    got = ours(one_node("Mod", {"a": a, "b": b}, fmod=fmod), {"a": a, "b": b})[0][0]
    np.testing.assert_array_equal(got, np.fmod(a, b) if fmod else np.mod(a, b))


REDUCED = {
    "L1": lambda v, **how: abs(v).sum(**how),
    "L2": lambda v, **how: np.sqrt((v * v).sum(**how)),
    "SumSquare": lambda v, **how: (v * v).sum(**how),
    "LogSum": lambda v, **how: np.log(v.sum(**how)),
    "LogSumExp": lambda v, **how: np.log(np.exp(v).sum(**how)),
}


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"])
def test_reductions_of_doubles(op):
    x = doubles(0, 3, 4, 5)
    x = abs(x) if op == "LogSum" else x
    for axes, keep in (([1], 1), ([0, 2], 0), (None, 1)):
        inputs = {"x": x} | ({} if axes is None else {"axes": np.array(axes)})
        model = one_node(f"Reduce{op}", inputs, ("axes",), keepdims=keep, opset=18)
        got = ours(model, {"x": x})[0][0]
        how = dict(axis=None if axes is None else tuple(axes), keepdims=bool(keep))
        want = REDUCED.get(op, lambda v, _op=op, **to: getattr(v, _op.lower())(**to))(x, **how)
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, want, rtol=1e-13)


def test_sums_of_exponentials_neither_overflow_nor_become_nan():
    inf = np.inf
    x = np.array([[1000.0, 1000], [-inf, -inf], [inf, 1], [-1000, -1001]])
    model = one_node("ReduceLogSumExp", {"x": x, "axes": np.array([1])}, ("axes",), keepdims=0)
    got = ours(model, {"x": x})[0][0]
    np.testing.assert_allclose(got, [1000 + np.log(2), -inf, inf, -1000 + np.log1p(np.exp(-1))], rtol=1e-15)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_of_doubles(op, axis):
    check(op, {"x": 100 * doubles(0, 3, 4, 5)}, axis=axis, **WIDE)


def test_other_operators_of_doubles():
    x = doubles(0, 3, 4)
    x[1, 2] = np.nan
    check("IsNaN", {"x": x})
    x[1, 2] = -np.inf
    for sides in ((1, 1), (1, 0), (0, 1)):
        check("IsInf", {"x": x}, detect_positive=sides[0], detect_negative=sides[1])
    check("Clip", {"x": x, "low": np.array(-0.5), "high": np.array(0.5)}, **WIDE)
    check("ArgMax", {"x": x}, axis=1)
    check("CumSum", {"x": doubles(1, 3, 4), "axis": np.array(0)}, ("axis",), **WIDE)
    check("Where", {"c": x > 0, "a": x, "b": -x})


@pytest.mark.parametrize(
    "a, b", [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (6, 4, 5))]
)
def test_matrix_products_of_doubles(a, b):
    inputs = {"a": doubles(0, *a), "b": doubles(1, *b)}
    check("MatMul", inputs, **WIDE)
    check("MatMul", inputs, ("b",), **WIDE)


@pytest.mark.parametrize("c", [None, (5,), (3, 1), ()])
@pytest.mark.parametrize("attributes", [{}, {"transA": 1, "alpha": 0.5}, {"transB": 1, "beta": 3.0}])
def test_fully_connected_doubles(c, attributes):
    a = doubles(0, 4, 3) if "transA" in attributes else doubles(0, 3, 4)
    b = doubles(1, 5, 4) if "transB" in attributes else doubles(1, 4, 5)
    inputs = {"a": a, "b": b, "c": None if c is None else doubles(2, *c)}
    check("Gemm", inputs, ("b", "c"), **WIDE, **attributes)
    check("Gemm", inputs, **WIDE, **attributes)


def test_large_matrices_of_doubles_are_refused():
    inputs = {"a": np.zeros((300, 300)), "b": np.zeros((300, 300))}
    with pytest.raises(ModelError, match="the_node.*convert the model to float32"):
        ours(one_node("MatMul", inputs), inputs)
