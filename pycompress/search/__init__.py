"""Search for small networks under a latency that this machine measures. Needs ``pip install 'pycompress-engine[search]'``.

``pycompress search SPACE.yaml --latency 100us`` is the whole of it; docs/search.md explains the parts.
"""

from __future__ import annotations

from importlib import import_module

_NAMES = {
    "Block": "blocks",
    "Network": "blocks",
    "Space": "space",
    "read": "space",
    "Table": "table",
    "fill": "latency",
    "correct": "latency",
    "report": "latency",
    "Evolution": "samplers",
    "Reinforce": "samplers",
    "WithinLatency": "samplers",
    "Search": "study",
    "run": "study",
    "Supernet": "supernet",
    "gradient_search": "gradient",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module 'pycompress.search' has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_NAMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "optuna", "yaml"):
            raise ModuleNotFoundError(
                f"pycompress.search.{name} needs {error.name}: pip install 'pycompress-engine[search]'", name=error.name
            ) from None
        raise
