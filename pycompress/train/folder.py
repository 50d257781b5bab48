"""The folder of a run: whose run it is, and files of the stages that are done, so that a killed run can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import onnx

from ..errors import ModelError, TrainingError
from ..formats import atomic
from ..formats.onnx_model import self_contained
from .feed import Parts

Made = tuple[onnx.ModelProto, dict]  # a model, and what its stage says of itself
LOCK = "lock"  # a file of the folder
DIFFERENT = {
    "network": "a run of another network",
    "data": "a run on other data",
    "test": "a run with other test images",
    "teacher": "a run with another teacher",
}


class Folder:
    """The folder of a run, which is made, or checked if it is there.

    Parameters
    ----------
    path : path
    identity : dict
        What a run must have in common with the one that it goes on with, as JSON: the keys of `DIFFERENT`, and "recipe".
    resume : bool
        Go on with what is there, if anything is.

    Raises
    ------
    FileExistsError
        If `path` is a file, holds other files, or holds a run and `resume` is not set.
    TrainingError
        If it holds the run of another network, recipe or data set, its file of that is damaged, or another run works in it.
    """

    def __init__(self, path: Path, identity: dict, *, resume: bool):
        self.path, self.resume = Path(path), resume
        file = self.path / "recipe.json"
        make(self.path)
        if not file.exists() and any(found.name != LOCK for found in self.path.iterdir()):
            raise FileExistsError(f"{self.path} is a folder with other files: name a new or an empty one")
        self._lock = _locked(self.path)
        try:
            self._open(file, identity)
        except BaseException:
            self.close()
            raise

    def _open(self, file: Path, identity: dict) -> None:
        if not file.exists():
            atomic.write(file, json.dumps(identity, indent=1).encode())
        elif not self.resume:
            raise FileExistsError(f"{self.path} holds a run already: resume it, or name another folder")
        else:
            self._check(read_json(file, f"delete {self.path} to begin again"), json.loads(json.dumps(identity)))

    def close(self) -> None:
        """Let others work in the folder."""
        self._lock.close()

    def _check(self, held: dict, mine: dict) -> None:
        for key, said in DIFFERENT.items():
            if key == "test" and key not in held:
                continue  # a run without test images: they change nothing that it did
            if held.get(key) != mine.get(key):
                raise TrainingError(f"{self.path} holds {said}: name another folder")
        if where := _difference(held.get("recipe"), mine["recipe"], "recipe"):
            raise TrainingError(f"{self.path} holds a run of another recipe: {where}")

    def log(self, event: dict) -> None:
        """Append a line to ``log.jsonl``."""
        with open(self.path / "log.jsonl", "ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n":
                file.write(b"\n")  # a kill has cut the last line
            file.write(json.dumps(event).encode() + b"\n")

    def done(self, name: str) -> bool:
        """Whether an earlier run has finished this stage."""
        return all((self.path / f"{name}.{end}").exists() for end in ("onnx", "json"))

    def stage(self, name: str, make: Callable[[Path], Made]) -> Made:
        """What `make` gives, or what an earlier run has left of it.

        Parameters
        ----------
        name : str
        make : callable
            Given the path of a checkpoint, which is deleted afterwards.

        Raises
        ------
        TrainingError
            If a file that is there is damaged.
        """
        path, told, checkpoint = (self.path / f"{name}.{end}" for end in ("onnx", "json", "checkpoint"))
        if self.done(name):
            hint = f"delete it, and {name} is done again"
            return read_model(path, hint), read_json(told, hint)
        earlier = self._begin(name, checkpoint)
        started = time.monotonic()
        model, said = make(checkpoint)
        said["seconds"] = round(earlier + time.monotonic() - started, 2)
        atomic.write(path, model.SerializeToString(deterministic=True))
        atomic.write(told, json.dumps(said).encode())  # last: its presence says that the stage is done
        checkpoint.unlink(missing_ok=True)
        self._begun(name).unlink(missing_ok=True)
        return model, said

    def _begin(self, name: str, checkpoint: Path) -> float:
        """Note that work on a stage begins now; how many seconds earlier runs have spent on it, up to its checkpoint."""
        file, earlier = self._begun(name), 0.0
        if file.exists() and checkpoint.exists():
            held = read_json(file, "delete it, and its time is not counted")
            earlier = float(held["earlier"]) + max(0.0, checkpoint.stat().st_mtime - float(held["began"]))
        atomic.write(file, json.dumps({"earlier": round(earlier, 2), "began": time.time()}).encode())
        return earlier

    def _begun(self, name: str) -> Path:
        return self.path / f"{name}.begun"


def _locked(path: Path) -> IO[str]:
    """The open lock of a folder. It is the file system's, and ends with the process, however that ends.

    Raises
    ------
    TrainingError
        If another run holds it.
    """
    file = open(path / LOCK, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "another process"
        file.close()
        raise TrainingError(f"{path} is in use by {who}: wait until it ends, or name another folder") from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def make(path: Path) -> None:
    """Make the folder `path`, if it is not there.

    Raises
    ------
    FileExistsError
        If it, or a folder above it, is a file.
    """
    above = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not above.is_dir():
        raise FileExistsError(f"{above} is a file: name a folder")
    path.mkdir(parents=True, exist_ok=True)


def read_json(path: Path, hint: str) -> dict:
    """The table in a file of ours; `hint` says what to do where it is damaged.

    Raises
    ------
    TrainingError
    """
    try:
        held = json.loads(path.read_bytes())
    except ValueError as error:
        raise TrainingError(f"{path} is damaged ({error}): {hint}") from None
    if not isinstance(held, dict):
        raise TrainingError(f"{path} is damaged (no table): {hint}")
    return held


def read_model(path: Path, hint: str) -> onnx.ModelProto:
    """The model in a file of ours; see `read_json`."""
    try:
        return self_contained(path)
    except ModelError as error:
        raise TrainingError(f"{path} is damaged ({error}): {hint}") from None


def key_of(model: onnx.ModelProto) -> str:
    """Stands for a model: with other weights it is another."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def identity_of(data: Parts) -> dict[str, str]:
    """The entries "data" and, where there are test images, "test" of an identity."""
    same = {"data": _digest(repr(data.normalize).encode(), data.train, data.valid)}
    return same if data.test is None else {**same, "test": _digest(b"", data.test)}


def _digest(start: bytes, *parts) -> str:
    digest = hashlib.sha256(start)
    for part in parts:
        digest.update(part.images.tobytes())
        digest.update(part.labels.tobytes())
    return digest.hexdigest()


def _difference(held, mine, path: str) -> str:
    """Where two recipes differ first, in words; empty if they do not."""
    if isinstance(held, dict) and isinstance(mine, dict):
        keys = [*mine, *(k for k in held if k not in mine)]
        return next((said for k in keys if (said := _difference(held.get(k), mine.get(k), f"{path}.{k}"))), "")
    return "" if held == mine else f"{path} was {held!r} and is {mine!r}"
