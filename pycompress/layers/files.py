"""Several layers in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from ..formats import atomic
from .base import Linear, _safetensors, modules, named
from .half import HalfLinear
from .lowrank import LowRankLinear
from .quantized import QuantizedLinear
from .sparse import SparseLinear

_KINDS = {"weight_data": SparseLinear, "weight_u": LowRankLinear, "weight_scale": QuantizedLinear, "weight": HalfLinear}


def save(path: str | os.PathLike, layers: Mapping[str, Linear]) -> None:
    """Write layers to one safetensors file, completely or not at all, each as its own ``save`` does.

    Parameters
    ----------
    path : path
    layers : dict
        Layers by the names of their modules: "model.layers.0.fc".

    Raises
    ------
    TypeError, ValueError
        If a name is not a string, two names collide, or a value is not a layer.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress import layers
    >>> W = np.eye(32)
    >>> network = {"up": layers.QuantizedLinear.from_dense(W), "down": layers.SparseLinear.from_dense(W)}
    >>> layers.save("layers.safetensors", network)
    >>> layers.load("layers.safetensors")
    {'down': SparseLinear(32 x 32, density 0.031), 'up': QuantizedLinear(32 x 32, 8 bits, dynamic)}
    """
    tensors, groups, config = {}, {}, {}
    for name, layer in dict(layers).items():
        if not isinstance(name, str) or not isinstance(layer, Linear):
            raise TypeError(f"layers must be layers by name, got {name!r}: {type(layer).__name__}")
        own, metadata = layer._tensors()
        tensors |= named(name, own)
        if text := metadata.get("quantization_config"):
            config = json.loads(text)
            groups[f"group_{len(groups)}"] = config["config_groups"]["group_0"] | {
                "targets": [name],
                "format": config["format"],
            }
    formats = {group["format"] for group in groups.values()}
    if len(formats) > 1:  # its word for files whose groups differ
        config["format"] = "mixed-precision"
    meta = {"quantization_config": json.dumps(config | {"config_groups": groups})} if groups else None
    atomic.write(path, _safetensors("numpy").save(tensors, meta))


def load(path: str | os.PathLike) -> dict[str, Linear]:
    """The layers of a safetensors file by the names of their modules, sorted.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If a module is not stored as a layer, or another file is no safetensors file; it names the module.

    Examples
    --------
    >>> import numpy as np
    >>> from pycompress import layers
    >>> layers.save("layers.safetensors", {"up": layers.HalfLinear.from_dense(np.ones((4, 8)))})
    >>> layers.load("layers.safetensors")
    {'up': HalfLinear(4 x 8, float16)}
    """
    found: dict[str, Linear] = {}
    for name, words in modules(path).items():
        kind = next((made for word, made in _KINDS.items() if word in words), None)
        if kind is None:
            raise ValueError(
                f"{os.fspath(path)}: module {name!r} is none of the layers, it has {', '.join(sorted(words))}"
            )
        try:
            found[name] = kind.load(path, name)
        except (KeyError, TypeError, ValueError) as error:
            said = str(error.args[0]).removeprefix(f"{os.fspath(path)}: ") if error.args else type(error).__name__
            raise ValueError(f"{os.fspath(path)}: module {name!r}: {said}") from error
    return found
