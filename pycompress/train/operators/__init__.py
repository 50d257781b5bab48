"""ONNX operators as functions of torch tensors: what a `Twin` evaluates its graph with.

A function takes a node's inputs in order and its attributes as keywords, so that its signature says what is
supported. Inputs that are values rather than data (shapes, axes, bounds) are numbers or lists of numbers if they are
constants of the model, tensors if they are computed; `numbers` makes them the same.
"""

from . import elements, indexing, layers, pooling, recurrent, resize, shapes  # noqa: F401
from .registry import OPERATORS, VALUE_INPUTS, attributes_of, numbers, operator

__all__ = ["OPERATORS", "VALUE_INPUTS", "attributes_of", "numbers", "operator"]
