"""Labelled images: IDX files, a folder per class, scikit-learn's digits; splits, batches and augmentation.

Nothing is fetched: a path names what is here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .readers import IDX, digits, idx_folder, pictures


@dataclass(frozen=True, eq=False)
class Data:
    """Labelled images.

    Attributes
    ----------
    images : uint8[n,h,w,c]
    labels : int64[n], positions in `classes`
    classes : names

    Raises
    ------
    ValueError
        If shapes, types or labels do not fit together.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self):
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 [n,h,w,c], got {self.images.dtype} {self.images.shape}")
        if 0 in self.images.shape[1:]:
            raise ValueError(f"images have no pixels: {self.images.shape}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 [{len(self.images)}], got {self.labels.dtype} {self.labels.shape}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"labels must be 0 to {len(self.classes) - 1}, got {self.labels.min()} to {self.labels.max()}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at) -> Data:
        """The images at `at`, an index array, a mask or a slice."""
        return Data(self.images[at], self.labels[at], self.classes)


def load(path: str | os.PathLike, part: str = "train", *, size: int | None = None) -> Data:
    """The images at `path`.

    Parameters
    ----------
    path : path or "digits"
        A folder with IDX files (train-images-idx3-ubyte and so on, as MNIST and Fashion-MNIST have them, also gzipped);
        or one with a subfolder of pictures per class, or with subfolders "train" and "test" (or "val") that have those.
        "digits" are scikit-learn's 1,797 digits of 8x8; the last 360 are their test part.
    part : {"train", "test"}
        A folder that has classes right in it is a "train" part.
    size : int, optional
        Height and width. Smaller IDX images get a black border, all others are cut to a square and scaled. Needed for
        folders whose pictures differ in size.

    Returns
    -------
    Data

    Raises
    ------
    FileNotFoundError
        If there is nothing at `path`, or it has no such part.
    ValueError
        If a file is damaged, sizes differ, or there is only one class.

    Examples
    --------
    >>> from pycompress.train import data
    >>> digits = data.load("digits")
    >>> digits.images.shape, len(digits.classes)
    ((1437, 8, 8, 1), 10)
    """
    if part not in IDX:
        raise ValueError(f"part must be train or test, got {part!r}")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ValueError(f"size must be a positive integer, got {size!r}")
    if path == "digits":
        found = Data(*digits(part, size))
    else:
        folder = Path(path)
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder of images: {folder}")
        read = idx_folder if any(folder.glob("*-idx3-ubyte*")) else pictures
        found = Data(*read(folder, part, size))
    if len(set(found.labels.tolist())) < 2:
        raise ValueError(f"{path}: a data set needs images of at least two classes, this one has {_named(found)}")
    return found


def check_parts(train: Data, *others: Data) -> None:
    """Refuse parts of a data set that do not fit together.

    Parameters
    ----------
    train, *others : Data
        They need the same classes in the same order, and the same image size.

    Raises
    ------
    ValueError
        If they differ, or `train` has images of one class only; the message names the classes.

    Examples
    --------
    >>> from pycompress.train import data
    >>> data.check_parts(data.load("digits"), data.load("digits", "test"))
    """
    if len(set(train.labels.tolist())) < 2:
        raise ValueError(f"a data set needs images of at least two classes, this one has {_named(train)}")
    for other in others:
        if other.classes != train.classes:
            extra = sorted(set(other.classes) - set(train.classes))
            lacking = sorted(set(train.classes) - set(other.classes))
            said = [
                f"{what} {', '.join(map(repr, names[:5]))}"
                for what, names in (("only the test part has", extra), ("it lacks", lacking))
                if names
            ]
            raise ValueError(
                f"the classes differ between the training and the test part: {'; '.join(said) or 'their order'}"
            )
        if other.images.shape[1:] != train.images.shape[1:]:
            raise ValueError(
                f"images of the training part are {train.images.shape[1:]}, of the test part {other.images.shape[1:]}"
            )


