"""The float activations of an epilogue (PCX_ACT_* in pycompress.h)."""

import math

import numpy as np

from ._spec import helper

ACTS = ("none", "relu", "clip", "leaky", "hardsigmoid", "hardswish", "sigmoid", "silu", "tanh")
RELU, CLIP, LEAKY, HARDSIGMOID, HARDSWISH, SIGMOID, SILU, TANH = range(1, 9)


@helper
def activate(x, act, p):
    """The activation `act` of x; p contains its parameters, if it has any."""
    if act == 1:
        return max(x, np.float32(0))
    if act == 2:
        return min(max(x, p[0]), p[1])
    if act == 3:
        return x * p[0] if x < 0 else x
    if act == 4:
        return min(max(p[0] * x + p[1], np.float32(0)), np.float32(1))
    if act == 5:
        return x * min(max(x / np.float32(6) + np.float32(0.5), np.float32(0)), np.float32(1))
    if act == 6:
        return np.float32(1 / (1 + math.exp(-x)))
    if act == 7:
        return np.float32(x / (1 + math.exp(-x)))
    if act == 8:
        return np.float32(math.tanh(x))
    return x
