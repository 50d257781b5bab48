"""The names that users meet: of the package, its layers, its kernels, its onnxruntime, its networks, its ONNX backend."""

import inspect
from collections.abc import Iterator
from functools import cache

import pycompress
from pycompress import layers, native, onnx_backend, ort, zoo


@cache
def public_names() -> dict[str, object]:
    """Everything public by its full name; what has several names by its first."""
    found: dict[str, object] = {}
    for module in (pycompress, layers, ort, zoo, onnx_backend):
        found |= {f"{module.__name__}.{name}": getattr(module, name) for name in module.__all__}
    own = (*native.names(), "Kernel", "aligned", "names")
    found |= {f"pycompress.native.{name}": getattr(native, name) for name in own}
    first: dict[int, str] = {}
    for name, thing in found.items():
        first.setdefault(id(thing), name)
    return {name: found[name] for name in first.values()}


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class, also those of its bases in this package, as functions by full name."""
    for base in cls.__mro__:
        if not base.__module__.startswith("pycompress"):
            continue
        for name, value in vars(base).items():
            value = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
            if inspect.isfunction(value) and (not name.startswith("_") or name in ("__init__", "__call__")):
                yield f"{cls.__name__}.{name}", value
