"""Networks as ONNX models: MobileNetV1, V2 and V3, EfficientNet-B0, -Lite0 and -Lite1; and a trained one as a plan.

``zoo.build("mobilenetv2", width=0.5)`` or ``zoo.mobilenetv2(width=0.5)``.  Weights are random
(Gaussian, He's scale per layer, fixed seed) except for ``zoo.efficientnet_lite0(pretrained=True)`` and ``efficientnet_lite1``.
``zoo.tiny()`` is the plan, which runs without onnx.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .embedded import tiny, tiny_images
from .labels import labels

if TYPE_CHECKING:
    import onnx

    from .efficientnet import efficientnet_b0, efficientnet_lite0, efficientnet_lite1
    from .mobilenet import mobilenetv1, mobilenetv2, mobilenetv3_large, mobilenetv3_small

_BUILDERS = {  # and the modules that they are in, which need onnx
    "mobilenetv1": "mobilenet",
    "mobilenetv2": "mobilenet",
    "mobilenetv3_large": "mobilenet",
    "mobilenetv3_small": "mobilenet",
    "efficientnet_b0": "efficientnet",
    "efficientnet_lite0": "efficientnet",
    "efficientnet_lite1": "efficientnet",
}
_COMMON = ("resolution", "batch", "batchnorm", "seed", "opset")  # options of all of them
__all__ = [
    "build",
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "labels",
    "mobilenetv1",
    "mobilenetv2",
    "mobilenetv3_large",
    "mobilenetv3_small",
    "names",
    "tiny",
    "tiny_images",
]


def __getattr__(name: str) -> Any:
    if name not in _BUILDERS:
        raise AttributeError(f"module 'pycompress.zoo' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_BUILDERS[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def names() -> tuple[str, ...]:
    """The networks that `build` knows.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import pycompress
    >>> pycompress.zoo.names()[0]
    'mobilenetv1'
    """
    return tuple(_BUILDERS)


def build(name: str, **options: Any) -> onnx.ModelProto:
    """The network called `name`: float32 ``input`` [batch, 3, height, width] to ``logits`` [batch, classes].

    Parameters
    ----------
    name : str
        One of `names()`.
    **options
        ``width`` (float): factor on the channels, default 1.
        ``resolution`` (int or None): height and width, default 224, of EfficientNet-Lite1 240; None leaves both open.
        ``batch`` (int or None): images per run, default 1; None leaves it open.
        ``classes`` (int): default 1000.
        ``batchnorm`` (bool): default True, with BatchNormalization nodes as exporters write them; False folds them.
        ``seed`` (int): of the random weights, default 0.
        ``opset`` (int): of the model, default 17.
        ``pretrained`` (bool): only EfficientNet-Lite0 and -Lite1 have trained weights.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ValueError
        If there is no such network, or a number is out of range.
    TypeError
        If there is no such option.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.build("mobilenetv2", width=0.5, resolution=64, classes=10)
    >>> model.graph.input[0].name
    'input'
    """
    if name not in _BUILDERS:
        raise ValueError(f"zoo has no network {name!r}; it has {', '.join(_BUILDERS)}")
    builder = getattr(import_module(__name__), name)
    known = [*(k for k in inspect.signature(builder).parameters if k != "options"), *_COMMON, "weights"]
    if unknown := [key for key in options if key not in known]:
        raise TypeError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    return builder(**options)
