"""Reads Q4_0 matrices of GGUF files."""

from __future__ import annotations

import os

import numpy as np

from ..weights import Q4


def gguf(path: str | os.PathLike, name: str) -> Q4:
    """The Q4_0 tensor `name` of a GGUF file: blocks of 32 along k, each a float16 scale and the codes in two halves.

    Raises
    ------
    KeyError, ValueError
        If the file has no such tensor, it is of another type or no matrix, or the file is damaged.
    FileNotFoundError
        If there is no such file.
    """
    try:
        from gguf import GGMLQuantizationType, GGUFReader
    except ModuleNotFoundError:
        raise ModuleNotFoundError("GGUF files need gguf: pip install gguf") from None
    where = os.fspath(path)
    try:
        found = {t.name: t for t in GGUFReader(where).tensors}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # the reader checks little: what it raises depends on where the damage lies
        raise ValueError(f"{where}: no GGUF file, or a damaged one: {type(error).__name__}: {error}") from error
    if name not in found:
        raise KeyError(f"{where} has no tensor {name!r}; it has {', '.join(map(repr, list(found)[:8]))}")
    tensor = found[name]
    shape = [int(d) for d in tensor.shape][::-1]  # GGUF names the innermost first
    if tensor.tensor_type != GGMLQuantizationType.Q4_0 or len(shape) != 2:
        raise ValueError(f"{where}: {name} must be a Q4_0 matrix, is {tensor.tensor_type.name} {shape}")
    n, k = shape
    data = np.ascontiguousarray(tensor.data).view(np.uint8)
    if k % 32 or data.size != n * (k // 32) * 18:
        raise ValueError(f"{where}: {name}: {data.size} bytes are not a Q4_0 matrix of {n} x {k}")
    blocks = data.reshape(n, k // 32, 18)
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2")[..., 0].astype(np.float32)
    halves = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], -1)
    return Q4(np.ascontiguousarray(halves.reshape(n, k)), scale, np.full(scale.shape, 8, np.uint8), 32)
