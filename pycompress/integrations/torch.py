"""This library inside PyTorch: operators, modules, a backend of torch.compile.

* ``torch.ops.pycompress``: ``spmm``, ``quantized_linear``, ``int4_linear``, ``lowrank_linear``, ``half_linear``, ``sparse_linear``
* ``QuantizedLinear``, ``LowRankLinear``, ``HalfLinear``, ``SparseLinear``: modules in place of ``torch.nn.Linear``
* ``torch.compile(model, backend="pycompress")``, in an environment where this package is installed
"""

from .torch_backend import FallbackWarning, compile_backend
from .torch_modules import HalfLinear, LowRankLinear, QuantizedLinear, SparseLinear, replace_linear

__all__ = [
    "FallbackWarning",
    "HalfLinear",
    "LowRankLinear",
    "QuantizedLinear",
    "SparseLinear",
    "compile_backend",
    "replace_linear",
]
