"""Inputs of a run: .npy, .npz, images, or random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import images

HELP = ".npy file, .npz file of one array per input, or an image; NAME=FILE for one input of several"

Ports = dict[str, tuple[np.dtype, tuple[int, ...]]]


def random_feed(ports: Ports, seed: int) -> dict[str, np.ndarray]:
    """Reproducible inputs: Gaussian floats, bytes of any value, other integers 0 or 1."""
    rng = np.random.default_rng(seed)
    feed = {}
    for name, (dtype, shape) in ports.items():
        if dtype.kind == "f":
            feed[name] = rng.standard_normal(shape, np.float32).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            info = np.iinfo(dtype)
            feed[name] = rng.integers(info.min, info.max + 1, shape, dtype)
        else:
            feed[name] = rng.integers(0, 2, shape).astype(dtype)
    return feed


def read_feed(texts: list[str], ports: Ports, how: images.Fit = images.PLAIN) -> dict[str, np.ndarray]:
    """The inputs that the files `texts` hold.

    Raises
    ------
    ValueError
        If a file holds something else than the model's inputs.
    """
    feed: dict[str, np.ndarray] = {}
    for text in texts:
        name, path = _named(text, ports)
        if path.suffix == ".npz":
            feed |= read_npz(path)
            continue
        if not name:
            left = [n for n in ports if n not in feed]
            if len(left) != 1 and len(texts) != len(ports):
                raise ValueError(f"{text}: the inputs are {', '.join(ports)}; write NAME=FILE")
            name = left[0]
        if name in feed:
            raise ValueError(f"{text}: input {name!r} is given twice")
        dtype, shape = ports[name]
        feed[name] = read_npy(path) if path.suffix == ".npy" else images.as_input(path, name, dtype, shape, how)
    if missing := [n for n in ports if n not in feed]:
        raise ValueError(f"input {missing[0]!r} is missing; the inputs are {', '.join(ports)}")
    return feed


def _named(text: str, ports: Ports) -> tuple[str, Path]:
    name, equals, rest = text.partition("=")
    name, path = (name, Path(rest)) if equals and name in ports else ("", Path(text))
    if not path.is_file():
        raise FileNotFoundError(f"no such input: {path}")
    return name, path


def read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a .npy file of numbers: {error}") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an .npz file of numbers: {error}") from None


def read_image(path: Path, height: int, width: int, margin: float = 0.875) -> np.ndarray:
    """The middle of an image as uint8 [height, width, 3]: `margin` of the largest part of that shape."""
    return images.read(path, height, width, 3, images.Fit(crop=margin))
