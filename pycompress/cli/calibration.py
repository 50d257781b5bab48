"""Calibration data as the command line names it, streamed sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import inputs

HELP = (
    "inputs to calibrate on: .npz (an array per input) or .npy, whose first axis is the sample; "
    "a folder of such files or of images; or `photos`, crops of the photos in scikit-image and scikit-learn"
)


def samples(text: str, ports: inputs.Ports, count: int, mean=None, std=None) -> Iterator[dict[str, np.ndarray]]:
    """At most `count` feeds, each of one sample.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If it holds nothing that fits the model's inputs.
    """
    path = Path(text)
    if text == "photos" and not path.exists():
        found = _images(_crops(count, ports), ports, mean, std)
    elif path.is_dir():
        found = _folder(path, ports, mean, std)
    elif path.is_file():
        found = _file(path, ports)
    else:
        raise FileNotFoundError(f"no such calibration data: {text}")
    given = 0
    for feed in found:
        yield feed
        given += 1
        if given == count:
            break
    if not given:
        raise ValueError(f"{text}: no .npz, .npy or image to calibrate on")


def _folder(path: Path, ports, mean, std) -> Iterator[dict[str, np.ndarray]]:
    for file in sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")):
        yield from _file(file, ports)
    if (files := list(inputs.image_files(path))) and len(ports) == 1:
        height, width = _image_size(ports)
        yield from _images((inputs.read_image(file, height, width) for file in files), ports, mean, std)


def _file(path: Path, ports) -> Iterator[dict[str, np.ndarray]]:
    if path.suffix == ".npz":
        arrays = inputs.read_npz(path)
    elif path.suffix == ".npy" and len(ports) == 1:
        arrays = {next(iter(ports)): inputs.read_npy(path)}
    else:
        raise ValueError(f"{path}: the inputs are {', '.join(ports)}; give an .npz file with an array for each")
    if missing := set(ports) - set(arrays):
        raise ValueError(f"{path}: no array for input {min(missing)!r}")
    arrays = {name: arrays[name] for name in ports}
    counts = {name: len(x) if x.ndim else 0 for name, x in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"{path}: the arrays hold different numbers of samples: {counts}")
    for i in range(min(counts.values())):
        yield {name: x[i : i + 1].astype(ports[name][0], copy=False) for name, x in arrays.items()}


def _image_size(ports) -> tuple[int, int]:
    (name, (dtype, shape)) = next(iter(ports.items()))
    if len(ports) != 1 or len(shape) != 4 or shape[1] != 3 or dtype != np.float32:
        raise ValueError(f"images fit a model with one float32[n, 3, height, width] input, not {dict(ports)}")
    return shape[2], shape[3]


def _crops(count: int, ports) -> Iterator[np.ndarray]:
    from ..zoo import photos

    height, width = _image_size(ports)
    if height != width:
        raise ValueError(f"the photos' crops are square; the model wants {height}x{width}")
    yield from photos.crops(photos.CALIBRATION, count, size=height)


def _images(images, ports, mean, std) -> Iterator[dict[str, np.ndarray]]:
    name = next(iter(ports))
    if mean is None or std is None:
        raise ValueError("images need --mean and --std: the model sees (image - mean) / std, of 0..255")
    mean, std = (np.asarray(v, np.float32) for v in (mean, std))
    for image in images:
        x = (image.astype(np.float32) - mean) / std
        yield {name: np.ascontiguousarray(x.transpose(2, 0, 1)[None])}
