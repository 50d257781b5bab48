"""Twin: an ONNX model as a `torch.nn.Module` that can be trained, and becomes ONNX again."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from ..compress import verdict
from ..compress.model import graph as g
from ..compress.model.prepare import check, quantize_constants, quantized_node, readable
from ..formats.onnx_model import to_array
from .operators import OPERATORS, VALUE_INPUTS, attributes_of, numbers
from .quantized import WEIGHTED, Quantization, Roles, slot

RECURRENT = ("LSTM", "GRU", "RNN")
NORMS = ("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization")
TRAINED = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1, 2), "MatMul": (0, 1), "PRelu": (1,)}
TRAINED |= dict.fromkeys(NORMS, (1, 2)) | dict.fromkeys(RECURRENT, (1, 2, 3))
TRAINING = ("BatchNormalization", "Dropout")  # operators that do something else while training


@dataclass(frozen=True)
class TwinLayer:
    """A node with weights.

    Attributes
    ----------
    node : the node's name
    weight : the name of the initializer that holds its weights; the key of its mask
    parameter : the weights, in the initializer's shape
    kind : "conv", "depthwise" or "linear"
    pointwise : whether each output reads one cell of its input: a 1x1 convolution, or linear
    operator : "Conv", "Gemm" or "MatMul"
    rows : the axis of `parameter` that runs over outputs
    """

    node: str
    weight: str
    parameter: nn.Parameter
    kind: str
    pointwise: bool
    operator: str
    rows: int


@dataclass(frozen=True)
class Step:
    """One node as the twin evaluates it.

    Attributes
    ----------
    inputs : a tensor's name, a constant value (a list of numbers), or None, for each input
    frees : the tensors that no later node reads
    quantizer : "activation" or "weight" and the name of its scale or its codes, if the node is fake quantization
    """

    node: str
    op: str
    inputs: tuple
    outputs: tuple[str, ...]
    attributes: dict
    frees: tuple[str, ...]
    quantizer: tuple[str, str] | None = None


class Masks(nn.Module, MutableMapping):
    """Zeros that weights keep: a tensor of 0 and 1 by the name of the weight's initializer.

    Masks are buffers, so they are saved and loaded with the twin's state dict.
    """

    def __init__(self, shapes: dict[str, torch.Size]):
        super().__init__()
        self._shapes = shapes

    def __getitem__(self, name: str) -> Tensor:
        return self._buffers[slot(name)]

    def __setitem__(self, name: str, mask: Tensor | np.ndarray) -> None:
        if name not in self._shapes:
            raise KeyError(f"masks: the twin has no weight {name!r}")
        mask = torch.as_tensor(mask)
        if mask.shape != self._shapes[name]:
            raise ValueError(f"masks: {name!r} has shape {tuple(self._shapes[name])}, the mask {tuple(mask.shape)}")
        if not ((mask == 0) | (mask == 1)).all():
            raise ValueError(f"masks: the mask of {name!r} must hold 0 and 1 only")
        self._buffers[slot(name)] = mask.to(torch.float32)

    def __delitem__(self, name: str) -> None:
        del self._buffers[slot(name)]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._shapes if slot(name) in self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and slot(name) in self._buffers

    __hash__ = nn.Module.__hash__
    __eq__ = nn.Module.__eq__

    def _load_from_state_dict(self, state, prefix, *rest) -> None:
        """Takes the masks that `state` has, which are not always those that are here."""
        self._buffers.clear()
        for name in self._shapes:
            if prefix + slot(name) in state:
                self[name] = state[prefix + slot(name)].clone()


class Twin(nn.Module):
    """An ONNX model that torch trains: its weights are parameters, its nodes are evaluated one by one.

    In training mode BatchNormalization normalizes by the batch and updates its running statistics, unless
    `frozen_statistics` is True; Dropout drops. Weights are multiplied by their masks.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        Float, or with QuantizeLinear and DequantizeLinear as `pycompress.quantize` writes them. It is not changed. It
        must have one input. A model that was written for one image takes batches, too.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.

    Attributes
    ----------
    layers : tuple of TwinLayer
        The nodes with weights, in order.
    masks : Masks
        A tensor of 0 and 1 by the name of a weight's initializer.
    frozen_statistics : bool
        Whether BatchNormalization keeps its statistics, and uses them, while training.

    Raises
    ------
    NotImplementedError
        If a node cannot be trained here; the message names node and operator.
    ValueError
        If the model has more than one input; `ModelError`, a ValueError, if it is invalid.

    Examples
    --------
    >>> import torch
    >>> import pycompress
    >>> from pycompress.train import Twin
    >>> twin = Twin(pycompress.zoo.mobilenetv2(width=0.25, resolution=32, batch=None, classes=10))
    >>> twin.train()(torch.zeros(4, 3, 32, 32)).shape
    torch.Size([4, 10])
    >>> trained = pycompress.InferenceSession(twin.onnx())
    """

    def __init__(self, model: g.Model, base_dir: str | os.PathLike | None = None):
        super().__init__()
        model = g.as_model(model, base_dir)
        quantized = quantized_node(model) is not None
        model = readable(model, widen=not quantized)  # scales of 4-bit weights stay float16
        if quantized:
            quantize_constants(model)
        inputs = [i.name for i in g.graph_inputs(model)]
        if len(inputs) != 1:
            raise ValueError(f"a twin needs a model with one input; this one has {len(inputs)}: {', '.join(inputs)}")
        self._model, self.input = model, inputs[0]
        self.outputs = tuple(o.name for o in model.graph.output)
        self.frozen_statistics = False
        self.quantization = Quantization(model) if quantized else None
        self._slots: dict[str, str] = {}
        self._take_constants()
        self._steps = self._planned()
        self.masks = Masks({layer.weight: layer.parameter.shape for layer in self.layers})

    # building

    def _take_constants(self) -> None:
        """Registers the floats among the initializers as parameters or buffers, the integers as buffers."""
        values, trained = g.constants(self._model), self._trained()
        given = self.quantization.first_values(self._model) if self.quantization else {}
        hidden = self.quantization.roles.hidden if self.quantization else ()
        trained |= set(given)
        for name, tensor in values.items():
            if name in hidden:
                continue
            array = given[name] if name in given else to_array(tensor)
            if array.dtype.kind not in "fiub":
                array = array.astype(np.float32)  # bfloat16
            if array.dtype == np.float16 and name in trained:
                array = array.astype(np.float32)
            value = torch.from_numpy(np.array(array, order="C"))
            if value.dim() == 4:  # in the order of the batches: torch's convolutions take half the time
                value = torch.empty_like(value, memory_format=torch.channels_last).copy_(value)
            at = self._slots[name] = slot(name)
            if name in trained:
                self.register_parameter(at, nn.Parameter(value))
            else:
                self.register_buffer(at, value, persistent=name in self._statistics())

    def _trained(self) -> set[str]:
        values, made = g.constants(self._model), g.producers(self._model)
        names = {n.input[i] for n in self._model.graph.node for i in TRAINED.get(n.op_type, ()) if i < len(n.input)}
        for node in self._model.graph.node:
            if node.op_type == "Add":  # the bias of a MatMul
                for one, other in (node.input, reversed(node.input)):
                    before = made.get(other)
                    if one in values and before is not None and before.op_type in WEIGHTED and values[one].dims:
                        names.add(one)
        kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
        return {n for n in names if n in values and values[n].data_type in kinds}

    def _statistics(self) -> set[str]:
        return {name for n in self._model.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:5]}

    def _planned(self) -> list[Step]:
        """A step for each node."""
        values, steps, read = g.constants(self._model), [], set(self.outputs)
        roles = self.quantization.roles if self.quantization else Roles()
        for node in reversed(self._model.graph.node):
            if node.name in roles.hidden:
                continue
            fake = roles.step(node)
            attributes = {} if fake else attributes_of(node)
            inputs: list = [name or None for name in node.input[: 1 if fake else None]]
            for i in VALUE_INPUTS.get(node.op_type, ()):
                if i < len(inputs) and inputs[i] in values:
                    inputs[i] = numbers(getattr(self, self._slots[inputs[i]]))
            names = [n for n in inputs if isinstance(n, str)]
            frees = tuple(n for n in dict.fromkeys(names) if n not in read and n not in values)
            read.update(names)
            op = node.op_type if fake is None else "Identity"
            quantizer = fake if fake and fake[0] != "none" else None
            steps.append(Step(node.name, op, tuple(inputs), tuple(node.output), attributes, frees, quantizer))
        return steps[::-1]

    # evaluation

    def value(self, name: str) -> Tensor:
        """The initializer `name` as the nodes read it: with its mask."""
        value = getattr(self, self._slots[name])
        return value * self.masks[name] if name in self.masks else value

    def forward(self, x: Tensor, keep: Sequence[str] = ()) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The model's first output for the batch `x`; with `keep` also a dict of the tensors of these names.

        Raises
        ------
        KeyError
            If `keep` names a tensor that the model does not have.
        """
        known: dict[str, Tensor] = {self.input: x}
        kept: dict[str, Tensor] = {self.input: x} if self.input in keep else {}
        for step in self._steps:
            result = self._result(step, [self._given(known, name) for name in step.inputs], len(x))
            made = dict(zip(step.outputs, result if isinstance(result, tuple) else (result,)))
            known.update(made)
            if keep:
                kept.update((name, self._shown(step, made[name])) for name in made if name in keep)
            for name in step.frees:
                del known[name]
        if missing := set(keep) - set(kept):
            raise KeyError(f"keep: the model has no tensor {min(missing)!r}")
        answer = known[self.outputs[0]]
        return (answer, kept) if keep else answer

    def _result(self, step: Step, given: list, images: int):
        if step.quantizer is None:
            more = {"training": self._trains(step.op)} if step.op in TRAINING else {}
            more |= {"images": images} if step.op == "Reshape" else {}
            return OPERATORS[step.op](*given, **step.attributes, **more)
        kind, name = step.quantizer
        return (self.quantization.activation(name) if kind == "activation" else self.quantization.weight(name))(*given)

    def _shown(self, step: Step, x: Tensor) -> Tensor:
        """A tensor as the ONNX model has it: codes where the twin has floats."""
        if step.quantizer and step.quantizer[0] == "activation":
            return self.quantization.activation(step.quantizer[1]).codes(x)
        return x

    def _given(self, known: dict[str, Tensor], name):
        if not isinstance(name, str):
            return name
        return known[name] if name in known else self.value(name)

    def _trains(self, op: str) -> bool:
        return self.training and not (op == "BatchNormalization" and self.frozen_statistics)

    # what a trainer asks for

    @property
    def layers(self) -> tuple[TwinLayer, ...]:
        """The nodes with weights, in order."""
        found = []
        source = self.quantization.roles.source if self.quantization else {}
        for node in self._model.graph.node:
            weight = source.get(node.input[1], node.input[1]) if node.op_type in WEIGHTED else ""
            parameter = self._parameter(weight)
            if not isinstance(parameter, nn.Parameter):
                continue
            kind, pointwise, rows = "linear", True, 1
            if node.op_type == "Conv":
                group = g.attribute(node, "group", 1)
                kind = "depthwise" if group > 1 and parameter.shape[1] == 1 else "conv"
                pointwise, rows = all(n == 1 for n in parameter.shape[2:]), 0
            elif node.op_type == "Gemm" and g.attribute(node, "transB", 0):
                rows = 0
            found.append(TwinLayer(node.name, weight, parameter, kind, pointwise, node.op_type, rows))
        return tuple(found)

    def _parameter(self, name: str):
        return getattr(self, self._slots[name]) if name in self._slots else None

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by what they are: "weights", "biases" (with those of norms), "norms" (their factors) and "steps".

        Only weights should decay. Steps are factors' logarithms: an Adam step of 0.001 changes a step by 0.1 %.
        """
        weights = {id(layer.parameter) for layer in self.layers}
        nodes = self._model.graph.node
        weights |= {id(self._parameter(n.input[1])) for n in nodes if n.op_type in ("ConvTranspose", *RECURRENT)}
        weights |= {id(self._parameter(n.input[2])) for n in nodes if n.op_type in RECURRENT}
        norms = {id(self._parameter(n.input[1])) for n in nodes if n.op_type in NORMS}
        found: dict[str, list[nn.Parameter]] = {"weights": [], "biases": [], "norms": [], "steps": []}
        steps = {id(p) for p in self.quantization.parameters()} if self.quantization else ()
        for p in self.parameters():
            kinds = (("weights", weights), ("norms", norms), ("steps", steps))
            found[next((kind for kind, ids in kinds if id(p) in ids), "biases")].append(p)
        return found

    # back to ONNX

    def onnx(self) -> onnx.ModelProto:
        """The model with the present weights, statistics and scales, masked weights exactly zero.

        Metadata stay, except the verdict of the last pass, which judged other weights.

        Raises
        ------
        ValueError
            If a weight is not finite; the message names it.
        """
        model = g.copied(self._model)
        if self.quantization:
            self.quantization.write(model, lambda name: self._finite(name))
        for tensor in model.graph.initializer:
            if tensor.name in self._slots and tensor.data_type in (
                TensorProto.FLOAT,
                TensorProto.FLOAT16,
                TensorProto.BFLOAT16,
            ):
                self._write(tensor)
        told = g.metadata(model)
        if told.pop(verdict.METADATA, None) is not None:  # it judges weights that have changed since
            helper.set_model_props(model, told)
        check(model)
        return model

    def _write(self, tensor: onnx.TensorProto) -> None:
        """Writes the present value of an initializer."""
        value = self._finite(tensor.name).numpy()
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(value + np.float32(0), tensor.name))  # no negative zeros
        elif isinstance(self._parameter(tensor.name), nn.Parameter):
            raw = value.astype(np.float16) if tensor.data_type == TensorProto.FLOAT16 else value
            tensor.CopyFrom(numpy_helper.from_array(raw, tensor.name))

    def _finite(self, name: str) -> Tensor:
        """The present value of an initializer, on the CPU."""
        value = self.value(name).detach().cpu().float()
        if not value.isfinite().all():
            raise ValueError(f"weight {name!r} is not finite: training has diverged")
        return value
