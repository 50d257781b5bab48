"""Compression passes: each takes an ONNX model and returns a smaller or faster one. Called, it follows a recipe of them."""

import inspect
import sys
from types import ModuleType

from .chain import compress as _compress


class _Callable(ModuleType):
    """This package, which is also the function ``pycompress.compress``."""

    __call__ = staticmethod(_compress)


sys.modules[__name__].__class__ = _Callable
__doc__, __signature__ = _compress.__doc__, inspect.signature(_compress)
