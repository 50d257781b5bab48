"""Networks as graphs of blocks: what a space makes of its decisions, what is timed block by block, and what becomes ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..zoo.builder import Builder, Tensor, make_divisible
from ..zoo.mobilenet import inverted_residual

IMAGE = "input"  # the name of the network's input among the sources of a block
FLOAT = 32  # bits of weights that are not quantized


@dataclass(frozen=True)
class Block:
    """One block. Two blocks that are equal take the same time, wherever they stand.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    size : int
        Height and width of its input.
    inputs, out : int
        Channels.
    kernel, stride : int
    expanded : int
        Channels between expansion and projection, for "mb".
    se : bool
        Squeeze-excite, for "mb".
    activation : str or None
    bits : int
        Of the weights of its 1x1 convolutions and linear layers: 32, 8 or 4.
    sources : int
        How many tensors it reads, for "add" and "concat".
    """

    kind: str
    size: int
    inputs: int
    out: int
    kernel: int = 1
    stride: int = 1
    expanded: int = 0
    se: bool = False
    activation: str | None = None
    bits: int = FLOAT
    sources: int = 1

    @property
    def key(self) -> str:
        """The block in a table of latencies: ``mb 28x28x16 -> 24 k3 s2 e64 se hardswish w8``."""
        words = [f"{self.kind} {self.size}x{self.size}x{self.inputs} -> {self.out}"]
        words += [f"k{self.kernel} s{self.stride}"] if self.kernel > 1 or self.stride > 1 else []
        words += [f"e{self.expanded}"] if self.expanded else []
        words += ["se"] if self.se else []
        words += [self.activation] if self.activation else []
        words += [f"w{self.bits}"] if self.bits != FLOAT else []
        words += [f"of {self.sources}"] if self.sources > 1 else []
        return " ".join(words)

    @property
    def size_out(self) -> int:
        return -(-self.size // self.stride)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of its convolutions and products, squeeze-excite left out."""
        before, after = self.size**2, self.size_out**2
        if self.kind == "mb":
            expand = before * self.inputs * self.expanded if self.expanded != self.inputs else 0
            return expand + after * self.expanded * (self.kernel**2 + self.out)
        if self.kind == "sep":
            return after * self.inputs * (self.kernel**2 + self.out)
        if self.kind == "conv":
            return after * self.inputs * self.out * self.kernel**2
        return self.inputs * self.out if self.kind == "classifier" else 0

    @property
    def weight_bytes(self) -> float:
        """Bytes of its weights: of 4-bit ones half a byte each, scales and biases left out."""
        cells, other = self.kernel**2, 0
        if self.kind == "mb":
            squeezed = 2 * self.expanded * _squeezed(self.expanded) if self.se else 0
            expand = self.inputs if self.expanded != self.inputs else 0
            products, other = self.expanded * (expand + self.out), self.expanded * cells + squeezed
        elif self.kind == "sep":
            products, other = self.inputs * self.out, self.inputs * cells
        else:
            products = self.inputs * self.out * cells if self.kind in ("conv", "classifier") else 0
        return products * self.bits / 8 + other * (4 if self.bits == FLOAT else 1)


@dataclass(frozen=True)
class Placed:
    """A block at its place: its name in the network, and the names of what it reads."""

    name: str
    block: Block
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """A network of a space: blocks in an order in which they can run; the last one answers with the logits.

    Attributes
    ----------
    channels, resolution, classes : int
    placed : tuple of Placed
    """

    channels: int
    resolution: int
    classes: int
    placed: tuple[Placed, ...]

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(p.block for p in self.placed)

    @property
    def macs(self) -> int:
        return sum(block.macs for block in self.blocks)

    @property
    def weight_bytes(self) -> float:
        return sum(block.weight_bytes for block in self.blocks)

    def onnx(self, *, batch: int | None = 1, seed: int = 0, batchnorm: bool = True) -> onnx.ModelProto:
        """The network as an ONNX model, with new random weights.

        Parameters
        ----------
        batch : int or None
            Images per run; None leaves it open.
        seed : int
        batchnorm : bool
            With BatchNormalization nodes; False folds them, as for timing.
        """
        builder = _Fresh("search", batch=batch, seed=seed, batchnorm=batchnorm)
        tensors = {IMAGE: builder.source(IMAGE, self.channels, self.resolution)}
        last = self.placed[-1].name
        for p in self.placed:
            given = [tensors[name] for name in p.sources]
            tensors[p.name] = KINDS[p.block.kind](builder, given, p.name, p.block, p.name == last)
        return builder.finished(tensors[last], [self.classes])

    def bits(self) -> dict[str, int]:
        """{node of the ONNX model: bits of its weights} for ``pycompress.quantize``, where they are 4."""
        return {node: 4 for p in self.placed if p.block.bits == 4 for node in _products(p)}


