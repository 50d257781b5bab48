"""Reads PyTorch checkpoints without PyTorch, and without unpickling.

A checkpoint is a pickle, which is a program.  This reader runs the handful of instructions that a
state dict consists of on a machine of its own: containers, numbers, strings, tensors.  A global is
only ever a name here; any but those listed, and any other instruction, raises `ValueError`.
"""

from __future__ import annotations

import io
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MAX_DIMS = 8
_TEXT = 100  # characters of a file's own words in a message


def _brief(x) -> str:
    """`x` for a message: what a file holds may be as long as it likes, and a tuple may hold itself many times over."""
    if isinstance(x, str):
        return x if len(x) <= _TEXT else x[:_TEXT] + "..."
    return str(x) if type(x) is int else f"a {type(x).__name__}"


class _Global:
    """A name the pickle mentions; calling is up to the machine."""

    def __init__(self, name: str):
        self.name = name


class _Storage:
    """Flat memory that tensors are views of; its bytes may come later in the file."""

    def __init__(self, dtype: str, size: int):
        self.dtype, self.size = np.dtype(dtype), size
        self.data: np.ndarray | None = None

    def fill(self, raw: bytes) -> None:
        if len(raw) != self.size * self.dtype.itemsize:
            raise ValueError(f"checkpoint: a storage of {self.size} elements holds {len(raw)} bytes")
        self.data = np.frombuffer(raw, self.dtype)


class _Tensor:
    def __init__(self, storage, offset, shape, strides):
        counts = (*shape, *strides, offset) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
        if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in counts):
            raise ValueError("checkpoint: a tensor's storage, offset, shape or strides are not what they should be")
        if len(shape) != len(strides) or len(shape) > _MAX_DIMS:
            raise ValueError(
                f"checkpoint: a tensor of {len(shape)} sizes and {len(strides)} strides, at most {_MAX_DIMS}"
            )
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        if 0 not in shape and last >= storage.size:
            raise ValueError(f"checkpoint: a tensor reaches element {last} of a storage of {storage.size}")
        if np.prod(shape, dtype=object) > storage.size:
            raise ValueError("checkpoint: a tensor that repeats its storage")
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        data = self.storage.data
        if data is None:
            raise ValueError("checkpoint: a tensor whose storage is missing")
        if 0 in self.shape:
            return np.zeros(self.shape, data.dtype)
        strides = [s * data.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides)


def _call(function, args):
    name = function.name if isinstance(function, _Global) else type(function).__name__
    if name == "collections.OrderedDict" and args == ():
        return {}
    if name == "torch._utils._rebuild_tensor_v2" and len(args) in (6, 7):
        return _Tensor(*args[:4])
    if name == "torch._utils._rebuild_parameter" and len(args) == 3 and isinstance(args[0], _Tensor):
        return args[0]
    raise ValueError(f"checkpoint: calls {name} with {len(args)} arguments; only tensors and OrderedDict are admitted")


def _find(name: str) -> _Global:
    module, _, cls = name.rpartition(".")
    known = ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter")
    if name in known or (module == "torch" and cls in DTYPES):
        return _Global(name)
    raise ValueError(f"checkpoint: mentions {_brief(name)}; only tensors and OrderedDict are admitted")


_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINFLOAT"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}


class _Machine:
    """A pickle's stack, marks and memo, and the instructions that are admitted, each a method of its name."""

    def __init__(self, storage: Callable[[tuple], _Storage] | None):
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.storage = storage

    def pop(self):
        if not self.stack or (self.marks and len(self.stack) <= self.marks[-1]):
            raise ValueError("checkpoint: the pickle takes from an empty stack")
        return self.stack.pop()

    def pops(self, count: int) -> list:
        """The last values, in the order in which they came."""
        return [self.pop() for _ in range(count)][::-1]

    def since_mark(self) -> list:
        if not self.marks:
            raise ValueError("checkpoint: the pickle ends a sequence that it did not begin")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type):
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"checkpoint: the pickle takes something for a {kind.__name__}")
        return self.stack[-1]

    def update(self, values: list) -> None:
        keys = values[::2]
        if len(values) % 2 or not all(isinstance(k, str) for k in keys):
            raise ValueError("checkpoint: a dict whose keys are not strings")
        self.top(dict).update(zip(keys, values[1::2]))

    def push(self, name: str, arg) -> bool:
        """Follow an instruction that needs the stack's end only; False if `name` is none of them."""
        if name in _LITERALS:
            self.stack.append(arg)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            self.stack.append(tuple(self.pops(int(name[-1]))))
        elif name not in ("PROTO", "FRAME"):
            return False
        return True

    def MARK(self, arg):
        self.marks.append(len(self.stack))

    def TUPLE(self, arg):
        self.stack.append(tuple(self.since_mark()))

    def MEMOIZE(self, arg):
        self.memo[len(self.memo)] = self.top(object)

    def BINPUT(self, arg):
        self.memo[arg] = self.top(object)

    def BINGET(self, arg):
        if arg not in self.memo:
            raise ValueError(f"checkpoint: the pickle recalls {_brief(arg)}, which it did not store")
        self.stack.append(self.memo[arg])

    LONG_BINPUT, LONG_BINGET = BINPUT, BINGET

    def SETITEM(self, arg):
        self.update(self.pops(2))

    def SETITEMS(self, arg):
        self.update(self.since_mark())

    def APPEND(self, arg):
        value = self.pop()
        self.top(list).append(value)

    def APPENDS(self, arg):
        values = self.since_mark()
        self.top(list).extend(values)

    def GLOBAL(self, arg):
        self.stack.append(_find(arg.replace(" ", ".")))

    def STACK_GLOBAL(self, arg):
        names = self.pops(2)
        if not all(isinstance(n, str) for n in names):
            raise ValueError("checkpoint: a global without a name")
        self.stack.append(_find(".".join(names)))

    def REDUCE(self, arg):
        args = self.pop()
        if not isinstance(args, tuple):
            raise ValueError("checkpoint: a call whose arguments are not a tuple")
        self.stack.append(_call(self.pop(), args))

    def BUILD(self, arg):  # attributes of an OrderedDict (the versions of its modules): not needed
        self.pop()
        self.top(dict)

    def BINPERSID(self, arg):
        if self.storage is None:
            raise ValueError("checkpoint: the pickle instruction BINPERSID is not admitted")
        self.stack.append(self.storage(self.pop()))


