"""Layers for other libraries: weights packed once, called many times on numpy arrays."""

from .sparse import SparseLinear

__all__ = ["SparseLinear"]
