"""Writes files completely or not at all, and checks beforehand whether they can be written."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


def write(path: str | os.PathLike, data: bytes | Iterable) -> None:
    """Write `data` to `path`: afterwards the file holds all of it, or what it held before.

    A temporary file in the same folder takes the bytes and then the name. An existing file keeps its mode; a new
    one has the mode that ``open`` would give it. A link stays a link: its target is replaced. Pipes and devices
    cannot be replaced and are written to directly.

    Parameters
    ----------
    path : str or path
        The file to write.
    data : bytes-like, or iterable of bytes-like
        Its content.

    Raises
    ------
    OSError
        If the file cannot be written; IsADirectoryError where `path` is a folder.

    Examples
    --------
    >>> write("model.onnx", proto.SerializeToString())  # doctest: +SKIP
    """
    parts = [data] if isinstance(data, (bytes, bytearray, memoryview)) else data
    target = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{os.fspath(path)} is a folder")
    if mode is not None and not stat.S_ISREG(mode):
        # without O_NONBLOCK, opening a pipe without reader would block forever
        with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb") as file:
            os.set_blocking(file.fileno(), True)
            file.writelines(parts)
        return
    descriptor, temporary = _new(target)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = os.fspath(path)  # writing to a full disk names no file
        raise
    _sync_folder(os.path.dirname(target))


def _new(target: str) -> tuple[int, str]:
    """An open new file beside `target`; the system applies the umask, which is the process's and is not touched."""
    folder, name = os.path.split(target)
    for _ in range(100):  # not mkstemp, which fixes the mode 0600
        temporary = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(6)}.part")
        try:
            return os.open(
                temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666
            ), temporary
        except FileExistsError:
            continue
    raise FileExistsError(f"no name is left for a temporary file in {folder}")


def _sync_folder(folder: str) -> None:
    """Make the new name survive a power failure, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def check(path: str | os.PathLike, sources: Iterable[str | os.PathLike | None] = ()) -> None:
    """Raise now what `write` would raise after the work.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If `path` is a folder.
    PermissionError
        If the folder cannot be written to.
    ValueError
        If `path` is one of `sources`, by whatever name.

    Examples
    --------
    >>> check("small.onnx", sources=["model.onnx"])  # doctest: +SKIP
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {target.parent if path.is_symlink() else path.parent}")
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    for source in sources:
        if source is not None and target.exists() and os.path.exists(source) and os.path.samefile(target, source):
            raise ValueError(f"{path} is what is read: write to another file")
    special = target.exists() and not target.is_file()
    if not os.access(target if special else target.parent, os.W_OK):
        raise PermissionError(f"{path}: no permission to write {'to it' if special else f'in {target.parent}'}")
