"""Training: twins of ONNX models in torch, and what trains them. Needs ``pip install 'pycompress-engine[train]'``."""

from .twin import Twin, TwinLayer

__all__ = ["Twin", "TwinLayer"]
