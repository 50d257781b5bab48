"""The quantizers of a QDQ model: what is learned of it, and how that is written back.

A QuantizeLinear of an activation with its DequantizeLinear becomes fake quantization with a learned step and the
file's zero point; integer weights become floats that are rounded when they are used, with learned steps; an int32 bias
becomes a float. What the file promises about int16 accumulation is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from .. import kernels
from ..compress.model import graph as g
from ..compress.quantization.accumulation import METADATA
from ..compress.quantization.qdq import nibbles
from ..compress.quantization.round import PAIRS
from ..compress.quantization.targets import REARRANGES
from ..formats.onnx_model import to_array
from .acc16 import Bounds
from .fake import Activation, Weight
from .operators import operator

WEIGHTED = ("Conv", "Gemm", "MatMul")
CODES = {  # the smallest and largest code, by type
    TensorProto.UINT8: (0, 255), TensorProto.INT8: (-128, 127), TensorProto.UINT4: (0, 15), TensorProto.INT4: (-8, 7),
}  # fmt: skip
LARGEST_BIAS = 2**31 - 1


def slot(name: str) -> str:
    """`name` as an attribute of a module, which has no dots."""
    return "t_" + name.replace(".", "__")


@operator("DequantizeLinear")
def dequantize(codes, scale, zero=None, *, axis=1, block_size=0, output_dtype=0) -> Tensor:
    """Of constants that are not trained."""
    whole = Weight(codes.shape, scale, torch.zeros_like(scale), 0, 1, axis, block_size, False, None)
    zero = torch.zeros_like(scale) if zero is None else zero.to(scale.dtype)
    return (codes.to(scale.dtype) - whole.spread(zero)) * whole.spread(scale)


@dataclass(frozen=True)
class Bias:
    """An int32 initializer: its own scale, and the scale of the input and the weights of its node, if both are learned."""

    codes: str
    scale: str
    x: str | None
    weights: str | None


@dataclass
class Roles:
    """What nodes and initializers of a QDQ model are for.

    Attributes
    ----------
    quantize : by node that is a QuantizeLinear, the name of its scale
    same : the DequantizeLinear that undo one of those
    weights : by node that is a DequantizeLinear of weights, the name of the codes
    biases : by node that is a DequantizeLinear of a bias
    source : by dequantized tensor, the name of the codes it is made of
    hidden : initializers and nodes that only quantizers read
    """

    quantize: dict[str, str] = field(default_factory=dict)
    same: set[str] = field(default_factory=set)
    weights: dict[str, str] = field(default_factory=dict)
    biases: dict[str, Bias] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)

    def step(self, node: onnx.NodeProto) -> tuple[str, str] | None:
        """How a twin evaluates `node`: ("activation" or "weight", name of its quantizer), ("none", "") for the identity, or None."""
        if node.name in self.quantize:
            return "activation", self.quantize[node.name]
        if node.name in self.weights:
            return "weight", self.weights[node.name]
        return ("none", "") if node.name in self.same or node.name in self.biases else None


class Quantization(nn.Module):
    """The quantizers of `model`, an ONNX model with QuantizeLinear and DequantizeLinear.

    Raises
    ------
    NotImplementedError
        If a node rounds in a way that cannot be trained here; the message names it.
    """

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        self.roles = Roles()
        self.activations, self.weights = nn.ModuleDict(), nn.ModuleDict()
        self._values, self._makers, self._readers = g.constants(model), g.producers(model), g.consumers(model)
        self._scales: dict[str, str] = {}  # by codes of weights: the initializer that holds their scales
        self._tied: dict[str, str] = {}  # by scale of an activation: the scale whose step it has
        self._depths = json.loads(g.metadata(model).get(METADATA, "null"))
        for node in model.graph.node:
            if node.op_type == "QuantizeLinear":
                self._read_activation(node)
        for node in model.graph.node:
            if node.op_type == "DequantizeLinear":
                self._read_dequantize(node)
        self._read_biases(model)
        self._tie(model)
        del self._values, self._makers, self._readers, self._depths

    def _array(self, name: str) -> np.ndarray | None:
        """A constant, also one that is widened from float16."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "Cast":
            name = maker.input[0]
        return to_array(self._values[name]).astype(np.float32) if name in self._values else None

    def _read_activation(self, node: onnx.NodeProto) -> None:
        where = f"node {node.name!r} ({node.op_type})"
        scale = self._array(node.input[1])
        zero = self._values.get(node.input[2]) if len(node.input) > 2 else None
        kind = zero.data_type if zero is not None else TensorProto.UINT8
        if scale is None or scale.size != 1 or kind not in (TensorProto.UINT8, TensorProto.INT8):
            raise NotImplementedError(f"{where}: training supports one constant scale per tensor, and 8 bits")
        at = int(to_array(zero).reshape(())) if zero is not None else 0
        key = slot(node.input[1])
        if key not in self.activations:
            self.activations[key] = Activation(torch.from_numpy(scale), at, *CODES[kind])
        self.roles.quantize[node.name] = node.input[1]
        self.roles.hidden |= set(node.input[1:])

    def _read_dequantize(self, node: onnx.NodeProto) -> None:
        before = self._makers.get(node.input[0])
        if before is not None and before.name in self.roles.quantize:
            if not self._equal(before, node):
                raise NotImplementedError(
                    f"node {node.name!r} (DequantizeLinear): its scale is not that of {before.name!r}"
                )
            if node.input[1] != before.input[1]:
                self._tied[node.input[1]] = before.input[1]
            self.roles.same.add(node.name)
            self.roles.hidden |= set(node.input[1:])
            return
        tensor, scale = self._values.get(node.input[0]), self._array(node.input[1])
        readers = self._readers.get(node.output[0], [])
        layers = [n for n in readers if n.op_type in WEIGHTED and n.input[1] == node.output[0]]
        if tensor is None or scale is None:
            raise NotImplementedError(
                f"node {node.name!r} (DequantizeLinear): training needs constants, or a QuantizeLinear before it"
            )
        if tensor.data_type not in CODES or not layers or len(layers) < len(readers):
            return
        self._read_weight(node, layers[0], tensor, scale)

    def _equal(self, *nodes: onnx.NodeProto) -> bool:
        scales = [self._array(n.input[1]) for n in nodes]
        zeros = [self._array(n.input[2]) if len(n.input) > 2 else np.zeros(1) for n in nodes]
        return all(v[0] is not None and v[1] is not None and np.array_equal(*v) for v in (scales, zeros))

    def _read_weight(self, node: onnx.NodeProto, layer: onnx.NodeProto, tensor, scale: np.ndarray) -> None:
        codes = to_array(tensor).astype(np.int32)
        zero = self._array(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros_like(scale)
        low, high = CODES[tensor.data_type]
        if tensor.data_type == TensorProto.INT8 and not zero.any() and codes.min(initial=0) > low:
            low += 1  # symmetric
        maker = self._makers.get(node.input[1])
        half = maker is not None and maker.op_type == "Cast"
        self._scales[tensor.name] = maker.input[0] if half else node.input[1]
        self.roles.hidden |= {self._scales[tensor.name], *node.input[1:], *([maker.name] if half else [])}
        self.roles.weights[node.name] = tensor.name
        self.roles.source[node.output[0]] = tensor.name
        bounds = self._bounds(layer, codes) if tensor.data_type == TensorProto.INT8 and not zero.any() else None
        axis, block = g.attribute(node, "axis", 1), g.attribute(node, "block_size", 0)
        self.weights[slot(tensor.name)] = Weight(
            codes.shape, torch.from_numpy(scale), torch.from_numpy(zero), low, high, axis, block, half, bounds
        )

    def _bounds(self, layer: onnx.NodeProto, codes: np.ndarray) -> Bounds | None:
        """The int16 accumulation that the layer's weights allow now and have to allow later; None: none."""
        rows = 0 if layer.op_type == "Conv" or g.attribute(layer, "transB", 0) else 1
        depthwise = layer.op_type == "Conv" and g.attribute(layer, "group", 1) > 1 and codes.shape[1] == 1
        if codes.min(initial=0) == -128:
            return None
        made = Bounds(layer.op_type, rows, codes.shape, PAIRS if depthwise else 1, depthwise)
        matrix = made.rows_of(torch.from_numpy(codes)).numpy().astype(np.int8)
        if depthwise:
            fine = bool(
                kernels.module("qdwconv").fits(matrix, PAIRS, (int(np.prod(codes.shape[2:-1])), codes.shape[-1])).all()
            )
            wanted = self._depths is None or not self._depths or any(self._depths.values())
            return made if fine and wanted else None
        segments = int(np.prod(codes.shape[2:])) if layer.op_type == "Conv" else 1
        depth = int(kernels.module("qgemm").accumulation_depth(matrix, segments).min(initial=8))
        if self._depths is not None and layer.name in self._depths:
            depth = min(depth, self._depths[layer.name])
        return Bounds(layer.op_type, rows, codes.shape, depth, False) if depth else None

    def _read_biases(self, model: onnx.ModelProto) -> None:
        for layer in model.graph.node:
            node = self._makers.get(layer.input[2]) if layer.op_type in WEIGHTED and len(layer.input) > 2 else None
            tensor = (
                self._values.get(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else None
            )
            if tensor is None or tensor.data_type != TensorProto.INT32 or len(self._readers[node.output[0]]) > 1:
                continue
            before = (
                self._makers.get(self._makers[layer.input[0]].input[0])
                if layer.input[0] in self._makers and self._makers[layer.input[0]].name in self.roles.same
                else None
            )
            x = self.roles.quantize[before.name] if before is not None else None
            codes = self.roles.source.get(layer.input[1])
            self.roles.biases[node.name] = Bias(tensor.name, node.input[1], x, codes)
            self.roles.source[node.output[0]] = tensor.name
            self.roles.hidden |= set(node.input[1:])

    def _tie(self, model: onnx.ModelProto) -> None:
        """Gives tensors whose codes are only rearranged one step."""

        def scale_before(name: str) -> str | None:
            maker = self._makers.get(name)
            if maker is None or maker.name not in self.roles.same:
                return None
            return self.roles.quantize[self._makers[maker.input[0]].name]

        for node in model.graph.node:
            if node.op_type not in REARRANGES:
                continue
            before = [s for s in map(scale_before, node.input) if s]
            after = [r.input[1] for o in node.output for r in self._readers.get(o, ()) if r.name in self.roles.quantize]
            for one in [*before[1:], *after]:
                if before and self._alike(before[0], one):
                    self._tied[self._root(one)] = self._root(before[0])
        self._tied = {a: self._root(b) for a, b in self._tied.items() if a != b}
        for name in self._tied:
            if slot(name) in self.activations:
                del self.activations[slot(name)]

    def _alike(self, a: str, b: str) -> bool:
        a, b = (self.activations[slot(n)] for n in (a, b))
        return a.zero == b.zero and a.low == b.low and torch.equal(a.step.first, b.step.first)

    def _root(self, name: str) -> str:
        while self._tied.get(name, name) != name:
            name = self._tied[name]
        return name

    # use

    def activation(self, scale: str) -> Activation:
        """The quantizer of the activations that have this scale."""
        return self.activations[slot(self._root(scale))]

    def weight(self, codes: str) -> Weight:
        """The quantizer of these weights."""
        return self.weights[slot(codes)]

    def first_values(self, model: onnx.ModelProto) -> dict[str, np.ndarray]:
        """The floats that integer weights and biases stand for, by the name of the codes."""
        values, found = g.constants(model), {}
        for codes in self.roles.weights.values():
            one = self.weight(codes)
            step, zero = one.spread(one.step().detach()), one.spread(one.zero)
            found[codes] = ((torch.from_numpy(to_array(values[codes]).astype(np.float32)) - zero) * step).numpy()
        for bias in self.roles.biases.values():
            whole, scale = (
                to_array(values[bias.codes]).astype(np.float64),
                to_array(values[bias.scale]).astype(np.float64),
            )
            found[bias.codes] = (whole * scale).astype(np.float32)
        return found

    @torch.no_grad()
    def write(self, model: onnx.ModelProto, value: Callable[[str], Tensor]) -> None:
        """Writes steps, codes and biases into `model`; `value` gives the floats by the name of the codes."""
        tensors = g.constants(model)

        def put(name: str, x: np.ndarray) -> None:
            tensors[name].CopyFrom(numpy_helper.from_array(np.array(x, order="C"), name))

        for scale in {*self.roles.quantize.values(), *self._tied}:
            old = to_array(tensors[scale])
            put(scale, self.activation(scale).step().cpu().numpy().reshape(old.shape))
        for codes in self.roles.weights.values():
            one, tensor = self.weight(codes), tensors[codes]
            step, old = one.step().cpu().numpy(), to_array(tensors[self._scales[codes]])
            whole = one.codes(value(codes)).cpu().numpy()
            put(self._scales[codes], step.reshape(old.shape).astype(old.dtype))
            if tensor.data_type in (TensorProto.INT4, TensorProto.UINT4):
                tensor.CopyFrom(nibbles(codes, whole.astype(np.int8).view(np.uint8) & 15, tensor.data_type))
            else:
                put(codes, whole.astype(to_array(tensor).dtype))
        for bias in self.roles.biases.values():
            real, scale = value(bias.codes).cpu().numpy().astype(np.float64), to_array(tensors[bias.scale])
            if bias.x and bias.weights:
                x, w = self.activation(bias.x).step(), self.weight(bias.weights).step()
                scale = (
                    np.broadcast_to((x * w).cpu().numpy().reshape(-1), scale.shape)
                    if scale.size == w.numel() or w.numel() == 1
                    else scale
                )
                put(bias.scale, scale)
            put(
                bias.codes,
                np.clip(np.rint(real / scale.astype(np.float64)), -LARGEST_BIAS, LARGEST_BIAS).astype(np.int32),
            )
