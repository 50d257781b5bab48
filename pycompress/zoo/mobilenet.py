"""MobileNetV1 (arXiv:1704.04861), V2 (1801.04381) and V3 (1905.02244)."""

from __future__ import annotations

import onnx

from .builder import Builder, Tensor, make_divisible


def mobilenetv1(*, width: float = 1.0, classes: int = 1000, **options: int | bool | None) -> onnx.ModelProto:
    """MobileNetV1: depthwise and pointwise convolutions in turn; ReLU6.

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
    >>> model = pycompress.zoo.mobilenetv1(width=0.5, resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    b = Builder("mobilenetv1", width=width, classes=classes, **options)
    x = b.conv(b.input(), "stem", make_divisible(32 * width), 3, 2, act="relu6")
    layers = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for i, (out, stride) in enumerate(layers):
        x = b.conv(x, f"blocks.{i}.depthwise", x.channels, 3, stride, x.channels, "relu6")
        x = b.conv(x, f"blocks.{i}.pointwise", make_divisible(out * width), act="relu6")
    return b.model(b.linear(b.pool(x), "classifier", classes, last=True))


def inverted_residual(
    b: Builder, x: Tensor, name, expanded, out, kernel, stride, act, se=None, residual=True
) -> Tensor:
    """Expand, convolve per channel, project; plus the input where shapes allow.

    `se`, if given, is (squeezed channels, activation, gate).
    """
    y = x
    if expanded != x.channels:
        y = b.conv(y, f"{name}.expand", expanded, act=act)
    y = b.conv(y, f"{name}.depthwise", expanded, kernel, stride, expanded, act)
    if se:
        y = b.se(y, f"{name}.se", *se)
    y = b.conv(y, f"{name}.project", out)
    return b.add(x, y, f"{name}.add") if residual and stride == 1 and out == x.channels else y


def mobilenetv2(*, width: float = 1.0, classes: int = 1000, **options: int | bool | None) -> onnx.ModelProto:
    """MobileNetV2: inverted residuals; ReLU6.

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
    >>> model = pycompress.zoo.mobilenetv2(width=0.5, resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    b = Builder("mobilenetv2", width=width, classes=classes, **options)
    x = b.conv(b.input(), "stem", make_divisible(32 * width), 3, 2, act="relu6")
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    layers = [(t, c, s if i == 0 else 1) for t, c, n, s in stages for i in range(n)]
    for i, (ratio, out, stride) in enumerate(layers):
        out = make_divisible(out * width)
        x = inverted_residual(b, x, f"blocks.{i}", ratio * x.channels, out, 3, stride, "relu6")
    x = b.conv(x, "head", make_divisible(1280 * max(1.0, width)), act="relu6")
    return b.model(b.linear(b.pool(x), "classifier", classes, last=True))


RE, HS = "relu", "hardswish"
LARGE = [  # kernel, expanded, out, squeeze-excite, activation, stride
    (3, 16, 16, False, RE, 1),
    (3, 64, 24, False, RE, 2),
    (3, 72, 24, False, RE, 1),
    (5, 72, 40, True, RE, 2),
    (5, 120, 40, True, RE, 1),
    (5, 120, 40, True, RE, 1),
    (3, 240, 80, False, HS, 2),
    (3, 200, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 184, 80, False, HS, 1),
    (3, 480, 112, True, HS, 1),
    (3, 672, 112, True, HS, 1),
    (5, 672, 160, True, HS, 2),
    (5, 960, 160, True, HS, 1),
    (5, 960, 160, True, HS, 1),
]
SMALL = [
    (3, 16, 16, True, RE, 2),
    (3, 72, 24, False, RE, 2),
    (3, 88, 24, False, RE, 1),
    (5, 96, 40, True, HS, 2),
    (5, 240, 40, True, HS, 1),
    (5, 240, 40, True, HS, 1),
    (5, 120, 48, True, HS, 1),
    (5, 144, 48, True, HS, 1),
    (5, 288, 96, True, HS, 2),
    (5, 576, 96, True, HS, 1),
    (5, 576, 96, True, HS, 1),
]


def _mobilenetv3(name: str, layers, head: int, hidden: int, width, classes, **options) -> onnx.ModelProto:
    b = Builder(name, epsilon=1e-3, width=width, classes=classes, **options)
    x = b.conv(b.input(), "stem", make_divisible(16 * width), 3, 2, act=HS)
    for i, (kernel, expanded, out, excite, act, stride) in enumerate(layers):
        expanded = make_divisible(expanded * width)
        se = (make_divisible(expanded / 4), "relu", "hardsigmoid") if excite else None
        x = inverted_residual(b, x, f"blocks.{i}", expanded, make_divisible(out * width), kernel, stride, act, se)
    x = b.conv(x, "head", make_divisible(head * width), act=HS)
    x = b.act(b.linear(b.pool(x), "hidden", make_divisible(hidden * width)), "hidden.act", HS)
    return b.model(b.linear(x, "classifier", classes, last=True))


def mobilenetv3_large(*, width: float = 1.0, classes: int = 1000, **options: int | bool | None) -> onnx.ModelProto:
    """MobileNetV3-Large: squeeze-excite and hard swish.

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
    >>> model = pycompress.zoo.mobilenetv3_large(width=0.5, resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    return _mobilenetv3("mobilenetv3_large", LARGE, 960, 1280, width, classes, **options)


def mobilenetv3_small(*, width: float = 1.0, classes: int = 1000, **options: int | bool | None) -> onnx.ModelProto:
    """MobileNetV3-Small: squeeze-excite and hard swish.

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
    >>> model = pycompress.zoo.mobilenetv3_small(width=0.5, resolution=64, classes=10)
    >>> model.graph.output[0].name
    'logits'
    """
    return _mobilenetv3("mobilenetv3_small", SMALL, 576, 1024, width, classes, **options)
