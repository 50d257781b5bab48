"""Folds BatchNormalization, with the statistics that training has left, into the convolutions before it."""

from __future__ import annotations

import os

import onnx

from ..compress.model import graph as g
from ..compress.model.prepare import check, fold_batchnorm, readable
from .twin import Twin


def fold(model: Twin | g.Model, base_dir: str | os.PathLike | None = None) -> onnx.ModelProto:
    """`model` with each BatchNormalization after a Conv folded into it.

    `pycompress.quantize` and the other passes do this themselves; it is for training on without batch statistics. A
    masked weight stays zero, since folding scales weights by channel.

    Parameters
    ----------
    model : Twin, path, bytes or onnx.ModelProto
        It is not changed.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.

    Returns
    -------
    onnx.ModelProto
        The same function. BatchNormalization elsewhere than after a Conv whose result nothing else reads is left.

    Raises
    ------
    ModelError
        If the model is invalid.

    Examples
    --------
    >>> import pycompress
    >>> from pycompress.train import fold
    >>> folded = fold(pycompress.zoo.mobilenetv2(width=0.25, resolution=32))
    >>> any(node.op_type == "BatchNormalization" for node in folded.graph.node)
    False
    """
    model = model.onnx() if isinstance(model, Twin) else g.as_model(model, base_dir)
    model = readable(model)
    fold_batchnorm(model)
    check(model)
    return model
