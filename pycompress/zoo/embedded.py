"""A trained network in a file of 41 kB, and images that it has not seen. Needs only numpy.

``examples/fashion/embed.py`` makes both files; the second also has the answers, ``logits``, for tests of ports. The network is ours; the images are from the test part of Fashion-MNIST,
copyright 2017 Zalando SE, MIT licence: the text is in ``tiny_images.LICENSE``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
PLAN, IMAGES = "tiny.plan.safetensors", "tiny_images.npz"


def tiny() -> Path:
    """The plan of a small trained network: 28x28 grey images of clothes to ten classes, int8.

    Its input is uint8 [1, 28, 28, 1], pixels from 0 to 255. ``provenance`` of the plan tells its accuracy, and where that
    was measured; ``labels`` names the classes. It is a slim plan: see ``Plan.save``.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If the file is missing from the installation.

    Examples
    --------
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.tiny())
    >>> images, labels = pycompress.zoo.tiny_images()
    >>> (logits,) = session.run(None, {"input": images[:1]})
    >>> session.labels[logits.argmax()], session.labels[labels[0]]
    ('ankle boot', 'ankle boot')
    """
    return _file(PLAN)


def tiny_images() -> tuple[np.ndarray, np.ndarray]:
    """The first images of Fashion-MNIST's test part, which the network of ``tiny`` was not trained on.

    Returns
    -------
    (images, labels) : uint8[64, 28, 28, 1], int64[64]

    Raises
    ------
    FileNotFoundError
        If the file is missing from the installation.

    Examples
    --------
    >>> import pycompress
    >>> images, labels = pycompress.zoo.tiny_images()
    >>> images.shape, images.dtype.name
    ((64, 28, 28, 1), 'uint8')
    """
    with np.load(_file(IMAGES)) as held:
        return held["images"], held["labels"].astype(np.int64)


def _file(name: str) -> Path:
    path = FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: examples/fashion/embed.py makes it")
    return path
