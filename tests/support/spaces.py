"""Tiny search spaces, whose networks take microseconds."""

import numpy as np

MOBILE = {
    "kind": "mobile",
    "input": {"channels": 1, "classes": 10, "resolution": [8, 12]},
    "width": [0.5, 1.0],
    "stem": {"out": 8, "stride": 1, "activation": "relu"},
    "stages": [
        {"out": [8, 16], "kernel": [3, 5], "expansion": [1, 2], "se": [False, True]},
        {"out": 24, "stride": 2, "depth": [1, 2], "kernel": [3, 5], "expansion": [2, 3], "activation": ["relu", "hardswish"]},
    ],
    "head": {"out": 32},
}  # fmt: skip
CELLS = {
    "kind": "cells",
    "input": {"channels": 1, "classes": 10, "resolution": 8},
    "stem": {"out": 8, "stride": 1},
    "out": [8, 16],
    "repeats": [1, 2],
    "reductions": 1,
    "nodes": 2,
    "operations": ["identity", "conv1", "conv3", "sep3", "max3", "avg3"],
}
INT8 = MOBILE | {"precision": "int8", "stages": [s | {"bits": [8, 4]} for s in MOBILE["stages"]]}


def bits_of(choice, network) -> float:
    """Stands for an accuracy: larger networks are better."""
    return float(np.log(network.macs)) / 20
