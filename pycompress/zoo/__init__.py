"""Networks as ONNX models: MobileNetV1, V2 and V3, EfficientNet-B0 and -Lite0.

``zoo.build("mobilenetv2", width=0.5)`` or ``zoo.mobilenetv2(width=0.5)``.  Weights are random
(Gaussian, He's scale per layer, fixed seed) except for ``zoo.efficientnet_lite0(pretrained=True)``.
"""

from __future__ import annotations

import onnx

from .efficientnet import efficientnet_b0, efficientnet_lite0
from .labels import labels
from .mobilenet import mobilenetv1, mobilenetv2, mobilenetv3_large, mobilenetv3_small

_BUILDERS = {
    f.__name__: f
    for f in (mobilenetv1, mobilenetv2, mobilenetv3_large, mobilenetv3_small, efficientnet_b0, efficientnet_lite0)
}
__all__ = ["build", "labels", "names", *_BUILDERS]


def names() -> tuple[str, ...]:
    """The names that `build` accepts."""
    return tuple(_BUILDERS)


def build(name: str, **options) -> onnx.ModelProto:
    """The network called `name`: float32 ``input`` [batch, 3, height, width] to ``logits`` [batch, classes].

    Parameters
    ----------
    name : str
        One of `names()`.
    width : float
        Factor on the channels, default 1.
    resolution : int or None
        Height and width, default 224; None leaves both open.
    batch : int or None
        Images per run, default 1; None leaves it open.
    classes : int
        Default 1000.
    batchnorm : bool
        Default True: BatchNormalization nodes as exporters write them; False folds them.
    seed, opset : int
        Of the random weights, default 0; of the model, default 17.
    pretrained : bool
        EfficientNet-Lite0 only.
    """
    if name not in _BUILDERS:
        raise ValueError(f"zoo has no network {name!r}; it has {', '.join(_BUILDERS)}")
    return _BUILDERS[name](**options)
