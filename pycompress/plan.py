"""Plans in memory and in files (*.plan.safetensors). Needs only numpy and cffi."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ._pcx import ffi, lib
from .cpu import cpu_mask
from .dtypes import BY_NUMPY
from .errors import NoSuchFile, PlanError
from .operators import registered

FORMAT = 1  # 2 where a program has "times"
ALIGN = 64
_MESSAGE = 512  # bytes of an error message, its NUL included


class Stored(NamedTuple):
    """A tensor of a plan's file: its type as safetensors calls it, its shape, its bytes."""

    dtype: str
    shape: list[int]
    data: memoryview


class Plan:
    """Kernel calls with packed arguments, for one or more input shapes, and the weights they share.

    ``pycompress.compile`` and ``Plan.load`` make plans; ``pycompress.InferenceSession`` and the C library run them.

    Attributes
    ----------
    metadata : dict of str to str
        The file's ``__metadata__``: the graph of steps, notes, provenance, labels.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> plan = pycompress.compile(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
    >>> plan.save("net.plan.safetensors")
    >>> session = pycompress.InferenceSession(pycompress.Plan.load("net.plan.safetensors"))
    >>> (logits,) = session.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})
    >>> logits.shape
    (1, 4)
    """

    def __init__(
        self,
        metadata: Mapping[str, str] | None,
        tensors: Mapping[str, np.ndarray] | None,
        *,
        cpu: str | None = None,
        handle: Any = None,
    ):
        """Of what ``compile`` makes, or of a plan that C has opened; use ``compile``, ``load`` or ``from_bytes``."""
        if metadata is not None:
            self.metadata = dict(metadata)  # otherwise read from `handle`
        self._tensors = tensors
        self._cpu = cpu
        self._handle = handle

    @classmethod
    def load(cls, path: str | os.PathLike, *, cpu: str | None = None) -> Plan:
        """Open a saved plan. A file of more than 4 MiB is mapped into memory: its weights are not copied.

        Such a file must not be changed in place, nor cut off, while the plan is in use, else the process may be killed;
        ``save`` and ``os.replace`` put a new file in its place, which does no harm.

        Parameters
        ----------
        path : path
        cpu : str, optional
            The highest instruction set to use, as ``PYCOMPRESS_CPU``.

        Returns
        -------
        Plan

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        PlanError
            If the file is damaged, hostile, or of a version that this library does not read.
        """
        path = os.fspath(path)  # a number would be taken for an open file
        if not os.path.isfile(path):
            raise NoSuchFile(f"no such plan: {path}")
        arguments = (os.fsencode(path), cpu_mask(cpu))
        return cls(None, None, cpu=cpu, handle=_opened(lib.pcx_plan_load_custom, arguments, path))

    @classmethod
    def from_bytes(cls, data: bytes, *, cpu: str | None = None) -> Plan:
        """A plan from the bytes of its file.

        Raises
        ------
        PlanError
            As ``load``.
        """
        raw = np.empty(len(data) + ALIGN, np.uint8)
        start = -raw.ctypes.data % ALIGN
        view = raw[start : start + len(data)]
        view[:] = np.frombuffer(data, np.uint8)
        arguments = (ffi.from_buffer(view), len(data), cpu_mask(cpu))
        plan = cls(None, None, cpu=cpu, handle=_opened(lib.pcx_plan_open_custom, arguments, "plan"))
        plan._bytes = raw  # C reads it in place
        return plan

    def save(self, path: str | os.PathLike, *, slim: bool = False) -> None:
        """Write the plan to a safetensors file, completely or not at all.

        An existing file keeps its mode; a link stays a link, and its target is written.

        Parameters
        ----------
        path : path
        slim : bool
            Leave out what only people read, about 1 kB a step: the notes, so that ``explain()`` tells no nodes, operators
            and reasons, and the constants' names, since those of one type become one tensor. The results are the same bits.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from .formats import atomic  # imported here, as json below: loading a plan does not need it

        atomic.write(path, self._chunks(slim))

    def __reduce__(self):
        return _from_bytes, (b"".join(map(bytes, self._chunks())), self._cpu)

    def _chunks(self, slim: bool = False):
        """The bytes of the plan's file, part by part."""
        if self._tensors is None and not slim:
            yield self._file()
            return
        import json
        import struct

        metadata, stored = self.metadata, self._stored()
        if slim:
            from .slim import merged

            graph, stored = merged(metadata["pycompress"], stored)
            metadata = {k: v for k, v in metadata.items() if k != "pycompress.notes"} | {"pycompress": graph}
        header: dict[str, object] = {"__metadata__": metadata}
        parts, end = [], 0
        for name, x in stored.items():
            if gap := -end % ALIGN:
                header[f"__pad{len(parts)}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
                parts.append(bytes(gap))
                end += gap
            header[name] = {"dtype": x.dtype, "shape": x.shape, "data_offsets": [end, end + len(x.data)]}
            parts.append(x.data)
            end += len(x.data)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + 8) % ALIGN)
        yield struct.pack("<Q", len(text)) + text
        yield from parts

    def _file(self) -> Any:
        """The bytes of the file that C has opened."""
        size = ffi.new("size_t *")
        data = lib.pcx_plan_bytes(self._handle, size)
        return ffi.buffer(data, size[0])

    def _stored(self) -> dict[str, Stored]:
        """The tensors of the plan's file, but for gaps."""
        if self._tensors is not None:
            return {
                name: Stored(BY_NUMPY[x.dtype.name].file, list(x.shape), raw(x) if x.size else memoryview(b""))
                for name, x in self._tensors.items()
            }
        import json

        file = memoryview(self._file())
        start = 8 + int.from_bytes(file[:8], "little")
        return {
            name: Stored(x["dtype"], x["shape"], file[slice(*(start + at for at in x["data_offsets"]))])
            for name, x in json.loads(bytes(file[8:start])).items()
            if name != "__metadata__" and not name.startswith("__pad")
        }

    @cached_property
    def handle(self) -> Any:
        """The C library's pointer to the opened plan."""
        if self._handle is None:
            json_text = self.metadata["pycompress"].encode()
            names = [ffi.new("char[]", name.encode()) for name in self._tensors]
            shapes = [ffi.new("size_t[]", list(x.shape) or [0]) for x in self._tensors.values()]
            table = ffi.new("pcx_tensor[]", len(names))
            for row, name, shape, x in zip(table, names, shapes, self._tensors.values()):
                row.name, row.shape, row.dtype, row.rank = name, shape, BY_NUMPY[x.dtype.name].code, x.ndim
                row.data, row.bytes = ffi.cast("void *", x.__array_interface__["data"][0]), x.nbytes
            arguments = (json_text, len(json_text), table, len(names), cpu_mask(self._cpu))
            self._handle = _opened(lib.pcx_plan_build_custom, arguments, "plan")
            self._keep = (names, shapes, table)
        return self._handle

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The texts of the file's ``__metadata__`` by key."""
        return _metadata_of(self._handle)

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes, or None if the plan has none. Raises PlanError if they are not a list of strings."""
        return self._note("labels", None, lambda x: x is None or _list_of(x, str))

    @property
    def provenance(self) -> dict[str, str]:
        """Where the plan comes from: library version, graph, producer, compression. Raises PlanError if it is not a dict of strings."""
        return self._note("provenance", {}, lambda x: isinstance(x, dict) and _list_of(list(x.values()), str))

    @cached_property
    def notes(self) -> list[list[dict[str, Any]]]:
        """For each program and step: node, op, reason, dtype, shapes, multiply-accumulates. Raises PlanError if they are malformed.

        Of a plan that was saved without notes: what follows from its steps.
        """
        if "pycompress.notes" not in self.metadata and self.handle:  # which C has checked
            import json

            from .slim import notes

            return notes(json.loads(self.metadata["pycompress"]))
        return self._note("notes", [], lambda x: _list_of(x, list) and all(_is_note(n) for one in x for n in one))

    def _note(self, key: str, default, fits: Callable[[object], bool]):
        """The JSON value of the metadata entry `key`, checked, since the file may come from anyone."""
        text = self.metadata.get(f"pycompress.{key}")
        if text is None:
            return default
        import json

        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"plan: its {key} are not JSON: {type(error).__name__}: {error}") from None
        if not fits(value):
            raise PlanError(f"plan: its {key} are not as this library writes them")
        return value

    @property
    def nbytes(self) -> int:
        """The size of the plan's file in bytes."""
        return sum(len(c) for c in self._chunks())

    def __repr__(self):
        count = lib.pcx_plan_programs(self.handle)
        return f"<Plan: {count} program{'s' * (count != 1)}, {lib.pcx_plan_steps(self.handle, 0)} steps>"


