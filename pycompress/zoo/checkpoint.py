"""Where ``load_checkpoint`` can also be imported from: it stands in ``pycompress.formats.checkpoint``."""

from ..formats.checkpoint import load_checkpoint

__all__ = ["load_checkpoint"]
