"""Layers for other libraries: weights packed once, called many times on numpy arrays."""

from .files import load, save
from .half import HalfLinear
from .lowrank import LowRankLinear
from .quantized import QuantizedLinear
from .sparse import SparseLinear

__all__ = ["HalfLinear", "LowRankLinear", "QuantizedLinear", "SparseLinear", "load", "save"]
