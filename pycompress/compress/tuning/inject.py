"""Measures how a change of one tensor or one layer reaches the outputs, by running only the nodes after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...compiler import compile as planned
from ...errors import ModelError
from ...session import InferenceSession
from ..calibration.engine import runner
from ..calibration.observe import up_to
from ..model import graph as g

BYTES = 256e6  # of activations that are kept; it limits the number of samples

Feed = dict[str, np.ndarray]


class Injector:
    """A float model, its activations for a few samples, and its outputs if one of the activations is another.

    Attributes
    ----------
    values : for each sample, the tensors by name
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        ends: Sequence[str],
        tensors: Sequence[str],
        samples: Sequence[Feed],
        centered: bool = False,
    ):
        """Runs the model.

        ends : the tensors by which errors are measured
        tensors : those that will be replaced or read
        centered : the signal is the variance of the outputs, not their energy

        Raises `ModelError` if one of `ends` is infinite or not a number.
        """
        self.model, self.ends = model, list(ends)
        self._rests: dict[str, tuple] = {}
        given = {i.name for i in model.graph.input}
        inner = [t for t in dict.fromkeys([*tensors, *ends, *self._sides(tensors)]) if t not in given]
        run = runner(up_to(model, inner))
        self.values: list[Feed] = []
        for sample in samples:
            self.values.append({**sample, **dict(zip(inner, run(inner, sample)))})
            kept = sum(x.nbytes for x in self.values[-1].values())
            if kept * (len(self.values) + 1) > BYTES:
                break
        for end in self.ends:
            if not all(np.isfinite(values[end]).all() for values in self.values):
                raise ModelError(
                    f"tensor {end!r} is not finite on the calibration samples: errors cannot be measured by it"
                )
        self.signal = [max(self._energy_of(e, centered), 1e-30) for e in self.ends]

    def error(self, tensor: str, replaced: Sequence[np.ndarray], others: Sequence[Feed] | None = None) -> float:
        """Noise over signal, added over the outputs, if `tensor` has the values `replaced`, one array for each sample.

        others : for each sample, where other tensors have other values, too
        """
        given = zip(replaced, others or self.values)
        return self.difference([self.outputs(tensor, x, own) for x, own in given])

    def difference(self, answers: Sequence[Sequence[np.ndarray]]) -> float:
        """Noise over signal, added over the outputs; `answers` are the outputs for each sample."""
        noise = np.zeros(len(self.ends))
        for got, right in zip(answers, self.values):
            noise += [_energy(y.astype(float) - right[end]) for y, end in zip(got, self.ends)]
        return float(sum(n / s for n, s in zip(noise, self.signal)))

    def replaceable(self) -> list[str]:
        """The float tensors whose values are known."""
        return [name for name, x in self.values[0].items() if x.dtype == np.float32]

    def _energy_of(self, end: str, centered: bool) -> float:
        parts = np.concatenate([v[end].astype(float).ravel() for v in self.values])
        return _energy(parts - parts.mean() if centered and parts.size else parts)

    def outputs(self, tensor: str, replaced: np.ndarray, others: Feed) -> list[np.ndarray]:
        """The outputs for one sample, with all other tensors from `others`."""
        run, names = self._rest(tensor)
        return run({tensor: replaced, **{n: others[n] for n in names}})

    def _rest(self, tensor: str):
        """A function that runs what depends on `tensor`, and the names of the other tensors that it reads."""
        if tensor not in self._rests:
            self._rests.clear()  # each holds packed weights, and callers go through the network in order
            nodes, names = after(self.model, tensor)
            made = {o for n in nodes for o in n.output}
            wanted = [e for e in self.ends if e in made]
            fixed = [e for e in self.ends if e not in made and e != tensor]
            inputs = [tensor, *names]
            run = _session(self.model, nodes, inputs, wanted, self.values[0]) if wanted else None

            def rest(feed: Feed) -> list[np.ndarray]:
                got = dict(zip(wanted, run(feed))) if run else {}
                return [feed[e] if e == tensor or e in fixed else got[e] for e in self.ends]

            self._rests[tensor] = rest, [*names, *(e for e in fixed if e not in names)]
        return self._rests[tensor]

    def _sides(self, tensors: Sequence[str]) -> list[str]:
        return [name for t in tensors for name in after(self.model, t)[1]]


def after(model: onnx.ModelProto, tensor: str) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that depend on `tensor`, and the other activations that they read."""
    constant = set(g.constants(model)) | _constant_outputs(model)
    reached, nodes = {tensor}, []
    for node in model.graph.node:
        if reached & set(g.inputs_of(node)):
            nodes.append(node)
            reached |= set(node.output)
    read = dict.fromkeys(n for node in nodes for n in g.inputs_of(node))
    return nodes, [n for n in read if n not in reached and n not in constant]


def _constant_outputs(model: onnx.ModelProto) -> set[str]:
    return {o for n in model.graph.node if n.op_type == "Constant" for o in n.output}


class Section:
    """A layer of a compressed model, run by itself: from the tensor `x` of the float model to the tensor `output`."""

    def __init__(self, model: onnx.ModelProto, x: str, output: str, float_products: str = "float32"):
        makers, constant = g.producers(model), set(g.constants(model))
        wanted, nodes, self.input = {output}, [], x
        for node in reversed(model.graph.node):
            if not wanted & set(node.output):
                continue
            if self._rounds(node, x, makers):  # the rounding of `x` counts by itself
                self.input = node.output[0]
                continue
            nodes.append(node)
            wanted |= {n for n in g.inputs_of(node) if n != x and n not in constant}
        self.part = _model(model, nodes[::-1], [self.input], [output], {})
        self.products = float_products

    @staticmethod
    def _rounds(node: onnx.NodeProto, x: str, makers: Mapping[str, onnx.NodeProto]) -> bool:
        if node.op_type != "DequantizeLinear":
            return False
        before = makers.get(node.input[0])
        return before is not None and before.op_type == "QuantizeLinear" and before.input[0] == x

    def run(self, xs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs for each input of `xs`."""
        shapes = {self.input: xs[0].shape}
        plan = planned(self.part, input_shapes=shapes, sparse=False, float_products=self.products)
        session = InferenceSession(plan)
        return [session.run(None, {self.input: x})[0] for x in xs]


def _session(model: onnx.ModelProto, nodes, inputs: list[str], outputs: list[str], values: Mapping[str, np.ndarray]):
    part = _model(model, nodes, inputs, outputs, values)
    run = runner(part)
    return lambda feed: run(outputs, {n: feed[n] for n in inputs})


def _model(model: onnx.ModelProto, nodes, inputs: list[str], outputs: list[str], values) -> onnx.ModelProto:
    """The model of `nodes` alone."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    for name in inputs:
        shape = values[name].shape if name in values else None
        kind = helper.np_dtype_to_tensor_dtype(values[name].dtype) if name in values else TensorProto.FLOAT
        part.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    part.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs)
    constants = [n for n in model.graph.node if n.op_type == "Constant"]
    g.set_nodes(part, [*constants, *nodes])
    g.drop_unused(part)
    return part


def _energy(x: np.ndarray) -> float:
    x = np.asarray(x, np.float64).ravel()
    return float(x @ x)
