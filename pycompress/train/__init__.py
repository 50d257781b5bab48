"""Training: twins of ONNX models in torch, and what trains them. Needs ``pip install 'pycompress-engine[train]'``."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError("pycompress.train needs torch: pip install 'pycompress-engine[train]'") from None

from .exact import Exact, exact
from .fit import Result, fit
from .fold import fold
from .process import dedicate
from .recipe import Recipe, read
from .twin import Twin, TwinLayer

__all__ = ["Exact", "Recipe", "Result", "Twin", "TwinLayer", "dedicate", "exact", "fit", "fold", "read"]
