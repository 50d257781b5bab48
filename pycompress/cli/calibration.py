"""Calibration data that the command line names, read sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import images, inputs

HELP = (
    "inputs to calibrate on: .npz (an array per input) or .npy, whose first axis is the sample; an image; "
    "a folder of such files; `photos`, crops of the photos in scikit-image and scikit-learn; may be repeated; or `data-free`, for "
    "--quantize alone: the statistics that BatchNormalization has recorded"
)


Data = str | list[str]  # one name, or several


def named(data) -> list[str]:
    """The names in `data`; none if it is something else."""
    names = [data] if isinstance(data, str) else data
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def samples(
    data: Data, ports: inputs.Ports, count: int, how: images.Fit = images.PLAIN
) -> Iterator[dict[str, np.ndarray]]:
    """At most `count` feeds, each of one sample.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If nothing in it fits the model's inputs.
    """
    given = 0
    for text in named(data):
        before = given
        for feed in _of(text, ports, count - given, how):
            yield feed
            given += 1
            if given == count:
                return
        if given == before:
            raise ValueError(f"{text}: no .npz, .npy or image to calibrate on")


def _of(text: str, ports: inputs.Ports, count: int, how: images.Fit) -> Iterator[dict[str, np.ndarray]]:
    """The feeds of the data called `text`."""
    path = Path(text)
    if text == "photos" and not path.exists():
        return _crops(count, ports, how)
    if path.is_dir():
        return _folder(path, ports, how)
    if not path.is_file():
        raise FileNotFoundError(f"no such calibration data: {text}")
    return iter([_image(path, ports, how)]) if _is_image(path) else _file(path, ports)


def image_options(data: Data) -> set[str]:
    """Which options of images have an effect on `data`."""
    found: set[str] = set()
    for text in named(data):
        path = Path(text)
        if text == "photos" and not path.exists():
            found |= {"mean", "std", "scale", "layout"}
        elif _is_image(path) or path.is_dir() and any(images.files(path)):
            found |= set(images.OPTIONS)
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.IMAGES


def _folder(path: Path, ports, how) -> Iterator[dict[str, np.ndarray]]:
    for file in sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy")):
        yield from _file(file, ports)
    for file in images.files(path):
        yield _image(file, ports, how)


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
    for name, x in arrays.items():
        _check_type(path, name, x, ports[name][0])
    counts = {name: len(x) if x.ndim else 0 for name, x in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"{path}: the arrays hold different numbers of samples: {counts}")
    for i in range(min(counts.values())):
        yield {name: x[i : i + 1].astype(ports[name][0], copy=False) for name, x in arrays.items()}


def _check_type(path: Path, name: str, x: np.ndarray, dtype: np.dtype) -> None:
    """Refuse arrays that cannot be converted to the input's type, such as floats for an integer input."""
    if not np.can_cast(x.dtype, dtype, "same_kind"):
        raise ValueError(f"{path}: input {name!r} is {dtype.name}, the array {x.dtype.name}")


def _image(file: Path, ports, how: images.Fit) -> dict[str, np.ndarray]:
    if len(ports) != 1:
        raise ValueError(f"{file}: images fit a model with one input, and this has {', '.join(ports)}")
    ((name, (dtype, shape)),) = ports.items()
    return {name: images.as_input(file, name, dtype, shape, how)}


def _crops(count: int, ports, how: images.Fit) -> Iterator[dict[str, np.ndarray]]:
    from ..zoo import photos

    if len(ports) != 1:
        raise ValueError(f"photos fit a model with one input, and this has {', '.join(ports)}")
    ((name, (dtype, shape)),) = ports.items()
    height, width, channels, layout = images.image_port(name, dtype, shape, how.layout)
    if height != width or channels != 3 or dtype != np.float32:
        raise ValueError(
            f"the photos' crops are square, of 3 channels, for float32; the model wants {dtype.name}{list(shape)}"
        )
    if how.mean is None or how.std is None:
        raise ValueError(
            "images need --mean and --std: the model receives (image - mean) / std, with pixels from 0 to 255"
        )
    for crop in photos.crops(photos.CALIBRATION, count, size=height):
        x = (crop.astype(np.float32) - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
        yield {name: np.ascontiguousarray(x[None] if layout == "nhwc" else x.transpose(2, 0, 1)[None])}
