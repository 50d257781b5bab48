"""Training: twins of ONNX models in torch, and what trains them. Needs ``pip install 'pycompress-engine[train]'``."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError("pycompress.train needs torch: pip install 'pycompress-engine[train]'") from None

from .exact import Exact, exact
from .fold import fold
from .twin import Twin, TwinLayer

__all__ = ["Exact", "Twin", "TwinLayer", "exact", "fold"]
