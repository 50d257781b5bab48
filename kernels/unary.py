"""unary: out = op(x), float32; the activations of an epilogue and the elementwise functions of ONNX."""

import math

import numpy as np

from ._act import ACTS, activate
from ._spec import helper, reference
from ._traits import Traits

OPS = (
    *ACTS, "exp", "sqrt", "log", "abs", "neg", "floor", "ceil", "round", "reciprocal", "erf", "gelu", "gelu_tanh", "elu",
    "selu", "softplus", "softsign", "mish", "thresholdedrelu", "celu", "sign", "swish", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
)  # fmt: skip


@reference(where="op<41", traits=Traits(in_place=("x",)))
def unary(x: "f32[m:ldx,n]", op: "size", params: "f32[2]", out: "f32[m:ldo,n]"):
    """``params``: those of the activation; alpha of elu, thresholdedrelu, celu, swish; alpha and gamma of selu."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if op < 9:
                out[i, j] = activate(x[i, j], op, params)
            else:
                out[i, j] = apply(np.float64(x[i, j]), op, np.float64(params[0]), np.float64(params[1]))


@helper
def apply(x, op, p, q):
    """`op` of the float64 x."""
    if op == 9:
        return np.exp(x)
    if op == 10:
        return np.sqrt(x)
    if op == 11:
        return np.log(x)
    if op == 12:
        return abs(x)
    if op == 13:
        return -x
    if op == 14:
        return np.floor(x)
    if op == 15:
        return np.ceil(x)
    if op == 16:
        return np.rint(x)
    if op == 17:
        return 1 / x
    if op == 18:
        return math.erf(x)
    if op == 19:
        return 0.5 * x * math.erfc(-x / math.sqrt(2.0))
    if op == 20:
        return x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if op == 21:
        return p * np.expm1(x) if x < 0 else x
    if op == 22:
        return q * (p * np.expm1(x) if x < 0 else x)
    if op == 23:
        return max(x, 0.0) + np.log1p(np.exp(-abs(x)))
    if op == 24:
        return x / (1 + abs(x))
    if op == 25:
        return x * np.tanh(max(x, 0.0) + np.log1p(np.exp(-abs(x))))
    if op == 26:
        return x if x > p else 0.0
    if op == 27:
        return p * np.expm1(x / p) if x < 0 else x
    if op == 28:
        return np.sign(x)
    if op == 29:
        return x / (1 + np.exp(-p * x))
    if op == 30:
        return np.sin(x)
    if op == 31:
        return np.cos(x)
    if op == 32:
        return np.tan(x)
    if op == 33:
        return np.arcsin(x)
    if op == 34:
        return np.arccos(x)
    if op == 35:
        return np.arctan(x)
    if op == 36:
        return np.sinh(x)
    if op == 37:
        return np.cosh(x)
    if op == 38:
        return np.arcsinh(x)
    if op == 39:
        return np.arccosh(x)
    return np.arctanh(x)


def example(rng, m=7, n=33, op=0):
    """Random arguments, from where the function is defined."""
    x = rng.standard_normal((m, n), np.float32) * np.float32(3)
    x = abs(x) if op in (10, 11) else x
    x = 1 + abs(x) if op == 39 else np.tanh(x) if op in (33, 34, 40) else x
    return [x, op, np.array([0.75, 1.25], np.float32), np.full((m, n), np.nan, np.float32)]
