"""``pycompress.torch``: see ``pycompress.integrations.torch``."""

from .integrations import torch as _module
from .integrations.torch import *  # noqa: F403

__all__ = _module.__all__
__doc__ = _module.__doc__
