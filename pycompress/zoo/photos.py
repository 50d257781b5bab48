"""Photos that come with scikit-image and scikit-learn: calibration and evaluation without a data set.

The two lists share no photo, so that a network is never judged on what it was calibrated with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np

# name: distribution, file within it; none of these is fetched from the network
FILES = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png"),
    "brick": ("scikit-image", "skimage/data/brick.png"),
    "camera": ("scikit-image", "skimage/data/camera.png"),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png"),
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg"),
    "coffee": ("scikit-image", "skimage/data/coffee.png"),
    "coins": ("scikit-image", "skimage/data/coins.png"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg"),
    "grass": ("scikit-image", "skimage/data/grass.png"),
    "gravel": ("scikit-image", "skimage/data/gravel.png"),
    "hubble": ("scikit-image", "skimage/data/hubble_deep_field.jpg"),
    "ihc": ("scikit-image", "skimage/data/ihc.png"),
    "moon": ("scikit-image", "skimage/data/moon.png"),
    "motorcycle": ("scikit-image", "skimage/data/motorcycle_left.png"),
    "retina": ("scikit-image", "skimage/data/retina.jpg"),
    "rocket": ("scikit-image", "skimage/data/rocket.jpg"),
}
CALIBRATION = ("astronaut", "camera", "coins", "flower", "grass", "hubble", "ihc", "rocket")
EVALUATION = ("brick", "chelsea", "china", "coffee", "gravel", "moon", "motorcycle", "retina")


@cache
def _read(name: str) -> np.ndarray:
    from PIL import Image

    if name not in FILES:
        raise ValueError(f"no photo {name!r}; there are {', '.join(FILES)}")
    package, wanted = FILES[name]
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        raise ModuleNotFoundError(f"photo {name!r} comes with the package {package}: pip install {package}") from None
    found = [Path(f.locate()) for f in listed if f.as_posix() == wanted]
    if not found or not found[0].is_file():
        raise ModuleNotFoundError(f"photo {name!r}: package {package} is installed, but {wanted} is missing")
    with Image.open(found[0]) as image:
        pixels = np.asarray(image.convert("RGB"))
    pixels.flags.writeable = False
    return pixels


def photo(name: str) -> np.ndarray:
    """The photo called `name`, uint8 [height, width, 3]; grey ones have three equal channels."""
    return _read(name).copy()


def center(image: np.ndarray, size: int = 224, margin: float = 0.875) -> np.ndarray:
    """The middle square of a uint8 [h, w, 3] image, `margin` of its shorter side, as [size, size, 3]."""
    h, w = image.shape[:2]
    side = round(margin * min(h, w))
    top, left = (h - side) // 2, (w - side) // 2
    return _resized(image[top : top + side, left : left + side], size)


def crops(names: Iterable[str], count: int, seed: int = 0, size: int = 224) -> Iterator[np.ndarray]:
    """`count` random crops of the photos called `names`, taken in turn, uint8 [size, size, 3].

    A crop is a square of 35 to 100 % of the photo's shorter side anywhere in it, mirrored half of
    the time. The same arguments give the same crops.
    """
    names = list(names)
    rng = np.random.default_rng(seed)
    for i in range(count):
        image = _read(names[i % len(names)])
        h, w = image.shape[:2]
        side = int(min(h, w) * rng.uniform(0.35, 1))
        top, left = rng.integers(h - side + 1), rng.integers(w - side + 1)
        crop = image[top : top + side, left : left + side]
        yield _resized(crop[:, ::-1] if rng.integers(2) else crop, size)


def preprocess(images: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] or [n, h, w, 3] as EfficientNet-Lite wants it: (x - 127) / 128, float32 [n, 3, h, w]."""
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images must be uint8 [n, h, w, 3], got {images.dtype} {list(images.shape)}")
    return np.ascontiguousarray((images.astype(np.float32).transpose(0, 3, 1, 2) - 127) / 128)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    square = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
