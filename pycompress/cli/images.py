"""The command line's options of images; ``pycompress.images`` reads the files."""

from __future__ import annotations

import argparse

import numpy as np

from ..images import (
    IMAGES,
    LAYOUTS,
    MODES,
    OPTIONS,
    PLAIN,
    RESIZE,
    Fit,
    as_input,
    doubtful,
    files,
    fit,
    image_port,
    read,
)

__all__ = ["IMAGES", "OPTIONS", "PLAIN", "Fit", "as_input", "doubtful", "files", "fit", "image_port", "read"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of images: ``--mean --std --scale --resize --crop --layout``."""
    parser.add_argument(
        "--mean", type=numbers, metavar="M[,M,M]", help="of images: the model receives (image * scale - mean) / std"
    )
    parser.add_argument("--std", type=numbers, metavar="S[,S,S]", help="of images; positive")
    parser.add_argument(
        "--scale", type=scale, metavar="S", help="factor on pixels from 0 to 255; default 1. Use 1/255 if --mean and --std are for pixels from 0 to 1"
    )  # fmt: skip
    parser.add_argument(
        "--resize",
        choices=RESIZE,
        help="how images of other proportions are fitted: crop (the center, default), stretch or pad",
    )
    parser.add_argument(
        "--crop", type=share, metavar="C", help="share of an image's height and width that is used; default 0.875"
    )
    parser.add_argument(
        "--layout", choices=LAYOUTS, help="of the model's image input; default: the one with 1, 3 or 4 channels"
    )


def numbers(text: str) -> tuple[float, ...]:
    """argparse type of one number or several."""
    try:
        values = tuple(float(x) for x in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in MODES or not np.isfinite(values).all():
        raise argparse.ArgumentTypeError(f"{text!r} must be one number, or one for each channel, separated by commas")
    return values


def scale(text: str) -> float:
    """argparse type of a positive number or a fraction such as 1/255."""
    above, _, below = text.partition("/")
    try:
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number, as in 1/255")
    return value


def share(text: str) -> float:
    """argparse type of a number above 0 and at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


def given(options: dict) -> list[str]:
    """The names of the image options that are set in `options`."""
    return [key for key in OPTIONS if options.get(key) is not None]
