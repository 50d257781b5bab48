"""Makes more samples of a few images: mirrored, enlarged, in other colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .spool import Spool

ENOUGH = 128  # samples, given and made; with as many given ones none is made
CHANNELS = (1, 3)  # of images
SMALLEST = 8  # pixels of an image's side
CROP = 0.5  # of the sides: the smallest part that is enlarged
CONTRAST, BRIGHTNESS, TINT = 0.4, 0.15, 0.12  # how far they change: a factor, and shares of the range of values


@dataclass(frozen=True, eq=False)
class Augmented:
    """Samples, followed by changed copies of them; every iteration gives the same.

    Attributes
    ----------
    samples : the given ones
    low, high : the extremes of their values, within which copies stay
    """

    samples: Spool
    low: float
    high: float

    @classmethod
    def of(cls, samples: Spool) -> Augmented | Spool:
        """`samples` augmented to `ENOUGH`, if they are images; else themselves."""
        if not len(samples) or len(samples) >= ENOUGH or not is_image(samples[0]):
            return samples
        extremes = [(float(x.min()), float(x.max())) for sample in samples for x in sample.values()]
        return cls(samples, min(low for low, _ in extremes), max(high for _, high in extremes))

    def __len__(self) -> int:
        return ENOUGH

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        sample = self.samples[index % len(self.samples)]
        if index < len(self.samples):
            return sample
        rng = np.random.default_rng(index)
        return {name: changed(x, rng, self.low, self.high) for name, x in sample.items()}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return (self[i] for i in range(len(self)))


def is_image(sample: Mapping[str, np.ndarray]) -> bool:
    """Whether a sample is float images [batch, channels, height, width] and nothing else."""
    return len(sample) == 1 and all(
        x.dtype == np.float32 and x.ndim == 4 and x.shape[1] in CHANNELS and min(x.shape[2:]) >= SMALLEST
        for x in sample.values()
    )


def changed(x: np.ndarray, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Images `x` [batch, channels, height, width]: a part of them enlarged, perhaps mirrored, in other colours.

    The values stay within [low, high].
    """
    height, width = x.shape[2:]
    scale = rng.uniform(CROP, 1)
    h, w = round(height * scale), round(width * scale)
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    x = x[:, :, top : top + h, left : left + w]
    x = _stretched(_stretched(x, height, 2), width, 3)
    if rng.integers(2):
        x = x[..., ::-1]
    reach = high - low
    mean = x.mean((2, 3), keepdims=True)
    light = rng.uniform(-BRIGHTNESS, BRIGHTNESS) * reach
    tint = rng.uniform(-TINT, TINT, (1, x.shape[1], 1, 1)) * reach
    x = (x - mean) * rng.uniform(1 - CONTRAST, 1 + CONTRAST) + mean + light + tint
    return np.ascontiguousarray(np.clip(x, low, high), np.float32)


def _stretched(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """`x` with `size` elements along `axis`, interpolated linearly."""
    n = x.shape[axis]
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    first = np.minimum(at.astype(int), max(n - 2, 0))
    share = (at - first).astype(np.float32).reshape(-1, *[1] * (x.ndim - 1 - axis))
    return x.take(first, axis) * (1 - share) + x.take(np.minimum(first + 1, n - 1), axis) * share
