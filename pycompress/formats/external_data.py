"""Tensors of an ONNX model that are stored in files beside it.

A file is read only where its real path lies in a folder that the caller trusts: the given `base_dir`, the model's own
folder, and the folder that holds the model's real file where the model is a link (as in the Hugging Face cache, whose
snapshots link into `blobs/`). Each file is read once, however many tensors name it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from ..errors import ModelError

KEYS = {"location", "offset", "length", "checksum"}


class ExternalData:
    """The files that may be read, and what of them was read.

    Parameters
    ----------
    folders : iterable of path
        Locations are relative to the first; files may lie, by their real paths, in any of them.
    limit : int
        Bytes of all files together.
    """

    def __init__(self, folders: Iterable[str | os.PathLike], limit: int):
        folders = [Path(f) for f in folders]
        self.base = folders[0] if folders else None
        self.roots = [f.resolve(strict=True) for f in folders]
        self.limit = limit
        self.files: dict[Path, np.ndarray] = {}

    def read(self, tensor: TensorProto) -> np.ndarray:
        """The bytes of `tensor`, uint8[length]: a view of its file's, not to be written.

        Raises
        ------
        ModelError
            If no folder was given, the location leads out of the folders or to no regular file, a key is not known, or
            offset and length do not fit the file or the tensor's shape.
        """
        info = {e.key: e.value for e in tensor.external_data}
        if unknown := set(info) - KEYS:
            raise ModelError(f"tensor {tensor.name!r}: external data key {min(unknown)!r} is not known")
        if self.base is None:
            raise ModelError(f"tensor {tensor.name!r}: its data is stored outside the model: give base_dir to read it")
        location = info.get("location", "")
        data = self._file(tensor.name, location)
        try:
            offset = int(info.get("offset", 0))
            length = int(info.get("length", data.size - offset))
        except ValueError:
            raise ModelError(f"tensor {tensor.name!r}: external offset and length must be integers") from None
        if offset < 0 or length < 0 or offset + length > data.size:
            raise ModelError(f"tensor {tensor.name!r}: external data lies outside {location!r}")
        return data[offset : offset + length]

    def read_into(self, tensor: TensorProto) -> None:
        """Makes `tensor` hold its data, if it lies outside."""
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = self.read(tensor).tobytes()
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]

    def _file(self, name: str, location: str) -> np.ndarray:
        try:
            given = Path(location)
            if not location or given.is_absolute() or ".." in given.parts:
                raise ValueError
            path = (self.base / given).resolve(strict=True)
            if not any(root in path.parents for root in self.roots):
                raise ValueError
            if path not in self.files:
                self.files[path] = self._bytes(name, path)
        except (OSError, ValueError):  # no such file, a loop of links, too long, a zero byte
            raise ModelError(
                f"tensor {name!r}: external data at {location!r} is not a file in the model's folder or base_dir"
            ) from None
        return self.files[path]

    def _bytes(self, name: str, path: Path) -> np.ndarray:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ValueError
            if found.st_size + sum(x.size for x in self.files.values()) > self.limit:
                raise ModelError(f"tensor {name!r}: external data of more than {self.limit} bytes")
            return np.fromfile(file, np.uint8)


def folders_of(model, base_dir: str | os.PathLike | None) -> list[Path]:
    """The folders that external data of `model` (a path, or anything) may be read from."""
    if not isinstance(model, (str, os.PathLike)):
        return [] if base_dir is None else [Path(base_dir)]
    path = Path(model)
    beside = [Path(base_dir)] if base_dir is not None else [path.parent]
    return [*beside, path.resolve().parent]


def array_of(tensor: TensorProto, raw: np.ndarray) -> np.ndarray:
    """The bytes of an external `tensor` as an array of its type and shape; 4-bit types stay for onnx to unpack."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = int(np.prod(tensor.dims, dtype=object))
    if raw.size != count * dtype.itemsize:
        raise ModelError(f"tensor {tensor.name!r}: {raw.size} external bytes do not fit its shape {list(tensor.dims)}")
    aligned = raw if raw.ctypes.data % max(dtype.alignment, 1) == 0 else raw.copy()
    return aligned.view(dtype).reshape(tuple(tensor.dims))
