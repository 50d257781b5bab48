"""Writes networks as ONNX: convolution, normalization, activation, squeeze-excite, residual.

Without given weights a layer draws its own: Gaussian with He's scale, and batch-norm statistics as
training would leave them.  For those the builder carries the mean and variance of every channel
through the network, taking channels as independent and Gaussian, so that activations stay of
order one at any depth and the image still decides the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "hardswish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hardsigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
}
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)  # E f(N(0,1)) = sum w f(node)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Tensor:
    """A value in the graph: its name, and the mean and variance of each channel, if known."""

    name: str
    mean: np.ndarray
    var: np.ndarray

    @property
    def channels(self) -> int:
        return len(self.mean)


def make_divisible(value: float, divisor: int = 8) -> int:
    """`value` rounded to a multiple of `divisor`, never below nine tenths of it."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class Builder:
    """A network while it is built.

    Parameters
    ----------
    resolution : int or None
        Height and width of the input; None leaves both open.
    batch : int or None
        Images per run; None leaves it open.
    padding : {"symmetric", "same"}
        k // 2 on each side as PyTorch has it, or TensorFlow's SAME, whose odd cell goes below and right.
    batchnorm : bool
        Write BatchNormalization nodes; False folds them into the convolutions.
    weights : mapping, optional
        Arrays by name; without it weights are random, drawn from `seed` and the layer's name.
    channels : int
        Of the input.
    smallest : int
        The least resolution that makes sense for the network.
    width, classes : float and int
        Checked here, used by whoever builds the network.
    """

    def __init__(
        self,
        name: str,
        *,
        resolution: int | None = 224,
        batch: int | None = 1,
        padding: str = "symmetric",
        batchnorm: bool = True,
        epsilon: float = 1e-5,
        weights: Mapping[str, np.ndarray] | None = None,
        seed: int = 0,
        opset: int = 17,
        channels: int = 3,
        smallest: int = 32,
        width: float = 1.0,
        classes: int = 1,
    ):
        if not 0 < width < np.inf:
            raise ValueError(f"{name}: width must be a positive number, got {width}")
        if classes < 1:
            raise ValueError(f"{name}: classes must be at least 1, got {classes}")
        if resolution is not None and resolution < smallest:
            raise ValueError(f"{name}: resolution must be at least {smallest}, got {resolution}")
        if batch is not None and batch < 1:
            raise ValueError(f"{name}: batch must be at least 1 or None, got {batch}")
        if opset < 13:
            raise ValueError(f"{name}: opset must be at least 13, got {opset}")
        self.name, self.padding, self.batchnorm, self.epsilon, self.opset = name, padding, batchnorm, epsilon, opset
        self.batch = "batch" if batch is None else batch
        self.size, self.channels = resolution, channels
        self.weights, self.seed = weights, seed
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def input(self) -> Tensor:
        side = (self.size, self.size) if self.size else ("height", "width")
        self.given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [self.batch, self.channels, *side])
        return Tensor("input", np.zeros(self.channels), np.ones(self.channels))

    def model(self, logits: Tensor) -> onnx.ModelProto:
        """The finished model; `logits` becomes its output."""
        answer = helper.make_tensor_value_info(logits.name, TensorProto.FLOAT, [self.batch, logits.channels])
        graph = helper.make_graph(self.nodes, self.name, [self.given], [answer], list(self.initializers.values()))
        opset = helper.make_opsetid("", self.opset)
        ir = min(helper.find_min_ir_version_for([opset]), 10)
        return helper.make_model(graph, opset_imports=[opset], producer_name="pycompress.zoo", ir_version=ir)

    # layers

    def conv(self, x: Tensor, name: str, out: int, kernel=1, stride=1, groups=1, act=None) -> Tensor:
        """Convolution, batch norm, activation: `name`.conv, `name`.bn, `name`.act."""
        w = self._weight(f"{name}.conv", (out, x.channels // groups, kernel, kernel))
        mean, var = self._through(x, w, groups)
        gamma, beta, mean, var = self._statistics(f"{name}.bn", mean, var)
        if self.batchnorm:
            y = self._conv(x.name, f"{name}.conv", w, None, stride, groups)
            names = ("weight", "bias", "running_mean", "running_var")
            params = [self.constant(f"{name}.bn.{n}", v) for n, v in zip(names, (gamma, beta, mean, var))]
            y = self.node("BatchNormalization", f"{name}.bn", [y, *params], epsilon=self.epsilon)
        else:
            factor = gamma.astype(float) / np.sqrt(var.astype(float) + self.epsilon)
            y = self._conv(
                x.name, f"{name}.conv", w * factor[:, None, None, None], beta - mean * factor, stride, groups
            )
        return self.act(Tensor(y, beta.astype(float), gamma.astype(float) ** 2), f"{name}.act", act)

    def act(self, x: Tensor, name: str, kind: str | None) -> Tensor:
        if kind is None:
            return x
        if kind == "relu6":
            y = self.node("Clip", name, [x.name, self.constant("zero", 0.0), self.constant("six", 6.0)])
        elif kind == "silu":
            y = self.node("Mul", name, [x.name, self.node("Sigmoid", f"{name}.sigmoid", [x.name])])
        elif kind == "hardswish" and self.opset < 14:
            y = self.node("Mul", name, [x.name, self.node("HardSigmoid", f"{name}.gate", [x.name], alpha=1 / 6)])
        elif kind == "hardsigmoid":
            y = self.node("HardSigmoid", name, [x.name], alpha=1 / 6)
        else:
            y = self.node({"relu": "Relu", "hardswish": "HardSwish", "sigmoid": "Sigmoid"}[kind], name, [x.name])
        value = ACTIVATIONS[kind](x.mean[:, None] + np.sqrt(x.var)[:, None] * _NODES)
        mean = value @ _WEIGHTS
        return Tensor(y, mean, value**2 @ _WEIGHTS - mean**2)

    def se(self, x: Tensor, name: str, squeezed: int, act: str, gate: str) -> Tensor:
        """Squeeze-excite: channels scaled by a gate computed from their averages."""
        y = Tensor(self.node("GlobalAveragePool", f"{name}.pool", [x.name]), x.mean, x.var / 49)
        y = self.act(self._dense(y, f"{name}.reduce", squeezed, conv=True), f"{name}.act", act)
        y = self.act(self._dense(y, f"{name}.expand", x.channels, conv=True), f"{name}.gate", gate)
        scaled = self.node("Mul", f"{name}.scale", [x.name, y.name])
        return Tensor(scaled, x.mean * y.mean, (x.var + x.mean**2) * (y.var + y.mean**2) - (x.mean * y.mean) ** 2)

    def add(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        return Tensor(self.node("Add", name, [a.name, b.name]), a.mean + b.mean, a.var + b.var)

    def pool(self, x: Tensor) -> Tensor:
        """Averages over the image, flattened to [batch, channels]."""
        y = self.node("Flatten", "flatten", [self.node("GlobalAveragePool", "pool", [x.name])])
        return Tensor(y, x.mean, x.var / 49)

    def linear(self, x: Tensor, name: str, out: int, last: bool = False) -> Tensor:
        """Fully connected; the `last` layer's result is named logits."""
        return self._dense(x, name, out, result="logits" if last else None)

    # parts

    def node(self, op: str, name: str, inputs: list[str], result: str | None = None, **attributes) -> str:
        result = result or f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [result], name=name, **attributes))
        return result

    def constant(self, name: str, value) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value, np.float32, order="C"), name)
        return name

    def _conv(self, x, name, w, bias, stride, groups) -> str:
        kernel = w.shape[2]
        inputs = [x, self.constant(f"{name}.weight", w)]
        if bias is not None:
            inputs.append(self.constant(f"{name}.bias", bias))
        return self.node(
            "Conv",
            name,
            inputs,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            dilations=[1, 1],
            group=groups,
            **self._pads(kernel, stride),
        )

    def _pads(self, kernel: int, stride: int) -> dict:
        """Attributes that say how a convolution pads; keeps count of the image's size."""
        size = self.size
        if size:
            self.size = -(-size // stride)
        if self.padding == "symmetric":
            return {"pads": [kernel // 2] * 4}
        if kernel == 1:
            return {"pads": [0] * 4}
        if not size:
            return {"auto_pad": "SAME_UPPER"}
        total = max((self.size - 1) * stride + kernel - size, 0)
        return {"pads": [total // 2, total // 2, total - total // 2, total - total // 2]}

    def _dense(self, x: Tensor, name: str, out: int, conv: bool = False, result: str | None = None) -> Tensor:
        w = self._weight(name, (out, x.channels))
        bias = self._given(f"{name}.bias", (out,))
        if bias is None:
            bias = 0.1 * self._random(f"{name}.bias").standard_normal(out)
        names = [x.name, self.constant(f"{name}.weight", w[:, :, None, None] if conv else w)]
        names.append(self.constant(f"{name}.bias", bias))
        if conv:
            y = self.node("Conv", name, names, kernel_shape=[1, 1])
        else:
            y = self.node("Gemm", name, names, result, transB=1)
        mean, var = self._through(x, w[:, :, None, None], 1)
        return Tensor(y, mean + bias, var)

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, crc32(f"{self.name}/{name}".encode())])

    def _given(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if self.weights is None:
            return None
        if name not in self.weights:
            raise ValueError(f"{self.name}: the weights lack {name}")
        value = np.asarray(self.weights[name])
        if value.shape != shape:
            raise ValueError(f"{self.name}: {name} must have shape {shape}, got {value.shape}")
        return value.astype(np.float32)

    def _weight(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        w = self._given(f"{name}.weight", shape)
        if w is None:
            w = self._random(f"{name}.weight").standard_normal(shape, np.float32)
            w *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        return w

    def _statistics(self, name: str, mean, var):
        """Gamma, beta and the running mean and variance of a batch norm whose input has `mean` and `var`."""
        if self.weights is not None:
            names = ("weight", "bias", "running_mean", "running_var")
            return [self._given(f"{name}.{n}", mean.shape) for n in names]
        rng = self._random(name)
        gamma = rng.uniform(0.5, 1.5, mean.shape)
        beta = rng.normal(0, 0.3, mean.shape)
        return [v.astype(np.float32) for v in (gamma, beta, mean, np.maximum(var, 1e-3))]

    @staticmethod
    def _through(x: Tensor, w: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance per channel after a convolution with `w` [out, in / groups, kh, kw]."""
        w = w.astype(float).reshape(groups, len(w) // groups, w.shape[1], -1)
        mean, var = (v.reshape(groups, 1, -1, 1) for v in (x.mean, x.var))
        return (w * mean).sum((2, 3)).ravel(), (w**2 * var).sum((2, 3)).ravel()
