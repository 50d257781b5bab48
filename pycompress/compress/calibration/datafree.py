"""Calibration without data: noise, on which each layer has the means and variances that BatchNormalization recorded.

BatchNormalization gives every channel the mean `beta` and the deviation `gamma` on the training data. So a copy of the network is
shown noise with the spectrum of images, and the outputs of each layer before a BatchNormalization are scaled and shifted,
layer after layer, until they have just these. Ranges and covariances of what follows are taken from this copy; the
idea to use these statistics is that of Nagel et al., 2019, arXiv:1906.04721.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..model import graph as g
from ..model.layers import read_layer, write
from ..model.prepare import drop_nothings, readable
from .engine import runner
from .observe import up_to
from .samples import shape_of
from .walk import Trail

NAME = "data-free"  # what callers give in place of samples
COUNT = 16  # samples
REACH = 2.5  # deviations to which noise is clipped: pixels are bounded
FURTHEST = 1e3  # factor of a channel at most: noise may hardly reach it


def recorded(model: onnx.ModelProto) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By output of a BatchNormalization behind a Conv: the mean and the deviation of its channels.

    Raises
    ------
    ValueError
        If there is none: the statistics are gone.
    """
    model = readable(g.copied(model))
    drop_nothings(model)
    values, made, found = g.constants(model), g.producers(model), {}
    for node in model.graph.node:
        before = made.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if before is not None and before.op_type == "Conv" and all(n in values for n in node.input[1:3]):
            gamma, beta = (numpy_helper.to_array(values[n]).astype(float) for n in node.input[1:3])
            found[node.output[0]] = beta, np.abs(gamma)
    if not found:
        raise ValueError(
            f"calibration={NAME!r} takes statistics from BatchNormalization behind convolutions, and the model has none; "
            "exporters fold them: export in training mode, or give samples"
        )
    return found


def synthesized(
    model: onnx.ModelProto, found: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[onnx.ModelProto, list[dict[str, np.ndarray]]]:
    """(a copy of `model`, whose BatchNormalization is folded, that has the statistics `found` on noise; the noise)."""
    own = g.copied(model)
    noise = [{i.name: _noise(i, np.random.default_rng((k, j))) for j, i in enumerate(g.graph_inputs(model))}
             for k in range(COUNT)]  # fmt: skip
    layers = [n for n in own.graph.node if n.op_type == "Conv" and n.output[0] in found]
    if layers and len(noise[0]) == 1:
        _scale_input(own, layers[0], found[layers[0].output[0]], noise)
    trail = Trail(own, noise, noise[0])
    for node in layers:
        beta, gamma = found[node.output[0]]
        y = list(trail.output(node.name))
        mean = np.mean([x.mean((0, *range(2, x.ndim)), dtype=float) for x in y], 0)
        square = np.mean([np.square(x, dtype=float).mean((0, *range(2, x.ndim))) for x in y], 0)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        a = np.clip(gamma / np.maximum(deviation, 1e-12), 0, FURTHEST)
        layer = read_layer(own, node)
        bias = np.zeros(len(a)) if layer.bias is None else layer.bias
        write(own, layer, layer.w * a[:, None], (bias - mean) * a + beta)
    return own, noise


def _noise(info: onnx.ValueInfoProto, rng: np.random.Generator) -> np.ndarray:
    """Noise for the input `info`: of images, with amplitudes that fall with the frequency, as theirs do."""
    shape = shape_of(info)
    if info.type.tensor_type.elem_type != TensorProto.FLOAT or not shape or not all(shape[1:]):
        raise ValueError(f"calibration={NAME!r}: input {info.name!r} must be float32 of a fixed size, got {shape}")
    x = rng.standard_normal([shape[0] or 1, *shape[1:]])
    if len(shape) == 4:
        fy, fx = np.fft.fftfreq(shape[2])[:, None], np.fft.rfftfreq(shape[3])
        x[:, 1:] = 0.3 * x[:, 1:] + x[:, :1]  # colours go together
        fall = np.maximum(np.hypot(fy, fx), 1 / max(shape[2:]))
        x = np.fft.irfft2(np.fft.rfft2(x) / fall, s=shape[2:])
        x /= max(x.std(), 1e-12)
    return np.clip(x, -REACH, REACH).astype(np.float32)


def _scale_input(
    model: onnx.ModelProto, first: onnx.NodeProto, stats: tuple[np.ndarray, np.ndarray], noise: list[dict]
) -> None:
    """Scales and shifts the `noise`, in place, by what the statistics of the `first` layer's outputs tell of its inputs."""
    ((name, x),) = noise[0].items()
    if first.input[0] != name or g.attribute(first, "group", 1) > 1:
        return
    beta, gamma = stats
    alive = gamma > 1e-3 * gamma.max()  # what training has switched off tells nothing
    (y,) = runner(up_to(model, [first.output[0]]))([first.output[0]], {name: x})
    deviation = y.std((0, *range(2, y.ndim)), dtype=float)
    scale = float(np.median(gamma[alive] / np.maximum(deviation[alive], 1e-12)))
    w = numpy_helper.to_array(g.constants(model)[first.input[1]]).astype(float)
    sums = w.reshape(*w.shape[:2], -1).sum(2)
    missing = beta - (0 if (bias := read_layer(model, first).bias) is None else bias)
    mean = np.linalg.lstsq(sums[alive] / gamma[alive, None], missing[alive] / gamma[alive], rcond=0.05)[0]
    for sample in noise:
        sample[name] = (sample[name] * scale + mean.reshape(1, -1, *[1] * (x.ndim - 2))).astype(np.float32)
