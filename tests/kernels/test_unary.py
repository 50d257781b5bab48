"""unary against its reference, within 8 units of the last place."""

import numpy as np
import pytest

from cases import check, close, isas, same_everywhere
from pycompress import native
from pycompress.kernels import module

ref = module("unary")
EXACT = ["none", "relu", "clip", "leaky", "sqrt", "abs", "neg", "floor", "ceil", "round", "reciprocal", "sign"]


@isas("unary")
@pytest.mark.parametrize("op", ref.OPS)
def test_equals_reference(isa, op):
    values = ref.example(np.random.default_rng(0), op=ref.OPS.index(op))
    values[0][0, :4] = values[0][0, :4].round()
    check("unary", values, isa, np.testing.assert_array_equal if op in EXACT else close(8 * 2.0**-24, 2.0**-23))


@isas("unary")
@pytest.mark.parametrize("op", ["relu", "sigmoid", "sin"])
def test_columns_of_matrices_are_read_and_written_where_they_are(isa, op):
    x, params = np.random.default_rng(0).standard_normal((70, 3), np.float32), np.zeros(2, np.float32)
    for given, out in ((x[:, 1:2], np.zeros((70, 5), np.float32)), (x[:, 1:2].copy(), np.zeros((70, 5), np.float32))):
        want = np.zeros_like(out)
        native.unary(given, ref.OPS.index(op), params, out[:, 2:3], isa=isa)
        ref.unary(given, ref.OPS.index(op), params, want[:, 2:3])
        np.testing.assert_allclose(out, want, 1e-5)


@isas("unary")
@pytest.mark.parametrize(
    "op", ["exp", "log", "erf", "gelu", "gelu_tanh", "softplus", "elu", "celu", "tanh", "sigmoid", "mish"]
)
def test_errors_are_within_the_stated_bounds(isa, op):
    x = np.concatenate([np.linspace(-60, 60, 60001), np.linspace(-1, 1, 60001)]).astype(np.float32)[None]
    x = abs(x) + np.float32(1e-30) if op == "log" else x
    want, got, params = np.empty_like(x), np.empty_like(x), np.ones(2, np.float32)
    ref.unary(x, ref.OPS.index(op), params, want)
    native.unary(x, ref.OPS.index(op), params, got, isa=isa)
    bound = 11 + {"gelu": 5 + x * x / 2, "gelu_tanh": 5 + 3 * x * x}.get(op, 0)  # 1 for the reference's own rounding
    assert (abs(got - want) <= bound * 2.0**-24 * abs(want) + 2.0**-120).all()


HYPERBOLAS = ["tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"]


def angles(op):
    """Numbers of all sizes from where `op` is defined, and those where its pieces meet."""
    size = np.concatenate([np.linspace(0, 1, 20001), np.linspace(1, 85, 20001), np.logspace(-30, 4.8, 20001)])
    x = np.concatenate([size, -size, np.pi / 2 * np.arange(-40000, 40000, 7)])
    if op == "acosh":
        x = 1 + abs(x)
    elif op in ("asin", "acos", "atanh"):
        x = x[abs(x) <= (1 if op != "atanh" else 0.9999999)]
    elif op in ("sinh", "cosh"):
        x = x[abs(x) < 88]
    return x.astype(np.float32)[None]


@isas("unary")
@pytest.mark.parametrize("op", ["sin", "cos", *HYPERBOLAS])
def test_errors_of_angles_are_within_the_stated_bound(isa, op):
    x, params = angles(op), np.zeros(2, np.float32)
    got = np.empty_like(x)
    native.unary(x, ref.OPS.index(op), params, got, isa=isa)
    want = getattr(np, "arc" + op[1:] if op[0] == "a" else op)(x.astype(np.float64))
    assert (abs(got - want) <= 10 * 2.0**-24 * abs(want) + 2.0**-120).all()
    same_everywhere("unary", [x, ref.OPS.index(op), params, np.empty_like(x)])


