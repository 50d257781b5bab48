"""Functions of single elements and of several, with broadcasting, against onnxruntime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

few = settings(max_examples=30, deadline=None, derandomize=True)

UNARY = {
    **{op: {} for op in (
        "Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign",
        "Mish", "Gelu", "Erf", "ThresholdedRelu", "Exp", "Abs", "Neg", "Floor", "Ceil", "Round", "Reciprocal", "Sign",
        "Sin", "Cos")},
    "HardSigmoid ": {"alpha": 0.3, "beta": 0.1}, "LeakyRelu ": {"alpha": 0.3}, "Elu ": {"alpha": 2.0},
    "Selu ": {"alpha": 2.0, "gamma": 3.0}, "Celu ": {"alpha": 2.0}, "ThresholdedRelu ": {"alpha": 0.2},
    "Gelu ": {"approximate": "tanh"},
}  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_unary(op):
    x = np.concatenate(
        [floats(np.random.default_rng(0), 300) * 4, np.float32([0, -0.0, 1, -1, 88, -88, 3, -3, 2.5, 1.5])]
    )
    check(op.strip(), {"x": x}, **UNARY[op])
    check(op.strip(), {"x": x[:60].reshape(3, 4, 5)}, **UNARY[op])


@pytest.mark.parametrize("op", ["Sqrt", "Log"])
def test_unary_of_what_is_positive(op):
    check(op, {"x": abs(floats(np.random.default_rng(0), 3, 7)) + np.float32(0.01)})


@pytest.mark.parametrize("low", [None, -0.5, 2.0])
@pytest.mark.parametrize("high", [None, 0.25])
@pytest.mark.parametrize("constant", [True, False])
def test_clip(low, high, constant):
    x = floats(np.random.default_rng(0), 3, 50)
    bounds = {n: None if v is None else np.array(v, np.float32) for n, v in (("low", low), ("high", high))}
    check("Clip", {"x": x, **bounds}, ("low", "high") if constant else ())
    if low is not None and high is not None and low > high:
        return  # onnxruntime refuses this as attributes
    attributes = {n: v for n, v in (("min", low), ("max", high)) if v is not None}
    check("Clip", {"x": x}, opset=10, **attributes)


@st.composite
def broadcast(draw):
    """Two shapes that broadcast."""
    full = draw(st.lists(st.integers(1, 4), min_size=0, max_size=7))
    shapes = []
    for _ in range(2):
        kept = [d if draw(st.booleans()) else 1 for d in full]
        shapes.append(tuple(kept[draw(st.integers(0, len(kept))) :]))
    return shapes


@few
@given(
    broadcast(), st.sampled_from(["Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "Greater", "LessOrEqual"])
)
def test_binary_broadcasts(shapes, op):
    rng = np.random.default_rng(0)
    a, b = (np.asarray(floats(rng, *s), np.float32) for s in shapes)
    for constants in ((), ("b",)):
        check(op, {"a": a, "b": b}, constants)


def test_sums_and_extremes_of_several():
    rng = np.random.default_rng(0)
    inputs = {"a": floats(rng, 2, 3, 4), "b": floats(rng, 3, 1), "c": floats(rng, 1, 4)}
    for op in ("Sum", "Mean", "Min", "Max"):
        check(op, inputs)
        check(op, {"a": inputs["a"]})


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1, 0, [0, 1, 2, 3]])
@pytest.mark.parametrize("constant", [True, False])
def test_pow(exponent, constant):
    x = abs(floats(np.random.default_rng(0), 3, 4)) + np.float32(0.1)
    check("Pow", {"x": x, "e": np.array(exponent, np.float32)}, ("e",) if constant else ())
    if constant:
        check("Pow", {"x": x, "e": np.array([[3]], np.int64)}, ("e",))


def test_the_power_of_minus_one_is_the_reciprocal():
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, -3, 1e-30], np.float32)
    program = check("Pow", {"x": x, "e": np.array(-1, np.int64)}, ("e",))
    assert [step.kernel for step in program.steps] == ["unary"]


def test_prelu_mod_where_and_logic():
    rng = np.random.default_rng(0)
    x, y = floats(rng, 2, 3, 4, 5), floats(rng, 3, 1, 1)
    check("PRelu", {"x": x, "s": y}, ("s",))
    check("PRelu", {"x": x, "s": floats(rng, 5)})
    check("Mod", {"x": x, "y": floats(rng, 4, 1)}, fmod=1)
    for dtype in (np.float32, np.int64, np.int32):
        check("Where", {"c": x > 0, "a": (10 * x).astype(dtype), "b": (10 * y).astype(dtype)})
    check("And", {"a": x > 0, "b": y > 0})
    check("Or", {"a": x > 0, "b": y > 0})
    check("Not", {"a": x > 0})
    small = rng.integers(0, 3, (2, 30))
    for dtype in (np.uint8, np.int8, bool):
        if dtype is not bool:
            check("Less", {"a": small[0].astype(dtype), "b": small[1].astype(dtype)}, opset=13)
        check("Equal", {"a": small[0].astype(dtype), "b": small[1].astype(dtype)}, opset=19)


TYPES = [
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


@pytest.mark.parametrize("source", TYPES)
def test_cast(source):
    x = np.array([[0, 1, 2, 3, 100], [7, 6, 5, 4, 3]]).astype(source)
    for target in TYPES:
        check(
            "Cast",
            {"x": x},
            to=getattr(TensorProto, {"float32": "FLOAT", "float64": "DOUBLE"}.get(target, target.upper())),
        )


@pytest.mark.parametrize(
    "op,inputs,attributes,words",
    [
        ("Add", [np.float32([1, 2]), np.float32([1, 2, 3])], {}, "broadcast"),
        ("Add", [np.float64([1, 2]), np.float32([1, 2])], {}, "one type, got f64, f32"),
        ("Softplus", [np.float64([1, 2])], {}, "float32"),
        ("LeakyRelu", [np.float32([1, 2])], {"alpha": float("nan")}, "'alpha'"),
        ("Celu", [np.float32([1, 2])], {"alpha": 0.0}, "'alpha'"),
        ("Gelu", [np.float32([1, 2])], {"approximate": "quick"}, "'approximate'"),
        ("Mod", [np.float32([1, 2]), np.float32([1, 2])], {"fmod": 2}, "'fmod'"),
        ("PRelu", [np.float32([1, 2]), np.float32([[1, 2]])], {}, "slope"),
        ("Equal", [np.float64([1, 2]), np.float32([1, 2])], {}, "works on"),
        ("Cast", [np.float32([1, 2])], {"to": TensorProto.STRING}, "'to'"),
        ("Bernoulli", [np.float32([1, 2])], {}, "as ONNX defines it: .*RandomUniformLike' is not supported"),
        ("BitCast", [np.float32([1, 2])], {"to": TensorProto.INT64, "opset": 26}, "'to' = i64 has not the size"),
        ("BitCast", [np.int16([1, 2])], {"to": TensorProto.FLOAT16, "opset": 26}, "'to'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(op, inputs, attributes, words):
    inputs = {n: x for n, x in zip("abc", inputs)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, **attributes), inputs)
