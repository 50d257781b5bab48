"""dmath: rare functions of one or two numbers in double, elementwise over six strided dims (stride 0 broadcasts)."""

import math

import numpy as np

from ._spec import reference
from ._traits import Traits
from .binary import broadcast, six

OPS = (
    "add", "sub", "mul", "div", "pow", "min", "max", "prelu", "fmod", "mod", "exp", "sqrt", "log", "abs", "neg", "floor",
    "ceil", "round", "reciprocal", "erf", "sign", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
    "acosh", "atanh", "tanh", "sigmoid",
)  # fmt: skip
TWO = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "min": np.minimum,
    "max": np.maximum, "prelu": lambda a, b: np.where(a < 0, a * b, a), "fmod": np.fmod,
    "mod": lambda a, b: np.where(np.isfinite(a) & (b == 0), np.nan, np.mod(a, b)),
}  # fmt: skip
ONE = {
    "abs": np.abs, "neg": np.negative, "round": np.rint, "erf": np.vectorize(math.erf, otypes=[float]),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)), "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip


@reference(where="op<34", plain=True, traits=Traits(in_place=("a", "b")))
def dmath(
    a: "{f32,f64}xt[d0:a0,d1:a1,d2:a2,d3:a3,d4:a4,d5:a5]",
    b: "{f32,f64}xt[d0:b0,d1:b1,d2:b2,d3:b3,d4:b4,d5:b5]",
    op: "size",
    out: "{f32,f64}xt[d0:o0,d1:o1,d2:o2,d3:o3,d4:o4,d5:o5]",
):
    """Computed in double and rounded once.  From ``exp`` on the functions are of `a` alone.

    ``fmod`` has the sign of a, ``mod`` that of b.  ``min`` and ``max`` give NaN if either operand is NaN.
    """
    name = OPS[op]
    with np.errstate(all="ignore"):
        x, y = a.astype(np.float64), b.astype(np.float64)
        out[:] = TWO[name](x, y) if name in TWO else ONE.get(name, getattr(np, name, None))(x)


def example(rng, shape=(2, 3, 4, 5), b_shape=None, op=0, dtype="float32"):
    """Normally distributed numbers; b broadcasts from `b_shape` to `shape`."""
    a = (2 * rng.standard_normal(shape)).astype(dtype)
    b = broadcast((2 * rng.standard_normal(b_shape or shape)).astype(dtype), shape)
    return [six(a), six(b), op, six(np.full(shape, 99, dtype))]