@isas("unary")
@pytest.mark.parametrize("op", ["sin", "cos", *HYPERBOLAS])
def test_angles_far_out_and_where_there_are_none(isa, op):
    """A NaN, an infinity, a huge number or one outside the domain changes nothing beside it."""
    x = np.full((1, 100), 0.25 if op != "acosh" else 1.25, np.float32)
    x[0, :12] = [0, -0.0, np.nan, np.inf, -np.inf, 1e30, -70000, 1, -1, 1.5, 3e38, 1e-42]
    got, params = np.empty_like(x), np.zeros(2, np.float32)
    native.unary(x, ref.OPS.index(op), params, got, isa=isa)
    with np.errstate(all="ignore"):
        want = getattr(np, "arc" + op[1:] if op[0] == "a" else op)(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(got, want, 1e-6, 2.0**-120)
    if op in ("sin", "tan", "asin", "atan", "sinh", "asinh", "atanh"):
        assert np.signbit(got[0, 1])


@pytest.mark.parametrize("op", ref.OPS)
def test_every_isa_says_the_same(op):
    same_everywhere("unary", ref.example(np.random.default_rng(1), 3, 2100, op=ref.OPS.index(op)))


@isas("unary")
def test_rows_may_be_apart_and_many(isa):
    x, op, params, _ = ref.example(np.random.default_rng(0), 500, 40, op=1)
    check("unary", [x[:, :9], op, params, np.zeros((500, 12), np.float32)[:, 3:]], isa)
    check("unary", [x[:0], op, params, np.zeros((0, 40), np.float32)], isa)


@isas("unary")
@pytest.mark.parametrize("op", ["exp", "sigmoid", "silu", "tanh", "softplus", "mish", "gelu", "elu", "hardswish"])
def test_extremes(isa, op):
    x = np.array(
        [[0, -0.0, 1e-30, -1e-5, 0.25, -0.25, 20, -20, 80, -80, 88.7, -87.5, 95, -103, 1e30, -1e9]], np.float32
    )
    x = np.concatenate([x, np.array([[np.inf]], np.float32)], 1)
    values = [x, ref.OPS.index(op), np.array([1, 1], np.float32), np.zeros_like(x)]
    (got,) = check("unary", values, isa, close(8 * 2.0**-24, 1e-28))
    assert np.isnan(check("unary", [x * np.float32(np.nan), *values[1:]], isa)[0]).all()
    del got


FAR = np.array(
    [-np.inf, -3e38, -1e30, -1e4, -200, -100, -89, -88.5, -88, -87.4, 88, 88.5, 89, 100, 1e30, 3e38, np.inf, np.nan]
)


@pytest.mark.parametrize(
    "name", ["sigmoid", "silu", "tanh", "hardswish", "gelu_tanh", "mish", "swish", "softplus", "exp"]
)
def test_activations_far_out_go_where_they_should(name):
    """Beyond what float holds, below 2^-126, results are 0; x times 0 at minus infinity is NaN, as in onnxruntime."""
    x, params = np.tile(FAR.astype(np.float32), (2, 1)), np.array([1, 1], np.float32)
    want = np.empty_like(x)
    with np.errstate(all="ignore"):
        ref.unary(x, ref.OPS.index(name), params, want)
    for isa in native.unary.impls():
        got = np.empty_like(x)
        native.unary(x, ref.OPS.index(name), params, got, isa=isa)
        inf = np.isinf(want) | np.isinf(got)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_allclose(got[~inf], want[~inf], 2e-6, 2e-36)
        np.testing.assert_array_equal(got[inf], want[inf])


@pytest.mark.parametrize("act", ["silu", "sigmoid", "tanh"])
def test_activations_behind_a_product_go_where_they_should(act):
    x, none = np.resize(FAR.astype(np.float32), (18, 1)), np.zeros(2, np.float32)
    want = np.empty((18, 1), np.float32)
    with np.errstate(all="ignore"):
        ref.unary(x, ref.OPS.index(act), none, want)
    for isa in native.sgemm.impls():
        got = np.empty((18, 16), np.float32)
        w = module("sgemm").pack(np.ones((16, 1), np.float32))
        native.sgemm(x, w, None, ref.OPS.index(act), none, None, got, isa=isa)
        np.testing.assert_allclose(got, np.broadcast_to(want, got.shape), 2e-6, 2e-36)
