"""ONNX's backend interface, importable as ``pycompress.onnx_backend``; see ``integrations/onnx_backend.py``."""

from .integrations.onnx_backend import (
    Backend,
    BackendRep,
    is_compatible,  # noqa: F401  onnx's runner asks for both
    is_opset_supported,  # noqa: F401
    prepare,
    run_model,
    run_node,
    supports_device,
)

__all__ = [
    "Backend",
    "BackendRep",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]
