"""Quantization-aware training: begins with what ``pycompress.quantize`` writes, and trains that."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch

from ..compress.model.graph import check_options
from ..compress.quantize import quantize
from .loop import Part
from .twin import Twin


@dataclass(frozen=True)
class Quantization:
    """The options of quantization-aware training.

    Attributes
    ----------
    weights : {8, 4, "mixed"}
    group_size : int, optional
        Inputs that share a scale of 4-bit weights; 0: all.
    first_last : {8, 4}
        Bits of the first convolutions and the last layers.
    target : str
        The CPUs that weights are rounded for, as in ``pycompress.quantize``.
    epochs : int
        0: only quantize.
    rate : float
        The learning rate; the other options are those of `train`, without warm-up and moving average.
    freeze : float
        The share of the steps, at the end, in which the scales are fixed.
    samples : int
        Training images to calibrate on.
    """

    weights: int | str = 8
    group_size: int = 32
    first_last: int = 8
    target: str = "portable"
    epochs: int = 5
    rate: float = 0.005
    freeze: float = 0.3
    samples: int = 256

    def __post_init__(self):
        if self.weights not in (8, 4, "mixed"):
            raise ValueError(f"weights: {self.weights!r} is not 8, 4 or mixed")
        if self.epochs < 0:
            raise ValueError(f"epochs: {self.epochs} is not at least 0")
        if not self.rate > 0:
            raise ValueError(f"rate: {self.rate} is not above 0")
        if not 0 <= self.freeze <= 1:
            raise ValueError(f"freeze: {self.freeze} is not in [0, 1]")
        if self.samples < 2:
            raise ValueError(f"samples: {self.samples} is not at least 2")
        check_options(start, "given", self)  # now, and not after the float network was trained


def start(model: onnx.ModelProto, samples, options: Quantization, progress=None) -> onnx.ModelProto:
    """The network that training begins with: `model` in QDQ form, its ranges chosen on `samples`."""
    four = {} if options.weights == 8 else {"group_size": options.group_size, "first_last": options.first_last}
    return quantize(model, samples, weights=options.weights, target=options.target, progress=progress, **four)


class Freeze(Part):
    """Fixes the scales near the end, so that the last steps train weights for the scales that are exported.

    Parameters
    ----------
    twin : Twin
    share : float
        Of the steps, in which scales are fixed.
    total : int
        The steps of the run.
    """

    def __init__(self, twin: Twin, share: float, total: int):
        self.scales = scales_of(twin)
        self.begin = total - int(share * total)

    def before(self, step: int) -> None:
        for scale in self.scales:
            scale.requires_grad_(step < self.begin)


def scales_of(twin: Twin) -> list[torch.nn.Parameter]:
    """The learned scales of a quantized twin; none of a float one."""
    return [] if twin.quantization is None else list(twin.quantization.parameters())