def alone(block: Block, seed: int = 0) -> onnx.ModelProto:
    """A model of this block only, with BatchNormalization folded: what the table of latencies times."""
    builder = _Fresh("block", batch=1, seed=seed, batchnorm=False)
    channels = [block.inputs] * block.sources
    if block.kind == "concat":  # `inputs` counts the channels of all its sources
        channels = [block.inputs // block.sources] * block.sources
    given = [builder.source(f"{IMAGE}{i or ''}", n, block.size) for i, n in enumerate(channels)]
    result = KINDS[block.kind](builder, given, "block", block, block.kind == "classifier")
    shape = [block.out] if block.kind == "classifier" else [block.out, block.size_out, block.size_out]
    return builder.finished(result, shape)


class _Fresh(Builder):
    """The zoo's builder for networks that are yet to be trained: any resolution and channels, neutral statistics."""

    def __init__(self, name: str, *, batch: int | None, seed: int, batchnorm: bool):
        super().__init__(name, resolution=None, batch=batch, seed=seed, batchnorm=batchnorm)
        self.sources: list[onnx.ValueInfoProto] = []

    def source(self, name: str, channels: int, size: int) -> Tensor:
        shape = [self.batch, channels, size, size]
        self.sources.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return Tensor(name, np.zeros(channels), np.ones(channels))

    def finished(self, result: Tensor, shape: Sequence[int]) -> onnx.ModelProto:
        answer = helper.make_tensor_value_info(result.name, TensorProto.FLOAT, [self.batch, *shape])
        graph = helper.make_graph(self.nodes, self.name, self.sources, [answer], list(self.initializers.values()))
        opset = helper.make_opsetid("", self.opset)
        ir = min(helper.find_min_ir_version_for([opset]), 10)
        return helper.make_model(graph, opset_imports=[opset], producer_name="pycompress.search", ir_version=ir)

    def _statistics(self, name: str, mean, var):
        one, zero = np.ones(len(mean), np.float32), np.zeros(len(mean), np.float32)
        return [one, zero, zero, one]


# What each kind becomes: (builder, tensors, name, block, is it the last one) -> tensor.


def _conv(b: Builder, given, name, block: Block, last) -> Tensor:
    return b.conv(given[0], name, block.out, block.kernel, block.stride, act=block.activation)


def _sep(b: Builder, given, name, block: Block, last) -> Tensor:
    y = b.conv(given[0], f"{name}.depthwise", block.inputs, block.kernel, block.stride, block.inputs)
    return b.conv(y, f"{name}.pointwise", block.out, act=block.activation)


def _squeezed(expanded: int) -> int:
    """Channels between the two layers of squeeze-excite."""
    return make_divisible(expanded / 4)


def _mb(b: Builder, given, name, block: Block, last) -> Tensor:
    se = (_squeezed(block.expanded), "relu", "hardsigmoid") if block.se else None
    return inverted_residual(
        b, given[0], name, block.expanded, block.out, block.kernel, block.stride, block.activation, se
    )


def _pool(operator: str) -> Callable:
    def write(b: Builder, given, name, block: Block, last) -> Tensor:
        x, half = given[0], block.kernel // 2
        y = b.node(
            operator, name, [x.name], kernel_shape=[block.kernel] * 2, strides=[block.stride] * 2, pads=[half] * 4
        )
        return replace(x, name=y)

    return write


def _add(b: Builder, given, name, block: Block, last) -> Tensor:
    return b.add(given[0], given[1], name)


def _concat(b: Builder, given, name, block: Block, last) -> Tensor:
    y = b.node("Concat", name, [x.name for x in given], axis=1)
    return Tensor(y, np.concatenate([x.mean for x in given]), np.concatenate([x.var for x in given]))


def _classifier(b: Builder, given, name, block: Block, last) -> Tensor:
    return b.linear(b.pool(given[0]), name, block.out, last=last)


KINDS: dict[str, Callable] = {
    "conv": _conv,
    "sep": _sep,
    "mb": _mb,
    "max": _pool("MaxPool"),
    "avg": _pool("AveragePool"),
    "add": _add,
    "concat": _concat,
    "classifier": _classifier,
}


def _products(p: Placed) -> list[str]:
    """The nodes of a block that ``pycompress.quantize`` can give 4 bits: 1x1 convolutions and linear layers."""
    block = p.block
    if block.kind == "mb":
        names = [f"{p.name}.project.conv"]
        return [f"{p.name}.expand.conv", *names] if block.expanded != block.inputs else names
    if block.kind == "sep":
        return [f"{p.name}.pointwise.conv"]
    if block.kind == "conv":
        return [f"{p.name}.conv"] if block.kernel == 1 else []
    return [p.name] if block.kind == "classifier" else []
