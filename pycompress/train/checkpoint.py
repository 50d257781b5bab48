"""The files of a run: written whole or not at all, read without running code, refused where they belong to another run."""

from __future__ import annotations

import io
import os
from pathlib import Path

import torch
from torch import nn

from ..errors import TrainingError
from ..formats import atomic

MASKS = "masks."  # the names of masks begin so; they come and go while a network is pruned


def shapes(model: nn.Module) -> dict[str, list]:
    """Type and sizes of everything that the network holds, by name, without its masks."""
    held = {name: v for name, v in model.state_dict().items() if not name.startswith(MASKS)}
    return {name: [str(v.dtype).removeprefix("torch."), list(v.shape)] for name, v in held.items()}


def write(path: str | os.PathLike, state: dict) -> None:
    """Write `state` to `path`; a kill at any moment leaves the file that was there, or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic.write(path, buffer.getbuffer())


def read(path: str | os.PathLike, run: dict, parts: int) -> dict:
    """The state in `path`, if it belongs to `run`.

    Raises
    ------
    TrainingError
        If the file is damaged, or was written by a run of another network, with other options or other data.
    """
    data = Path(path).read_bytes()
    try:
        state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
        held = state["run"]
        network, training = held["network"], held["training"]
    except Exception as error:  # whatever unpickling a damaged file raises
        said = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{path}: not a checkpoint of ours, or damaged: {said}; delete it to begin this stage again"
        ) from None
    check_network(path, network, run["network"])
    for name, value in run["training"].items():
        if training.get(name) != value:
            raise TrainingError(
                f"{path}: the checkpoint was made with {name} {training.get(name)!r}, now it is {value!r}: "
                "restore the option, or start in another folder"
            )
    if held["steps"] != run["steps"]:
        raise TrainingError(
            f"{path}: the checkpoint's epochs have {held['steps']} steps, now they have {run['steps']}: other data?"
        )
    if len(state["parts"]) != parts:
        raise TrainingError(f"{path}: the checkpoint is of another recipe: {len(state['parts'])} parts, now {parts}")
    return state


def check_network(path, held: dict, ours: dict) -> None:
    """Refuse a checkpoint of another network, naming the first tensor that differs."""
    for name in [*ours, *held]:
        if held.get(name) != ours.get(name):
            there, here = (_said(x.get(name)) for x in (held, ours))
            raise TrainingError(f"{path}: a checkpoint of another network: {name} is {there} there and {here} here")


def _said(entry) -> str:
    return "missing" if entry is None else f"{entry[0]}{list(entry[1])}"
