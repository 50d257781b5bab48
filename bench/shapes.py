"""The layers of a zoo network, each shape once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import onnx

from pycompress import zoo


@dataclass(frozen=True)
class Layer:
    """A convolution, or with `kernel` 0 a fully connected layer, on one image of h x w x c."""

    h: int
    w: int
    c: int
    n: int
    kernel: int = 0
    stride: int = 1
    groups: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right

    @property
    def out(self) -> tuple[int, int]:
        if not self.kernel:
            return 1, 1
        return tuple(
            (size + self.pads[i] + self.pads[i + 2] - self.kernel) // self.stride + 1
            for i, size in enumerate((self.h, self.w))
        )

    @property
    def macs(self) -> int:
        return self.out[0] * self.out[1] * self.n * self.c // self.groups * max(self.kernel, 1) ** 2

    @property
    def is_product(self) -> bool:
        """Whether it is a matrix product of [h * w, c] with [c, n]."""
        return self.kernel == 0 or (self.kernel == 1 and self.stride == 1 and self.groups == 1)

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1

    def __str__(self) -> str:
        if self.is_product:
            return f"{self.out[0] * self.out[1]}x{self.n}x{self.c}"
        kind = "dw" if self.is_depthwise else "conv"
        return f"{kind}{self.kernel}s{self.stride}-{self.h}x{self.w}x{self.c}" + f"-{self.n}" * (not self.is_depthwise)


@cache
def layers(network: str) -> dict[Layer, int]:
    """{layer: how often the network has it}, in order of appearance."""
    model = onnx.shape_inference.infer_shapes(zoo.build(network, batchnorm=False))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    shapes |= {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    weights = {t.name: list(t.dims) for t in model.graph.initializer}
    found: Counter[Layer] = Counter()
    for node in model.graph.node:
        if node.op_type == "Gemm":
            n, c = weights[node.input[1]]
            found[Layer(1, 1, c, n)] += 1
        elif node.op_type == "Conv":
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            _, c, h, w = shapes[node.input[0]]
            n, _, kernel, _ = weights[node.input[1]]
            stride = attributes.get("strides", [1])[0]
            pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
            found[Layer(h, w, c, n, kernel, stride, attributes.get("group", 1), pads)] += 1
    return dict(found)