def _from_bytes(data: bytes, cpu: str | None) -> Plan:
    return Plan.from_bytes(data, cpu=cpu)


def raw(x: np.ndarray) -> memoryview:
    """The bytes of `x` in C order, as uint8: types of ml_dtypes do not support the buffer protocol."""
    return memoryview(np.ascontiguousarray(x).reshape(-1).view(np.uint8))


def _list_of(x, kind: type) -> bool:
    return isinstance(x, list) and all(isinstance(item, kind) for item in x)


def _is_note(note) -> bool:
    """Whether it is a note on a step: texts, shapes and a count. Other entries are never read."""
    return (
        isinstance(note, dict)
        and all(isinstance(note.get(key, ""), str) for key in ("node", "op", "reason", "dtype"))
        and all(_list_of(note.get(key, []), int) for key in ("in", "out"))
        and isinstance(note.get("macs", 0), int)
    )


def _opened(function, arguments: tuple, what: str):
    """The handle that a pcx_plan_*_custom function returns; raises the error that it reports."""
    plan, why = ffi.new("pcx_plan **"), ffi.new("char[]", _MESSAGE)
    table, operators = registered()
    code = function(*arguments, table, plan, why, _MESSAGE)
    if code == lib.PCX_OK:

        def free(handle, operators=operators):  # which live as long as the plan
            lib.pcx_plan_free(handle)

        return ffi.gc(plan[0], free if operators else lib.pcx_plan_free)
    text = ffi.string(why).decode("utf-8", "replace")
    if code == lib.PCX_NO_MEMORY:
        raise MemoryError(f"{what}: {text or 'out of memory'}")
    if code == lib.PCX_IO:
        raise OSError(f"{what}: {text}")
    raise PlanError(f"{what}: {text}")


def _metadata_of(handle) -> dict[str, str]:
    found = {}
    size = ffi.new("size_t *")
    for key in ("pycompress", "pycompress.notes", "pycompress.provenance", "pycompress.labels"):
        text = lib.pcx_plan_metadata(handle, key.encode(), size)
        if text:
            found[key] = ffi.buffer(text, size[0])[:].decode("utf-8", "replace")
    return found
