"""``pycompress.numba``: see ``pycompress.integrations.numba``."""

from .integrations import numba as _module
from .integrations.numba import *  # noqa: F403

__all__ = _module.__all__
__doc__ = _module.__doc__
