"""The folder of a run: whose run it is, and files of the stages that are done, so that a killed run can go on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import onnx

from ..errors import ModelError, TrainingError
from ..formats import atomic
from ..formats.onnx_model import self_contained
from .feed import Parts

Made = tuple[onnx.ModelProto, dict]  # a model, and what its stage says of itself
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
        If it holds the run of another network, recipe or data set, or its file of that is damaged.
    """

    def __init__(self, path: Path, identity: dict, *, resume: bool):
        self.path, self.resume = Path(path), resume
        file = self.path / "recipe.json"
        make(self.path)
        if not file.exists():
            if any(self.path.iterdir()):
                raise FileExistsError(f"{self.path} is a folder with other files: name a new or an empty one")
            atomic.write(file, json.dumps(identity, indent=1).encode())
        elif not resume:
            raise FileExistsError(f"{self.path} holds a run already: resume it, or name another folder")
        else:
            self._check(read_json(file, f"delete {self.path} to begin again"), json.loads(json.dumps(identity)))

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
        started = time.monotonic()
        model, said = make(checkpoint)
        said["seconds"] = round(time.monotonic() - started, 2)
        atomic.write(path, model.SerializeToString(deterministic=True))
        atomic.write(told, json.dumps(said).encode())  # last: its presence says that the stage is done
        checkpoint.unlink(missing_ok=True)
        return model, said


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
