"""Reads and writes quantized linear weights in the compressed-tensors format (vLLM), in safetensors files."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from ..weights import Q4, Q8

_KNOWN = {
    "weight", "weight_packed", "weight_shape", "weight_scale", "weight_zero_point", "bias", "input_scale",
    "input_zero_point", "weight_g_idx",
}  # fmt: skip
_FEW = 8  # codes in an int32
_COLUMNS = 1 << 16  # the maximum that kernels take


def compressed_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], what: str, name: str = ""):
    """(Q8 or Q4, bias or None, input range or None) of the tensors of the module `name` and the file's metadata.

    Raises
    ------
    ValueError
        If it is stored otherwise than "pack-quantized" with 4 or "int-quantized" with 8 bits, or its parts are inconsistent.
    """
    unknown = sorted(set(tensors) - _KNOWN)
    if unknown:
        raise ValueError(f"{what}: {unknown[0]} is not supported")
    if ("weight" in tensors) == ("weight_packed" in tensors) or "weight_scale" not in tensors:
        raise ValueError(f"{what}: needs weight_scale and either weight or weight_packed, has {', '.join(tensors)}")
    bias = None if "bias" not in tensors else np.asarray(tensors["bias"], np.float32)
    scale = np.asarray(tensors["weight_scale"], np.float32)
    weights = (
        _packed(tensors, scale, _group_size(metadata, name), what)
        if "weight_packed" in tensors
        else _bytes(tensors, scale, what)
    )
    return weights, bias, _input_range(tensors, what)


def _group_size(metadata, name: str) -> int | None:
    """The columns of a group, if the file's metadata says so, for the module `name` or for all; else None."""
    try:
        groups = json.loads(metadata.get("quantization_config", "{}")).get("config_groups", {})
        own = [g for g in groups.values() if name in g.get("targets", ())]
        sizes = {g["weights"].get("group_size") for g in own or groups.values()}
        return int(sizes.pop()) if len(sizes) == 1 and None not in sizes else None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _packed(tensors, scale: np.ndarray, group: int | None, what: str) -> Q4:
    packed = tensors["weight_packed"]
    if "weight_shape" not in tensors:
        raise ValueError(f"{what}: weight_packed needs weight_shape")
    shape = np.asarray(tensors["weight_shape"]).reshape(-1)
    if shape.dtype.kind not in "iu" or shape.size != 2 or shape.min() < 0:
        raise ValueError(f"{what}: weight_shape must be two sizes, got {shape.dtype}{list(shape.shape)}")
    n, k = shape.tolist()
    if k > _COLUMNS:
        raise ValueError(f"{what}: at most {_COLUMNS} columns, got {k}")
    if packed.dtype != np.int32 or packed.shape != (n, -(-k // _FEW)):
        raise ValueError(
            f"{what}: 4-bit weight_packed of {n} x {k} must be int32[{n}, {-(-k // _FEW)}], "
            f"got {packed.dtype}{list(packed.shape)}"
        )
    scale = _per_group(scale, n, what)
    groups = scale.shape[1]
    if groups <= 1:
        group = max(k, 1)
    elif group is None:
        able = [size for size in range(32, k, 32) if -(-k // size) == groups]
        if len(able) > 1:
            raise ValueError(f"{what}: {groups} groups of {k} columns could be of {able}; the metadata does not say")
        group = able[0] if able else 0
    if not group or group < 1 or groups > 1 and (-(-k // group) != groups or group % 32):
        raise ValueError(f"{what}: {groups} groups of {k} columns; a group must have a multiple of 32")
    _in_order(tensors, k, group, what)
    return Q4(unpack(packed, k), scale, _zero_points(tensors, n, groups, what), group)


def _zero_points(tensors, n: int, groups: int, what: str) -> np.ndarray:
    """weight_zero_point as uint8[n, groups] of 0 to 15: packed along n as int32, or int8 of -8 to 7, one each."""
    if "weight_zero_point" not in tensors:
        return np.full((n, groups), 8, np.uint8)
    given = tensors["weight_zero_point"]
    if given.dtype == np.int32 and given.shape == (-(-n // _FEW), groups):
        return np.ascontiguousarray(unpack(given.T, n).T)
    if given.dtype != np.int8 or given.shape != (n, groups):
        raise ValueError(
            f"{what}: weight_zero_point must be int32[{-(-n // _FEW)}, {groups}] or int8[{n}, {groups}], "
            f"got {given.dtype}{list(given.shape)}"
        )
    if given.size and (given.min() < -8 or given.max() > 7):
        raise ValueError(f"{what}: a weight_zero_point of 4-bit weights must be from -8 to 7")
    return (given + 8).astype(np.uint8)


def _in_order(tensors, k: int, group: int, what: str) -> None:
    """Raise if there is a weight_g_idx that is neither all -1 nor assigns columns to groups in order."""
    if "weight_g_idx" not in tensors:
        return
    given = np.asarray(tensors["weight_g_idx"])
    if given.dtype.kind not in "iu" or given.shape != (k,):
        raise ValueError(f"{what}: weight_g_idx must be {k} integers, got {given.dtype}{list(given.shape)}")
    if (given != -1).any() and (given != np.arange(k) // group).any():
        raise ValueError(
            f"{what}: weight_g_idx puts columns into groups out of order (activation ordering), which is not supported; "
            "quantize with actorder off, or with actorder='weight'"
        )


def _bytes(tensors, scale: np.ndarray, what: str) -> Q8:
    w = tensors["weight"]
    if "weight_g_idx" in tensors:
        raise ValueError(f"{what}: weight_g_idx is for 4-bit weights")
    if w.dtype != np.int8 or w.ndim != 2:
        raise ValueError(f"{what}: weight must be an int8 matrix, got {w.dtype}{list(w.shape)}")
    scale = _per_group(scale, len(w), what)
    if scale.shape[1] != 1:
        raise ValueError(f"{what}: 8-bit weights take one scale per row, got weight_scale{list(scale.shape)}")
    zero = np.zeros(len(w), np.int32)
    if "weight_zero_point" in tensors:
        given = _int8("weight_zero_point", tensors, what)
        if given.size not in (1, len(w)):
            raise ValueError(f"{what}: weight_zero_point must have 1 or {len(w)} numbers, got {given.size}")
        zero = np.broadcast_to(given, len(w)).copy()
    return Q8(np.ascontiguousarray(w), np.ascontiguousarray(scale[:, 0]), zero)


def _per_group(scale: np.ndarray, n: int, what: str) -> np.ndarray:
    """weight_scale as float32[n, groups]; per tensor it has one number, per channel one column."""
    if scale.size == 1:
        return np.full((n, 1), scale.reshape(()), np.float32)
    if scale.ndim != 2 or len(scale) != n:
        raise ValueError(f"{what}: weight_scale must have {n} rows, got shape {scale.shape}")
    return np.ascontiguousarray(scale)


def _input_range(tensors, what: str):
    """The range that a static scale of the input spans."""
    if "input_scale" not in tensors:
        return None
    scale = np.asarray(tensors["input_scale"], np.float32)
    if scale.size != 1:
        raise ValueError(f"{what}: input_scale must be one number, got shape {scale.shape}")
    zero = _int8("input_zero_point", tensors, what) if "input_zero_point" in tensors else np.zeros(1, np.int32)
    step = float(scale.reshape(()))
    if zero.size != 1 or not 0 < step < 1e36:
        raise ValueError(f"{what}: input_scale must be positive and finite, and have one input_zero_point")
    return (-128 - int(zero[0])) * step, (127 - int(zero[0])) * step


def _int8(name: str, tensors, what: str) -> np.ndarray:
    """A tensor of zero points as int32[...]."""
    x = np.asarray(tensors[name]).reshape(-1)
    if x.dtype.kind not in "iu" or x.size and (x.min() < -128 or x.max() > 127):
        raise ValueError(f"{what}: {name} must be of integers from -128 to 127")
    return x.astype(np.int32)


def as_compressed_tensors(weights: Q8 | Q4, bias, grid: tuple[np.float32, int] | None):
    """(tensors, metadata) of one module; `grid` is the scale and the uint8 zero point of the input."""
    tensors: dict[str, np.ndarray | None] = {"bias": bias}
    four = isinstance(weights, Q4)
    if four:
        n, k = weights.w.shape
        tensors |= {
            "weight_packed": pack(weights.w), "weight_shape": np.array([n, k], np.int64), "weight_scale": weights.scale,
        }  # fmt: skip
        if (weights.zero != 8).any():
            tensors["weight_zero_point"] = np.ascontiguousarray(pack(weights.zero.T).T)
    else:
        tensors |= {"weight": weights.w, "weight_scale": weights.scale[:, None]}
        if weights.zero.any():
            tensors["weight_zero_point"] = weights.zero[:, None]
    if grid is not None:
        tensors |= {
            "input_scale": np.array([grid[0]], np.float32),
            "input_zero_point": np.array([grid[1] - 128], np.int8),
        }
    grouped = four and weights.scale.shape[1] > 1
    scheme = {
        "num_bits": 4 if four else 8, "type": "int", "symmetric": "weight_zero_point" not in tensors,
        "strategy": "group" if grouped else "channel",
    } | ({"group_size": weights.group} if grouped else {})  # fmt: skip
    config = {
        "quant_method": "compressed-tensors", "format": "pack-quantized" if four else "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": scheme}},
    }  # fmt: skip
    return tensors, {"quantization_config": json.dumps(config)}


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes uint8[rows, count] of 0 to 15 as int32[rows, ceil(count/8)], the first in the lowest bits."""
    rows, count = codes.shape
    full = np.zeros((rows, -(-count // _FEW) * _FEW), np.uint8)
    full[:, :count] = codes
    pairs = full[:, 0::2] | full[:, 1::2] << 4
    return np.ascontiguousarray(pairs).view("<i4")


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The first `count` codes of each row of int32[rows, ...]: uint8[rows, count]."""
    pairs = np.ascontiguousarray(packed.astype("<i4", copy=False)).view(np.uint8)
    codes = np.empty((len(packed), pairs.shape[1] * 2), np.uint8)
    codes[:, 0::2], codes[:, 1::2] = pairs & 15, pairs >> 4
    return np.ascontiguousarray(codes[:, :count])