def run_pickle(stream: io.BytesIO, storage: Callable[[tuple], _Storage] | None = None):
    """The value that the pickle at `stream` describes, by the instructions of `_Machine` and no others."""
    machine = _Machine(storage)
    for op, arg, _ in pickletools.genops(stream):
        if op.name == "STOP":
            return machine.pop()
        if machine.push(op.name, arg):
            continue
        follow = getattr(machine, op.name, None)
        if follow is None:
            raise ValueError(f"checkpoint: the pickle instruction {op.name} is not admitted")
        follow(arg)
    raise ValueError("checkpoint: the pickle does not end")


class _Storages(dict):
    """Storages by key, made as the pickle mentions them."""

    def __call__(self, pid) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise ValueError("checkpoint: a reference to something that is not a storage")
        _, kind, key, _, size = pid[:5]
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("checkpoint: views of storages are not supported")
        if not isinstance(kind, _Global) or not kind.name.startswith("torch.") or type(key) is not str:
            raise ValueError("checkpoint: a storage without type or key")
        dtype = DTYPES.get(kind.name.rpartition(".")[2])
        if dtype is None or type(size) is not int or size < 0:
            raise ValueError(f"checkpoint: a storage of type {kind.name} and size {_brief(size)}")
        found = self.setdefault(key, _Storage(dtype, size))
        if (found.dtype, found.size) != (np.dtype(dtype), size):
            raise ValueError(f"checkpoint: storage {_brief(key)} is described twice, differently")
        return found


def _load_stacked(f: io.BytesIO) -> object:
    """The format before 2020: four pickles, then the storages one after another."""
    if run_pickle(f) != MAGIC or run_pickle(f) != 1001:
        raise ValueError("checkpoint: not a PyTorch checkpoint, or of an unknown version")
    system = run_pickle(f)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("checkpoint: not written by a little-endian machine")
    storages = _Storages()
    value, keys = run_pickle(f, storages), run_pickle(f)
    if not isinstance(keys, list) or any(type(k) is not str for k in keys) or set(keys) != set(storages):
        raise ValueError("checkpoint: the list of storages is not that of the tensors")
    for key in keys:
        count = f.read(8)
        if len(count) != 8 or struct.unpack("<q", count)[0] != storages[key].size:
            raise ValueError(f"checkpoint: storage {_brief(key)} is cut short or has another size than its tensors say")
        storages[key].fill(f.read(storages[key].size * storages[key].dtype.itemsize))
    return value


def _load_zip(f: io.BytesIO) -> object:
    """The format since 2020: an archive of data.pkl and one stored member per storage."""
    with zipfile.ZipFile(f) as archive:
        members = {i.filename: i for i in archive.infolist()}
        if any(i.compress_type != zipfile.ZIP_STORED for i in members.values()):
            raise ValueError("checkpoint: a compressed archive; PyTorch stores its members")
        if sum(i.file_size for i in members.values()) > f.getbuffer().nbytes:
            raise ValueError("checkpoint: an archive whose members overlap")
        pickles = [n for n in members if n.endswith("/data.pkl") and n.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("checkpoint: an archive without data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("checkpoint: not written by a little-endian machine")
        storages = _Storages()
        value = run_pickle(io.BytesIO(archive.read(pickles[0])), storages)
        for key, storage in storages.items():
            if f"{root}data/{key}" not in members:
                raise ValueError(f"checkpoint: storage {_brief(key)} is missing")
            storage.fill(archive.read(f"{root}data/{key}"))
    return value


def load_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The state dict in a .pth file, as read-only NumPy arrays.

    Both of PyTorch's formats are read, little-endian. Nothing in the file is executed.

    Raises
    ------
    ValueError
        The file is damaged, or holds anything but a dict of tensors.
    """
    raw = Path(path).read_bytes()
    f = io.BytesIO(raw)
    try:
        value = _load_zip(f) if raw[:4] == b"PK\x03\x04" else _load_stacked(f)
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"checkpoint: {path} is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("checkpoint: not a state dict")
    if isinstance(value.get("state_dict"), dict):
        value = value["state_dict"]
    for name, tensor in value.items():
        if not isinstance(tensor, _Tensor):
            raise ValueError(f"checkpoint: {_brief(name)} is not a tensor")
    return {name: tensor.array() for name, tensor in value.items()}
