"""What every operator of a twin is registered with, and how its inputs and attributes are read."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from ...formats.onnx_model import to_array

OPERATORS: dict[str, Callable] = {}
VALUE_INPUTS = {  # positions of inputs that are values
    "Clip": (1, 2), "Reshape": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Pad": (1, 2, 3), "Slice": (1, 2, 3, 4),
    "Split": (1,), "Dropout": (1, 2), "Expand": (1,), "Resize": (1, 2, 3), "Tile": (1,), "ConstantOfShape": (0,),
    "Range": (0, 1, 2), "CumSum": (1,),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"), (1,)),
}  # fmt: skip

SEVERAL = ("Split", "LSTM", "GRU", "RNN")  # operators all of whose outputs are made
GIVEN = ("training", "images")  # keywords that no attribute gives: whether to train, how many images the batch has


def operator(*names: str) -> Callable[[Callable], Callable]:
    """Registers the function for the operators `names`."""

    def register(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def attributes_of(node: onnx.NodeProto) -> dict:
    """The attributes of `node` as keyword arguments of its function.

    Raises
    ------
    NotImplementedError
        If there is no such operator here, or it lacks an attribute; the message names the node.
    """
    where = f"node {node.name!r} ({node.op_type})"
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise NotImplementedError(f"{where}: training does not support this operator")
    if sum(map(bool, node.output)) > 1 and node.op_type not in SEVERAL:
        raise NotImplementedError(f"{where}: training supports only its first output")
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    given = {k: _plain(v) for k, v in given.items()}
    if node.op_type == "Split":
        given.setdefault("num_outputs", len(node.output))  # until opset 18 only the outputs say it
    known = inspect.signature(OPERATORS[node.op_type]).parameters
    for name in given:
        if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY or name in GIVEN:
            raise NotImplementedError(f"{where}: training does not support the attribute {name!r}")
    return given


def _plain(value):
    """An attribute's value as Python's own type, or a tensor of torch."""
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(np.array(to_array(value)))
    if isinstance(value, list):
        return [_plain(x) for x in value]
    return value.decode() if isinstance(value, bytes) else value


def numbers(x) -> list:
    """A value input as a list of numbers."""
    x = x.tolist() if isinstance(x, Tensor) else x
    return list(x) if isinstance(x, (list, tuple)) else [x]