def split(data: Data, count: int, seed: int = 0) -> tuple[Data, Data]:
    """Take `count` images out of `data`, each class in its share.

    Parameters
    ----------
    data : Data
    count : int
    seed : int
        Of the choice; the same seed chooses the same images.

    Returns
    -------
    (rest, taken) : two Data, in the order of `data`

    Raises
    ------
    ValueError
        If `count` is not between 1 and the number of images less one.

    Examples
    --------
    >>> from pycompress.train import data
    >>> rest, held = data.split(data.load("digits"), 200)
    >>> len(rest), len(held)
    (1237, 200)
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or not 0 < count < len(data):
        raise ValueError(f"count must be between 1 and {len(data) - 1}, got {count!r}")
    order = np.random.default_rng(seed).permutation(len(data))
    labels = data.labels[order]
    rank = np.zeros(len(data))  # of an image within its class, as a share: the smallest ones of all classes are taken
    for label in set(labels.tolist()):
        at = np.flatnonzero(labels == label)
        rank[at] = (np.arange(len(at)) + 0.5) / len(at)
    taken = np.argsort(rank, kind="stable")[:count]
    mask = np.zeros(len(data), bool)
    mask[order[taken]] = True
    return data[~mask], data[mask]


# augmentation and batches


@dataclass(frozen=True)
class Normalize:
    """How bytes become a network's input: (x / 255 - mean) / std.

    Attributes
    ----------
    mean, std : one number per channel, or one for all
    channels : of the network's input; grey images are repeated
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    channels: int = 3

    @staticmethod
    def of(data: Data, channels: int = 3) -> Normalize:
        """With the mean and standard deviation of `data`."""
        x = data.images.reshape(-1, data.images.shape[3])
        counts = [np.bincount(x[:, c], minlength=256) / len(x) for c in range(x.shape[1])]
        levels = np.arange(256) / 255
        mean = [float(n @ levels) for n in counts]
        std = [max(float(n @ levels**2 - m * m) ** 0.5, 1e-3) for n, m in zip(counts, mean)]
        return Normalize(tuple(mean), tuple(std), channels)

    def __call__(self, images: np.ndarray) -> Tensor:
        """Images uint8[n,h,w,c] as float32[n,channels,h,w].

        Raises
        ------
        ValueError
            If the images have neither one channel nor `channels`.
        """
        if images.shape[3] not in (1, self.channels):
            raise ValueError(f"images have {images.shape[3]} channels, the network takes {self.channels}")
        mean, std = (np.asarray(v, np.float32) for v in (self.mean, self.std))
        x = (images.astype(np.float32) / 255 - mean) / std
        x = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        return x.repeat(1, self.channels // x.shape[1], 1, 1) if x.shape[1] < self.channels else x


@dataclass(frozen=True)
class Augment:
    """Random changes of training images.

    Attributes
    ----------
    shift : by how many pixels at most, in each direction; what comes in is black
    flip : whether half of the images are mirrored
    erase : the side of a square that is set to black, as a share of the image's (0: none); half of it may be outside
    """

    shift: int = 0
    flip: bool = False
    erase: float = 0.0

    def __post_init__(self):
        if isinstance(self.shift, bool) or not isinstance(self.shift, int) or self.shift < 0:
            raise ValueError(f"shift must be a whole number of pixels, got {self.shift!r}")
        if not 0 <= self.erase < 1:
            raise ValueError(f"erase must be in [0, 1), got {self.erase!r}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changed images uint8[n,h,w,c]."""
        n, h, w, _ = images.shape
        if self.shift:
            padded = np.pad(images, ((0, 0), (self.shift,) * 2, (self.shift,) * 2, (0, 0)))
            down, right = rng.integers(0, 2 * self.shift + 1, (2, n, 1))
            rows, columns = np.arange(h) + down, np.arange(w) + right
            images = padded[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        if self.flip:
            mirrored = rng.random(n) < 0.5
            images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
        if side := round(self.erase * min(h, w)):
            top, left = rng.integers(0, h, (n, 1)) - side // 2, rng.integers(0, w, (n, 1)) - side // 2
            rows = (np.arange(h) >= top) & (np.arange(h) < top + side)
            columns = (np.arange(w) >= left) & (np.arange(w) < left + side)
            images = np.where((rows[:, :, None] & columns[:, None, :])[..., None], np.uint8(0), images)
        return images


def batches(
    data: Data,
    size: int,
    *,
    normalize: Normalize | None = None,
    augment: Augment | None = None,
    seed: int = 0,
    epoch: int | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of `data`, for training or, without `epoch`, for evaluation.

    Parameters
    ----------
    data : Data
    size : int
        Images of a batch.
    normalize : Normalize, optional
    augment : Augment, optional
        Used only with `epoch`.
    seed, epoch : int
        With `epoch` batches come in the random order that this epoch of this seed has, without a smaller last batch if
        there are others; the same numbers give the same batches. Without it all images come in order.

    Yields
    ------
    (images, labels, at) : float32[b,c,h,w], int64[b], positions in `data` int64[b]

    Raises
    ------
    ValueError
        If `size` is not positive, or there are no images.

    Examples
    --------
    >>> from pycompress.train import data
    >>> x, labels, at = next(data.batches(data.load("digits"), 32, epoch=0))
    >>> x.shape
    torch.Size([32, 3, 8, 8])
    """
    if size < 1 or not len(data):
        raise ValueError(f"batches need a positive size and images, got {size} and {len(data)}")
    normalize = normalize or Normalize()
    if epoch is None:
        order, end = np.arange(len(data)), len(data)
    else:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(data))
        end = len(data) // size * size or len(data)
    for start in range(0, end, size):
        at = order[start : start + size]
        images = data.images[at]
        if epoch is not None and augment is not None:
            images = augment(images, rng)
        yield normalize(images), torch.from_numpy(data.labels[at]), torch.from_numpy(at)


def _named(data: Data) -> str:
    present = sorted({data.classes[i] for i in data.labels.tolist()})
    return f"only {present[0]!r}" if present else "none"
