"""Evaluates a quantized network with the engine's integer arithmetic: the same codes, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import torch
from onnx import TensorProto
from torch import Tensor

from .. import native
from ..compress.model import graph as g
from ..compress.model.prepare import quantize_constants, readable
from ..formats.onnx_model import to_array
from ..lower.activation import GELU, UNARY, WITH_PARAMETERS
from ..lower.context import ACT
from .integers import Coded, Grid, Lazy, Mean, Pair, bounded
from .operators import OPERATORS, VALUE_INPUTS, attributes_of, numbers
from .products import Constant, product
from .quantized import CODES, WEIGHTED
from .twin import Twin

REARRANGES = ("Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity", "Dropout")
BITS = {TensorProto.UINT4: 4, TensorProto.INT4: 4, TensorProto.INT32: 32}


class Exact:
    """A quantized network that computes what the engine computes: integer codes, int32 sums, its rounding.

    All tensors that are rounded to 8 bits by integer kernels have the same codes as in `pycompress.InferenceSession`.
    What the file leaves in float is computed in float32 by torch, and agrees up to rounding.

    Parameters
    ----------
    model : Twin, path, bytes or onnx.ModelProto

    Attributes
    ----------
    codes : tuple of str
        The tensors of 8-bit codes, in order.

    Raises
    ------
    NotImplementedError
        If there is an operator that `Twin` does not support; the message names node and operator.
    ValueError
        If the model has more than one input.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> from pycompress.train import Exact
    >>> x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> model = pycompress.quantize(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, batch=None, classes=4), x)
    >>> logits = Exact(model)(x)
    >>> engine = pycompress.InferenceSession(model).run(None, {"input": x})[0]
    >>> bool((logits.numpy() == engine).all())
    True
    """

    def __init__(self, model: Twin | g.Model):
        model = readable(model.onnx() if isinstance(model, Twin) else g.as_model(model))
        quantize_constants(model)
        inputs = [i.name for i in g.graph_inputs(model)]
        if len(inputs) != 1:
            raise ValueError(f"exact evaluation needs a model with one input; this one has {len(inputs)}")
        self.input, self.output = inputs[0], model.graph.output[0].name
        self._nodes = list(model.graph.node)
        self._tensors = g.constants(model)
        self._attributes = {n.name: attributes_of(n) for n in self._nodes if n.op_type != "QuantizeLinear"}
        readers, out = g.consumers(model), g.outputs(model)
        self._alone = {name for name, nodes in readers.items() if len(nodes) == 1 and name not in out}
        self._last = {name: node.name for node in self._nodes for name in g.inputs_of(node)}
        self._constants: dict[str, object] = {}
        self.codes = tuple(n.output[0] for n in self._nodes if n.op_type == "QuantizeLinear")

    @torch.no_grad()
    def __call__(self, x, keep: Sequence[str] = ()) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """The first output for the batch `x`, float32; with `keep` also a dict of these tensors, codes as int32.

        Raises
        ------
        KeyError
            If `keep` names a tensor that the model does not have.
        """
        known: dict[str, object] = {self.input: torch.as_tensor(x, dtype=torch.float32)}
        for node in self._nodes:
            if node.op_type == "Reshape":
                self._attributes[node.name]["images"] = len(x)
        kept: dict[str, Tensor] = {}
        for node in self._nodes:
            made = self._evaluate(node, known)
            for name, value in zip(node.output, made if isinstance(made, tuple) else (made,)):
                known[name] = value
                if name in keep:
                    kept[name] = value if isinstance(value, Tensor) else value.real()
            for name in g.inputs_of(node):
                if self._last[name] == node.name and name != self.output:
                    known.pop(name, None)
        if missing := set(keep) - set(kept):
            raise KeyError(f"keep: the model has no tensor {min(missing)!r}")
        answer = _real(known[self.output])
        return (answer, kept) if keep else answer

    # nodes

    def _evaluate(self, node: onnx.NodeProto, known: dict):
        if node.op_type == "QuantizeLinear":
            return self._quantized(node, known)
        if node.op_type == "DequantizeLinear":
            return self._dequantized(node, known)
        given = [self._given(known, name) if name else None for name in node.input]
        for rule in (self._product, self._clip, self._function, self._pair, self._average, self._rearranged):
            made = rule(node, given)
            if made is not None:
                return made
        for i in VALUE_INPUTS.get(node.op_type, ()):
            if i < len(given) and node.input[i] in self._tensors:
                given[i] = numbers(given[i])
        return OPERATORS[node.op_type](*(_real(v) for v in given), **self._attributes[node.name])

    def _given(self, known: dict, name: str):
        if name in known:
            return known[name]
        if name not in self._constants:
            self._constants[name] = torch.from_numpy(np.array(to_array(self._tensors[name])))
        return self._constants[name]

    def _grid(self, node: onnx.NodeProto) -> Grid:
        where = f"node {node.name!r} ({node.op_type})"
        scale, zero = (self._tensors.get(n) for n in [*node.input[1:3], ""][:2])
        kind = zero.data_type if zero is not None else TensorProto.UINT8
        if scale is None or to_array(scale).size != 1 or kind not in (TensorProto.UINT8, TensorProto.INT8):
            raise NotImplementedError(f"{where}: exact evaluation supports one constant scale per tensor, and 8 bits")
        at = 0 if zero is None else int(to_array(zero).reshape(()))
        return Grid(np.float32(to_array(scale).reshape(())), at, *CODES[kind])

    def _quantized(self, node: onnx.NodeProto, known: dict) -> Tensor:
        value, grid = self._given(known, node.input[0]), self._grid(node)
        if isinstance(value, Coded) or isinstance(value, Lazy) and node.input[0] in self._alone:
            return value.on(grid)
        return grid.quantize(_real(value))

    def _dequantized(self, node: onnx.NodeProto, known: dict):
        name = node.input[0]
        if name not in self._tensors:
            return Coded(known[name], self._grid(node))
        if node.name not in self._constants:
            self._constants[node.name] = self._constant(node)
        return self._constants[node.name]

    def _constant(self, node: onnx.NodeProto) -> Constant | Coded:
        tensor = self._tensors[node.input[0]]
        codes, axis = to_array(tensor).astype(np.int64), g.attribute(node, "axis", 1)
        scale = to_array(self._tensors[node.input[1]]).astype(np.float32).astype(np.float64)
        zero = (
            to_array(self._tensors[node.input[2]]).astype(np.float64) if len(node.input) > 2 else np.zeros(scale.shape)
        )
        block, axis = g.attribute(node, "block_size", 0), axis % max(codes.ndim, 1)
        if not block:
            shape = [-1 if i == axis and scale.size > 1 else 1 for i in range(codes.ndim)]
            scale, zero = scale.reshape(shape), zero.reshape(shape)
        return Constant(codes, scale, zero, axis, block, BITS.get(tensor.data_type, 8))

    def _product(self, node: onnx.NodeProto, given: list):
        if node.op_type not in WEIGHTED or not _plain(given[0]) or not isinstance(given[1], Constant):
            return None
        x, w, bias = given[0], given[1], given[2] if len(given) > 2 else None
        how = self._attributes[node.name]
        if node.op_type == "Conv":
            one = all(n == 1 for n in (*w.codes.shape[2:], *how.get("strides", ()), how.get("group", 1)))
            one &= not any(how.get("pads", ()))
            return product(x, w, bias, 0, lambda a, b: OPERATORS["Conv"](a, b, None, **how), one, 1)
        rows = 0 if how.get("transB", 0) else 1
        if w.codes.ndim != 2 or how.get("transA", 0) or how.get("alpha", 1.0) != 1 or how.get("beta", 1.0) != 1:
            return None
        return product(x, w, bias, rows, lambda a, b: a @ (b if rows else b.T), True, -1)

    def _clip(self, node: onnx.NodeProto, given: list):
        if node.op_type not in ("Relu", "Clip") or not isinstance(given[0], Lazy) or node.input[0] not in self._alone:
            return None
        return bounded(given[0], *_bounds(node, given))

    def _function(self, node: onnx.NodeProto, given: list):
        """A function of one 8-bit tensor: a table, by the engine's scalar kernel."""
        code = _code(node, given) if isinstance(given[0], Coded) else None
        if code is None:
            return None
        values, out = given[0].values().numpy(), np.empty((1, 256), np.float32)
        native.unary(values.reshape(1, -1).copy(), code[0], np.array(code[1], np.float32), out, isa="scalar")
        return replace(given[0], table=torch.from_numpy(out[0]))

    def _pair(self, node: onnx.NodeProto, given: list):
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or not any(isinstance(v, Coded) for v in given):
            return None
        a, b = (_coded(v) for v in given)
        if _plain(a) and _plain(b) and node.op_type != "Div":
            return Pair(node.op_type, a, b)
        coded = [v for v in (a, b) if isinstance(v, Coded)]
        same = len(coded) == 2 and coded[0].codes is coded[1].codes
        scalar = len(coded) == 1 and all(v.numel() == 1 for v in (a, b) if isinstance(v, Tensor))
        if not same and not scalar:
            return None
        a, b = (v.values() if isinstance(v, Coded) else v.reshape(()) if isinstance(v, Tensor) else v for v in (a, b))
        if not all(isinstance(v, Tensor) for v in (a, b)):
            return None
        return replace(coded[0], table=OPERATORS[node.op_type](a, b))

    def _average(self, node: onnx.NodeProto, given: list):
        if node.op_type not in ("GlobalAveragePool", "ReduceMean", "AveragePool") or not _plain(given[0]):
            return None
        x, how = given[0], self._attributes[node.name]
        centred = (x.codes - x.grid.zero).double()
        rest = [numbers(v) for v in given[1:] if v is not None]
        mean = OPERATORS[node.op_type](centred, *rest, **how)
        if node.op_type != "AveragePool":
            count = torch.tensor(float(centred.numel() // max(mean.numel(), 1)))
        else:
            inside = how | {"count_include_pad": 1, "ceil_mode": 0}
            if how.get("ceil_mode", 0):
                return None
            cells = float(np.prod(how["kernel_shape"]))
            share = OPERATORS["AveragePool"](torch.ones_like(centred[:1, :1]), **inside)
            count = torch.full_like(share, cells) if how.get("count_include_pad", 0) else (share * cells).round()
        return Mean((mean * count.double()).round().to(torch.int32), count.float(), x.grid.scale)

    def _rearranged(self, node: onnx.NodeProto, given: list):
        how = self._attributes[node.name]
        if node.op_type == "Concat" and all(_plain(v) and v.grid == given[0].grid for v in given):
            return replace(given[0], codes=torch.cat([v.codes for v in given], how["axis"]))
        x = given[0] if given else None
        if node.op_type == "MaxPool" and _plain(x):
            return x.map(lambda v: OPERATORS["MaxPool"](v.float(), **how).to(torch.int32))
        movable = isinstance(x, Coded) or (isinstance(x, Lazy) and hasattr(x, "map") and node.input[0] in self._alone)
        if not movable or node.op_type not in (*REARRANGES, "Split"):
            return None
        rest = [v if v is None else numbers(v) for v in given[1:]]
        if node.op_type == "Split":
            parts = OPERATORS["Split"](x.codes, *rest, **how) if isinstance(x, Coded) else None
            return None if parts is None else tuple(replace(x, codes=part) for part in parts)
        return x.map(lambda v: OPERATORS[node.op_type](v, *rest, **how))


def exact(model: Twin | g.Model, x, keep: Sequence[str] = ()) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """Evaluate a quantized network on one batch with the engine's integer arithmetic: `Exact(model)(x, keep)`.

    Parameters
    ----------
    model : Twin, path, bytes or onnx.ModelProto
    x : array or tensor
        The batch, float32.
    keep : sequence of str
        Names of tensors to return, too.

    Returns
    -------
    The first output, float32; with `keep` also a dict of tensors by name, codes as int32.

    Raises
    ------
    NotImplementedError
        If there is an operator that `Twin` does not support; the message names node and operator.
    KeyError
        If `keep` names a tensor that the model does not have.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> from pycompress.train import exact
    >>> x = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> model = pycompress.quantize(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, batch=None, classes=4), x)
    >>> logits, kept = exact(model, x, keep=["input.u8"])
    >>> kept["input.u8"].dtype
    torch.int32
    """
    return Exact(model)(x, keep)


def _real(value):
    """A value as a float tensor, if it is one of ours; codes as numbers."""
    return value.real() if isinstance(value, (Coded, Constant, *Lazy)) else value


def _plain(value) -> bool:
    """Whether `value` is dequantized, and no function was applied to it."""
    return isinstance(value, Coded) and value.table is None


def _coded(value):
    """A constant of 8 bits with one scale as a tensor like those that are computed."""
    if not isinstance(value, Constant) or value.bits != 8 or value.block or value.scale.size != 1:
        return value
    low = -128 if value.codes.min(initial=0) < 0 else 0
    grid = Grid(np.float32(value.scale.reshape(())), int(value.zero.reshape(())), low, low + 255)
    return Coded(torch.from_numpy(value.codes).to(torch.int32), grid)


def _bounds(node: onnx.NodeProto, given: list) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, np.inf
    ends = [given[i] if i < len(given) else None for i in (1, 2)]
    return tuple(default if v is None else float(v) for v, default in zip(ends, (-np.inf, np.inf)))


def _code(node: onnx.NodeProto, given: list) -> tuple[int, list[float]] | None:
    """(the number of a function of one tensor in the engine's kernel, its parameters)."""
    if node.op_type == "Clip":
        return ACT["clip"], list(_bounds(node, given))
    if node.op_type == "Gelu":
        return GELU[(g.attribute(node, "approximate", b"none") or b"none").decode()], [0.0, 0.0]
    if node.op_type in UNARY:
        return UNARY[node.op_type], [0.0, 0.0]
    if node.op_type not in WITH_PARAMETERS:
        return None
    op, names = WITH_PARAMETERS[node.op_type]
    params = [float(g.attribute(node, name, default)) for name, default in names]
    if node.op_type == "Swish" and params[0] == 1:
        op = ACT["silu"]
    return op, (params + [0.0])[:2]
