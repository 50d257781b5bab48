"""Layers for other libraries: weights packed once, called many times on numpy arrays."""

from .lowrank import LowRankLinear
from .quantized import QuantizedLinear
from .sparse import SparseLinear

__all__ = ["LowRankLinear", "QuantizedLinear", "SparseLinear"]
