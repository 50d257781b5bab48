"""Measures how a change of a layer's weights changes the outputs of the whole model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..model import graph as g
from ..model.layers import Layer
from ..model.matrix import unmatrix
from .engine import runner

DRAWS = 4  # of random errors of all layers: their effect on one number alone is as random as they are
FAR = 8  # times the limit: what says that it is exceeded


class Probe:
    """The float model with exchangeable weights, and its outputs for a few samples."""

    def __init__(self, model: onnx.ModelProto, layers: list[Layer], samples: list[dict[str, np.ndarray]]):
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        nodes, names = {n.name: n for n in probe.graph.node}, g.Names(probe)
        self.inputs: dict[str, list[str]] = {}
        self.values: dict[str, np.ndarray] = {}
        for layer in layers:
            node, own = nodes[layer.node.name], []
            for kind, value in zip(("weight", "bias"), self._arrays(model, layer, layer.w, layer.bias)):
                own.append(names.fresh(f"{node.name}.{kind}.probed"))
                self.values[own[-1]] = value
                probe.graph.input.append(helper.make_tensor_value_info(own[-1], TensorProto.FLOAT, value.shape))
            node.input[:] = [node.input[0], *own]
            self.inputs[node.name] = own
            for a in node.attribute:
                if node.op_type == "Gemm" and a.name in ("alpha", "beta"):
                    a.f = 1.0
        floats = float_outputs(model)
        g.drop_unused(probe)
        self.model, self.samples = model, samples
        run = runner(probe)
        self.answer = lambda values, chosen: [run(floats, {**samples[i], **values}) for i in chosen]
        self.wanted = self.answer(self.values, range(len(samples)))
        outputs = [np.concatenate([x.ravel() for x in xs]).astype(float) for xs in zip(*self.wanted)]
        self._variances = [x.var() if x.size else 0.0 for x in outputs]

    @staticmethod
    def _arrays(model, layer: Layer, w: np.ndarray, bias: np.ndarray | None) -> list[np.ndarray]:
        """Weights and bias in the shapes that the node uses."""
        shape = g.constants(model)[layer.node.input[1]].dims
        arrays = [unmatrix(w, layer.node, shape)[0]]
        if layer.node.op_type != "MatMul":
            arrays.append(np.zeros(len(w)) if bias is None else bias)
        return [np.ascontiguousarray(a, np.float32) for a in arrays]

    def gain(self, layer: Layer, step: np.ndarray) -> float:
        """The factor from the expected squared error of the layer's outputs to that of the model's, relative to their variance.

        It is measured with random weight errors of up to half a `step` [n]: actual rounding errors are fitted to the
        calibration samples, on which they nearly vanish. The layers take turns with the samples, one each.
        """
        off = np.random.default_rng(0).uniform(-0.5, 0.5, layer.w.shape) * step[:, None]
        turn = list(self.inputs).index(layer.node.name) % len(self.samples)
        return self._relative([turn], self._moved(layer, off)) / max(expected(layer, step), 1e-300)

    def together(self, steps: list[tuple[Layer, np.ndarray]], limit: float, draws: int = DRAWS) -> float:
        """The squared error of the model's outputs, relative to their variance, if all those layers have random errors at once.

        Of each layer's weights, of up to half a step [n]. Errors of different layers add, so one run tells what `gain` tells in
        as many as there are layers, but for how it is shared. The mean of `draws`; of fewer, if the first are far above `limit`.
        """
        seen: list[float] = []
        while len(seen) < draws and sum(seen) <= FAR * limit:
            rng, values = np.random.default_rng(len(seen)), {}
            for layer, step in steps:
                off = rng.random(layer.w.shape, np.float32)
                off -= np.float32(0.5)
                off *= step[:, None].astype(np.float32)
                values |= self._moved(layer, off)
            seen.append(self._relative([len(seen) % len(self.samples)], values))
        return float(np.mean(seen))

    def _moved(self, layer: Layer, off: np.ndarray) -> dict[str, np.ndarray]:
        """The values with which `layer` has weights that are `off` [n,k], and a bias without their mean error."""
        shift = layer.shift(off)
        bias = layer.bias if shift is None else (0 if layer.bias is None else layer.bias) - shift
        return dict(zip(self.inputs[layer.node.name], self._arrays(self.model, layer, layer.w32 + off, bias)))

    def error(
        self, layer: Layer, w: np.ndarray, bias: np.ndarray | None, samples: Sequence[int] | None = None
    ) -> float:
        """The squared error of the model's outputs, relative to their variance, if `layer` has the weights `w` [n,k].

        On all samples, or on those of the indices `samples`.
        """
        arrays = self._arrays(self.model, layer, w, bias)
        samples = range(len(self.samples)) if samples is None else samples
        return self._relative(samples, dict(zip(self.inputs[layer.node.name], arrays)))

    def _relative(self, samples: Sequence[int], values: dict[str, np.ndarray]) -> float:
        """The squared error of the outputs for `samples`, relative to their variance, with other `values`."""
        got = self.answer(self.values | values, samples)
        total = 0.0
        for i, variance in enumerate(self._variances):
            off = [x[i].astype(float) - self.wanted[s][i] for s, x in zip(samples, got)]
            square, count = sum(np.vdot(x, x) for x in off), sum(x.size for x in off)
            total += square / count / max(variance, 1e-30) if count else 0.0
        return float(total)


def expected(layer: Layer, step: np.ndarray) -> float:
    """The expected squared error of the layer's outputs for independent errors of its weights of up to half a `step` [n]."""
    c = layer.covariance
    variances = (c.diagonal(axis1=1, axis2=2) if c.ndim == 3 else c).sum(1, dtype=float)
    return float(np.square(step.astype(float)).reshape(layer.groups, -1).sum(1) @ variances) / 12


def float_outputs(model: onnx.ModelProto) -> list[str]:
    """The outputs whose errors can be measured."""
    return [o.name for o in model.graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT]
