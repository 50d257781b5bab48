"""An alias of ``pycompress.formats.checkpoint.load_checkpoint``."""

from ..formats.checkpoint import load_checkpoint

__all__ = ["load_checkpoint"]
