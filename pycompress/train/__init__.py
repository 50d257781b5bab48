"""Training: twins of ONNX models in torch, and what trains them. Needs ``pip install 'pycompress-engine[train]'``."""

from .exact import Exact, exact
from .fold import fold
from .twin import Twin, TwinLayer

__all__ = ["Exact", "Twin", "TwinLayer", "exact", "fold"]
