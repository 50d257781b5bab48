"""Readers of labelled images: IDX files, folders of pictures, scikit-learn's digits."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

IDX = {"train": "train", "test": "t10k"}  # how IDX files of a part begin
FOLDERS = {"train": ("train",), "test": ("test", "val")}
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
Read = tuple[np.ndarray, np.ndarray, tuple[str, ...]]  # images uint8[n,h,w,c], labels int64[n], names of the classes


def digits(part: str, size: int | None) -> Read:
    """scikit-learn's digits."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError("digits come with scikit-learn: pip install scikit-learn") from None
    images, labels = load_digits(return_X_y=True)
    at = slice(None, 1437) if part == "train" else slice(1437, None)
    images = np.rint(images[at].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return _bordered(images, size), labels[at].astype(np.int64), tuple("0123456789")


def idx_folder(folder: Path, part: str, size: int | None) -> Read:
    """The IDX files of one part in `folder`."""
    images, labels = (_idx(folder, f"{IDX[part]}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise ValueError(f"{folder}: {IDX[part]}: images {images.shape} and labels {labels.shape} do not fit together")
    names = tuple(str(i) for i in range(int(labels.max(initial=0)) + 1))
    return _bordered(images[..., None], size), labels.astype(np.int64), names


def _idx(folder: Path, name: str) -> np.ndarray:
    """The array of the IDX file called `name`, or `name`.gz, in `folder`."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{folder}: no {name} or {name}.gz")
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: {error}") from None
    rank = raw[3] if len(raw) > 3 else 0
    if raw[:3] != b"\0\0\x08" or not rank or len(raw) < 4 + 4 * rank:
        raise ValueError(f"{path}: not an IDX file of bytes")
    shape = struct.unpack(f">{rank}I", raw[4 : 4 + 4 * rank])
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if len(values) != np.prod(shape, dtype=object):
        raise ValueError(f"{path}: {len(values)} bytes for an array of shape {shape}: the file is cut off")
    return values.reshape(shape)


def _bordered(images: np.ndarray, size: int | None) -> np.ndarray:
    """`images` with a black border up to `size`."""
    high, wide = images.shape[1:3]
    if size is None or (high, wide) == (size, size):
        return images
    if max(high, wide) > size:
        return np.stack([_fitted(_picture(x), size, x.shape[2]) for x in images])
    top, left = (size - high) // 2, (size - wide) // 2
    return np.pad(images, ((0, 0), (top, size - high - top), (left, size - wide - left), (0, 0)))


def pictures(folder: Path, part: str, size: int | None) -> Read:
    """The pictures in the folders of classes below `folder`."""
    below = [folder / name for name in FOLDERS[part] if (folder / name).is_dir()]
    parts = any((folder / name).is_dir() for names in FOLDERS.values() for name in names)
    if not below and (parts or part == "test"):
        raise FileNotFoundError(f"{folder}: no subfolder {' or '.join(FOLDERS[part])}")
    root = below[0] if below else folder
    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    images, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(p for p in (root / name).rglob("*") if p.suffix.lower() in PICTURES)
        if not files:
            raise ValueError(f"{root / name}: no pictures of this class ({', '.join(PICTURES)})")
        for path in files:
            images.append(_read(path, size))
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    f"{path}: {images[-1].shape[:2]} pixels, others have {images[0].shape[:2]}; give a size"
                )
        labels += [label] * len(files)
    if not images:
        raise ValueError(f"{root}: neither IDX files nor a subfolder of pictures for each class")
    return np.stack(images), np.array(labels, np.int64), classes


def _read(path: Path, size: int | None) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a picture: {error}") from error
    return np.asarray(picture) if size is None else _fitted(picture, size, 3)


def _picture(x: np.ndarray):
    from PIL import Image

    return Image.fromarray(x[..., 0] if x.shape[2] == 1 else x)


def _fitted(picture, size: int, channels: int) -> np.ndarray:
    """The middle square of `picture`, scaled to `size`: uint8[size,size,channels]."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)
