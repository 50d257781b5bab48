"""Layers for other libraries: weights packed once, called many times on numpy arrays."""

from .quantized import QuantizedLinear
from .sparse import SparseLinear

__all__ = ["QuantizedLinear", "SparseLinear"]
