"""Image files as the inputs of a model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's mode for each number of channels
OPTIONS = ("mean", "std", "scale", "resize", "crop", "layout")
RESIZE, LAYOUTS = ("crop", "stretch", "pad"), ("nchw", "nhwc")


@dataclass(frozen=True)
class Fit:
    """How an image of any shape is fitted to the model's input.

    Attributes
    ----------
    resize : str
        "crop": the largest central part with the model's proportions; "stretch": the whole image, distorted;
        "pad": the whole image, with black margins.
    crop : float
        The share of the height and width of that part that is used.
    layout : str or None
        "nchw" or "nhwc", the order of the model's dimensions; None: the one with 1, 3 or 4 channels.
    mean, std : tuple of float, or None
        The model receives (image - mean) / std, with pixels from 0 to 255.
    """

    resize: str = "crop"
    crop: float = 0.875
    layout: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


PLAIN = Fit()


def fit(options: dict, warn=None) -> Fit:
    """The Fit for the image options in `options`, as a recipe or the flags give them.

    Raises
    ------
    ValueError
        If a value is invalid.
    """
    mean, std = (None if options.get(k) is None else _values(options[k], k) for k in ("mean", "std"))
    factor = options.get("scale")
    if factor is not None and not (isinstance(factor, (int, float)) and 0 < factor < np.inf):
        raise ValueError(f"scale must be a positive number, got {factor!r}")
    if std is not None and min(std) <= 0:
        raise ValueError(f"std must be positive, got {', '.join(map(str, std))}")
    crop, resize, layout = (options.get(k) for k in ("crop", "resize", "layout"))
    if crop is not None and not (isinstance(crop, (int, float)) and 0 < crop <= 1):
        raise ValueError(f"crop must be above 0 and at most 1, got {crop!r}")
    if resize not in (None, *RESIZE) or layout not in (None, *LAYOUTS):
        raise ValueError(f"resize must be one of {', '.join(RESIZE)}, layout one of {', '.join(LAYOUTS)}")
    if factor is not None:
        mean, std = (tuple(v / factor for v in (x or default)) for x, default in ((mean, (0.0,)), (std, (1.0,))))
    if mean is not None and std is not None and warn and (problem := doubtful(mean, std)):
        warn(problem)
    return Fit(resize or "crop", 0.875 if crop is None else float(crop), layout, mean, std)


def _values(value, what: str) -> tuple[float, ...]:
    try:
        values = tuple(np.atleast_1d(np.asarray(value, np.float64)).tolist())
    except (TypeError, ValueError):
        values = ()
    if len(values) not in MODES or not np.isfinite(values).all():
        raise ValueError(f"{what} must be one number or one for each channel, got {value!r}")
    return values


def doubtful(mean, std) -> str:
    """Why `mean` and `std` are probably not meant for pixels from 0 to 255; empty if they may be."""
    low, high = (0 - max(mean)) / min(std), (255 - min(mean)) / min(std)
    if max(map(abs, mean)) <= 1 and max(std) <= 1 and high > 100:
        return (
            f"mean and std look like those for pixels from 0 to 1, but pixels are from 0 to 255: the model would receive "
            f"values up to {high:.0f}; add --scale 1/255"
        )
    if high - low < 0.05:
        return f"with this mean and std the model receives only values from {low:.3g} to {high:.3g}"
    return ""


def image_port(name: str, dtype: np.dtype, shape, layout: str | None) -> tuple[int, int, int, str]:
    """(height, width, channels, layout) of an image input.

    Raises
    ------
    ValueError
        If an image does not fit it.
    """
    if len(shape) == 4 and np.dtype(dtype) in (np.uint8, np.float32):
        for word, at in (("nchw", 1), ("nhwc", 3)):
            if layout in (None, word) and shape[at] in MODES:
                height, width = (shape[2], shape[3]) if at == 1 else (shape[1], shape[2])
                if height is None or width is None:
                    raise ValueError(f"input {name!r} takes images of any size: give one with --shape")
                return height, width, shape[at], word
    dims = ", ".join("?" if d is None else str(d) for d in shape)
    raise ValueError(
        f"input {name!r} is {np.dtype(dtype).name}[{dims}]; an image fits uint8 or float32[n, channels, height, width] "
        f"or [n, height, width, channels] of 1, 3 or 4 channels" + (f", --layout {layout}" if layout else "")
    )


def read(path: Path, height: int, width: int, channels: int = 3, how: Fit = PLAIN) -> np.ndarray:
    """The image in a file as uint8 [height, width, channels], upright as its EXIF orientation says.

    Raises
    ------
    ValueError
        If it is not an image, or is damaged; the message names the file.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ModuleNotFoundError:
        raise ModuleNotFoundError("reading images needs Pillow: pip install 'pycompress-engine[cli]'") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on palettes with transparency
            with Image.open(path) as image:
                image.load()
                image = _eight_bits(ImageOps.exif_transpose(image), path).convert(MODES[channels])
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise ValueError(f"{path}: not an image that can be read, nor .npy or .npz") from None
    except (OSError, SyntaxError, EOFError, ZeroDivisionError) as error:
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise
        raise ValueError(f"{path}: a damaged image: {error}") from None
    pixels = _fitted(image, height, width, how)
    return pixels.reshape(height, width, channels)


def _eight_bits(image, path: Path):
    """`image` with its range scaled to 0..255 if it has more bits; Pillow itself would clip values at 255."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError(f"{path}: an image of floats has no known range: give an .npy file")
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise ValueError(f"{path}: its values are beyond 16 bits: give an .npy file")
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    return image


def _fitted(image, height: int, width: int, how: Fit) -> np.ndarray:
    from PIL import Image

    cubic = Image.Resampling.BICUBIC
    if how.resize == "crop":
        factor = how.crop * min(image.height / height, image.width / width)
        h, w = max(1, round(height * factor)), max(1, round(width * factor))
    else:
        h, w = max(1, round(image.height * how.crop)), max(1, round(image.width * how.crop))
    top, left = (image.height - h) // 2, (image.width - w) // 2
    box = (left, top, left + w, top + h)
    if how.resize != "pad":
        return np.asarray(image.resize((width, height), cubic, box))
    factor = min(height / h, width / w)
    size = (max(1, round(w * factor)), max(1, round(h * factor)))
    page = Image.new(image.mode, (width, height))
    page.paste(image.resize(size, cubic, box), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(page)


def as_input(path: Path, name: str, dtype: np.dtype, shape, how: Fit) -> np.ndarray:
    """The image in a file as a batch of one for the input `name`."""
    height, width, channels, layout = image_port(name, dtype, shape, how.layout)
    if dtype == np.float32 and (how.mean is None or how.std is None):
        raise ValueError(
            f"{path}: input {name!r} is {dtype.name}{list(shape)}: images need --mean and --std, or a plan that "
            "preprocesses (compress MODEL OUT.plan.safetensors --mean ... --std ...)"
        )
    if dtype == np.uint8 and not how.mean is how.std is None:
        raise ValueError(f"input {name!r} takes bytes as they are: --mean, --std and --scale would do nothing")
    x = read(path, height, width, channels, how)
    if dtype == np.float32:
        for what in ("mean", "std"):
            if len(getattr(how, what)) not in (1, channels):
                raise ValueError(f"{what} has {len(getattr(how, what))} values, the model's images {channels} channels")
        x = (x.astype(np.float32) - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    return np.ascontiguousarray(x[None] if layout == "nhwc" else x.transpose(2, 0, 1)[None])


def files(folder: Path) -> Iterator[Path]:
    """The images in a folder and its subfolders, in order of their names."""
    yield from sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES and p.is_file())
