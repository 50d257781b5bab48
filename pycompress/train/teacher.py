"""What a teacher says of images: by our engine from an ONNX file, or by a torch module; once, and kept in a file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..formats import atomic
from ..formats.onnx_model import self_contained
from ..session import InferenceSession

Model = nn.Module | onnx.ModelProto | str | os.PathLike


class Teacher:
    """A network that answers batches of images with logits.

    Parameters
    ----------
    model : torch.nn.Module, onnx.ModelProto or path
        A module is run by torch, without gradients and in evaluation mode; a model by our engine.

    Raises
    ------
    ValueError
        If a model has more than one input.

    Examples
    --------
    >>> import torch
    >>> teacher = Teacher(torch.nn.Flatten())
    >>> teacher(torch.zeros(2, 1, 1, 5)).shape
    torch.Size([2, 5])
    """

    def __init__(self, model: Model):
        self.session = None
        if isinstance(model, nn.Module):
            self.module = model
            return
        proto = model if isinstance(model, onnx.ModelProto) else self_contained(Path(model))
        proto = _any_batch(proto)
        self.session = InferenceSession(proto)
        names = [port.name for port in self.session.get_inputs()]
        if len(names) != 1:
            raise ValueError(f"a teacher has one input; this one has {', '.join(names)}")
        self.input, self._proto = names[0], proto

    def key(self) -> str:
        """Stands for the network: with other weights it is another."""
        if self.session is None:
            return _key_of_module(self.module)
        return hashlib.sha256(self._proto.SerializeToString(deterministic=True)).hexdigest()

    def __call__(self, x: Tensor) -> Tensor:
        """The logits float32[n, classes] of images float32[n, channels, height, width]."""
        if self.session is not None:
            answer = self.session.run(None, {self.input: np.ascontiguousarray(x.detach().numpy())})[0]
            return torch.from_numpy(np.asarray(answer, np.float32))
        was = self.module.training
        self.module.eval()
        try:
            with torch.no_grad():
                return self.module(x).float()
        finally:
            self.module.train(was)


def _any_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with an open batch, if it was written for one image."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {t.name for t in copy.graph.initializer}
    for port in (*copy.graph.input, *copy.graph.output):
        dims = port.type.tensor_type.shape.dim
        if port.name not in constants and dims and dims[0].dim_value == 1:
            dims[0].dim_param = "batch"
    return copy


def _key_of_module(module: nn.Module) -> str:
    digest = hashlib.sha256(repr(module).encode())
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def logits(
    teacher: Teacher,
    batches: Callable[[], Iterable[Tensor]],
    count: int,
    *,
    key: str,
    folder: str | os.PathLike | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """The teacher's logits of a set of images, from a file in `folder` if they were computed before.

    Parameters
    ----------
    teacher : Teacher
    batches : callable
        Gives the images in order, float32[n, channels, height, width] each; not called where the file is there.
    count : int
        How many images there are.
    key : str
        Stands for the images and what is done to them: other images, another key.
    folder : path, optional
        Where the file is; without it nothing is kept.
    progress : callable, optional
        Called with the images done and `count`.

    Returns
    -------
    Tensor
        float32[count, classes].

    Raises
    ------
    ValueError
        If an answer is not one vector of finite numbers per image.
    """
    name = hashlib.sha256(f"{teacher.key()} {key} {count}".encode()).hexdigest()[:24]
    path = None if folder is None else Path(folder) / f"logits-{name}.npy"
    if path is not None and (held := _read(path, count)) is not None:
        return held
    parts, done = [], 0
    for x in batches():
        said = teacher(x)
        if said.dim() != 2 or len(said) != len(x):
            raise ValueError(f"the teacher answers {len(x)} images with a tensor of shape {list(said.shape)}")
        if not said.isfinite().all():
            raise ValueError(f"the teacher's answers to images {done} to {done + len(x) - 1} are not finite")
        parts.append(said)
        done += len(x)
        if progress:
            progress(done, count)
    whole = torch.cat(parts)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.save(buffer, whole.numpy())
        atomic.write(path, buffer.getbuffer())
    return whole


def _read(path: Path, count: int) -> Tensor | None:
    """The logits in the file; None if there is none, or it is not what it should be: it is computed again."""
    try:
        held = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fine = held.ndim == 2 and len(held) == count and held.dtype == np.float32 and np.isfinite(held).all()
    return torch.from_numpy(held) if fine else None
