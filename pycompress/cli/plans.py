"""Compiles the plan that a command writes."""

from __future__ import annotations

from pathlib import Path

from . import images, models


def planned(
    proto,
    source: models.Source,
    shapes: dict,
    how: images.Fit,
    layout: str | None = None,
    names: Path | None = None,
    costs: Path | None = None,
    float_products: str | None = None,
):
    """The plan of `proto`, which has the inputs of `source`; with a mean or std it takes uint8 NHWC images.

    Parameters
    ----------
    shapes : of the inputs, as --shape gives them
    how : `mean` and `std` of images
    names : a file of class names

    Raises
    ------
    ValueError
        If the model takes no images, or no output is as long as the list of names.
    """
    import pycompress

    ports = source.ports(shapes)
    shapes = {name: shape for name, (_, shape) in ports.items()}
    preprocess = None
    if how.mean is not None or how.std is not None:
        preprocess = pycompress.Preprocess(how.mean or (0.0,), how.std or (1.0,), layout)
        if len(shapes) != 1 or len(next(iter(shapes.values()))) != 4:
            raise ValueError("--mean and --std are for a model with one image input")
        ((name, (_, shape)),) = ports.items()
        if not preprocess.channels_last(shape):
            shapes = {name: (n, h, w, c) for name, (n, c, h, w) in shapes.items()}
    classes = labels(names) if names else None
    products = float_products or "float32"
    plan = pycompress.compile(
        proto, input_shapes=shapes, preprocess=preprocess, labels=classes, costs=costs, float_products=products
    )
    if classes:
        ends = {p.name: p.shape[-1] for p in pycompress.InferenceSession(plan).get_outputs() if p.shape}
        if len(classes) not in ends.values():
            raise ValueError(f"{names}: {len(classes)} class names, and the outputs have {ends} classes")
    return plan


def labels(path: Path) -> list[str]:
    """The class names in a file, one per line; empty lines at its end are ignored.

    Raises
    ------
    ValueError
        If it holds none, or is not UTF-8.
    """
    try:
        names = path.read_text("utf-8").rstrip("\n").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: class names must be UTF-8 text: {error}") from None
    if not names:
        raise ValueError(f"{path}: no class names")
    return names
