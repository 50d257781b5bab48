"""Data as the loop takes it, and how well a network answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from . import data as sets
from .data import Augment, Data, Normalize
from .loop import Batch
from .losses import UNLABELLED
from .teacher import Teacher


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a data set, and how bytes become inputs.

    Attributes
    ----------
    train : Data
    valid : Data
        For early stopping and for choosing among networks.
    test : Data or None
        For the figure that is reported.
    normalize : Normalize
    """

    train: Data
    valid: Data
    test: Data | None
    normalize: Normalize

    def __post_init__(self):
        sets.check_parts(self.train, self.valid, *([] if self.test is None else [self.test]))

    def samples(self, count: int, seed: int = 0) -> np.ndarray:
        """Training images to calibrate on, float32[count, channels, height, width]."""
        at = np.random.default_rng(seed).permutation(len(self.train))[:count]
        return self.normalize(self.train.images[at]).numpy()


class DataFeed:
    """Batches of images, in another order each epoch.

    Parameters
    ----------
    data : Data
    batch : int
    normalize : Normalize
    augment : Augment, optional
    seed : int
    repeat : int
        How many times an epoch goes through the images.
    labelled : bool[n], optional
        The images whose labels are known; the others get -1.

    Attributes
    ----------
    steps : int
        Of an epoch.
    """

    def __init__(
        self,
        data: Data,
        batch: int,
        normalize: Normalize,
        *,
        augment: Augment | None = None,
        seed: int = 0,
        repeat: int = 1,
        labelled: np.ndarray | None = None,
    ):
        if repeat < 1:
            raise ValueError(f"repeat: {repeat} is not at least 1")
        self.data, self.batch, self.normalize = data, batch, normalize
        self.augment, self.seed, self.repeat = augment, seed, repeat
        labels = data.labels if labelled is None else np.where(labelled, data.labels, UNLABELLED)
        self.labels = torch.from_numpy(labels)
        self.steps = max(len(data) // batch, 1) * repeat

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        for turn in range(epoch * self.repeat, (epoch + 1) * self.repeat):
            given = sets.batches(
                self.data, self.batch, normalize=self.normalize, augment=self.augment, seed=self.seed, epoch=turn
            )
            for x, _, at in given:
                yield Batch(at, x.contiguous(memory_format=torch.channels_last), self.labels[at])

    def in_order(self) -> Iterator[Tensor]:
        """All images once, as they are."""
        return (x for x, *_ in sets.batches(self.data, 256, normalize=self.normalize))

    def key(self) -> str:
        """Stands for `in_order`: other images or another normalization, another key."""
        digest = hashlib.sha256(repr((self.normalize, self.data.images.shape)).encode())
        digest.update(np.ascontiguousarray(self.data.images))
        return digest.hexdigest()


def some_labels(data: Data, count: int, seed: int = 0) -> np.ndarray:
    """A mask bool[n] of `count` images, each class in its share.

    Raises
    ------
    ValueError
        If there are fewer images.
    """
    if not 0 < count <= len(data):
        raise ValueError(f"labels: {count} is not between 1 and the {len(data)} training images")
    order = np.random.default_rng(seed).permutation(len(data))
    rank = np.zeros(len(data))  # of an image within its class, as a share
    for label in set(data.labels.tolist()):
        at = order[data.labels[order] == label]
        rank[at] = (np.arange(len(at)) + 0.5) / len(at)
    mask = np.zeros(len(data), bool)
    mask[np.argsort(rank, kind="stable")[:count]] = True
    return mask


def accuracy(model: nn.Module | onnx.ModelProto, data: Data, normalize: Normalize, batch: int = 500) -> float:
    """The share of `data` whose largest logit is the label's; a module runs in torch, an ONNX model in our engine.

    Raises
    ------
    ValueError
        If the network has another number of outputs than there are classes.
    """
    teacher, hits = Teacher(model), 0
    for x, labels, _ in sets.batches(data, batch, normalize=normalize):
        logits = teacher(x)
        if logits.dim() != 2 or logits.shape[1] != len(data.classes):
            raise ValueError(
                f"the network answers with {list(logits.shape[1:])} numbers, and there are {len(data.classes)} classes"
            )
        hits += int((logits.argmax(1) == labels).sum())
    return hits / len(data)
