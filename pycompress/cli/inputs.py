"""Inputs of a run: .npy, .npz, images, or random numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from . import images

HELP = ".npy file, .npz file of one array per input, or an image; NAME=FILE if there are several inputs"

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


def add_options(parser) -> None:
    """``--input`` with the options of images, and ``--seed``."""
    parser.add_argument("--input", action="append", metavar="FILE", help=f"{HELP}; default: random")
    images.add_options(parser)
    add_seed(parser)


def add_seed(parser) -> None:
    """``--seed``."""
    parser.add_argument("--seed", type=seed, metavar="N", help="of the random inputs; default 0")


def seed(text: str) -> int:
    """argparse type of an integer that is not negative."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 0")
    return int(text)


def feeds(source, shapes: dict, args, warn) -> list[dict[str, np.ndarray]]:
    """The feed that --input gives; without it, random feeds, as many as --samples says (default 1).

    Raises
    ------
    ValueError
        If an option of random inputs is combined with --input, or one of images with no image; or as `read_feed`.
    """
    if not args.input:
        check_images(vars(args), [], {})
        ports, seed = source.ports(shapes), args.seed or 0
        return [random_feed(ports, seed + i) for i in range(getattr(args, "samples", None) or 1)]
    for name in ("seed", "samples"):
        if getattr(args, name, None) is not None:
            raise ValueError(f"--{name} is for random inputs: leave out --{name} or --input")
    ports = source.ports(shapes, partly=True)
    check_images(vars(args), args.input, ports)
    return [read_feed(args.input, ports, images.fit(vars(args), warn), shapes)]


def check_images(options: dict, words: list[str], ports: Ports) -> None:
    """Refuse image options if no input is an image."""
    if images.given(options) and not any(is_image(word, ports) for word in words):
        raise ValueError(f"--{images.given(options)[0]} is for images, and there is none among the inputs")


def is_image(word: str, ports: Ports) -> bool:
    """Whether an argument names an image file."""
    name, equals, rest = word.partition("=")
    return Path(rest if equals and name in ports else word).suffix.lower() in images.IMAGES


def read_feed(
    texts: list[str], ports: Ports, how: images.Fit = images.PLAIN, given: dict | None = None
) -> dict[str, np.ndarray]:
    """The inputs in the files `texts`; `given`: the shapes that --shape says they have.

    Raises
    ------
    ValueError
        If a file does not hold the model's inputs.
    """
    feed: dict[str, np.ndarray] = {}
    for text in texts:
        name, path = _named(text, ports)
        if path.suffix == ".npz":
            arrays = read_npz(path)
            if twice := set(arrays) & set(feed):
                raise ValueError(f"{text}: input {min(twice)!r} is given twice")
            feed |= arrays
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
    for name, shape in (given or {}).items():
        if (x := feed[name or next(iter(ports))]).shape != shape:
            raise ValueError(f"--shape says {list(shape)}, and the input has shape {list(x.shape)}")
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
    """The center of an image as uint8 [height, width, 3]: the share `margin` of the largest part of these proportions."""
    return images.read(path, height, width, 3, images.Fit(crop=margin))
