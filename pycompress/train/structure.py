"""Networks of another shape: separable convolutions in place of ordinary ones, multipliers, compound scaling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..compress.model import graph as g
from ..compress.model.prepare import check
from ..errors import ModelError
from ..zoo.builder import make_divisible


def separable(model: g.Model, layers: Sequence[str] | None = None, *, multiplier: int = 1) -> onnx.ModelProto:
    """Replace ordinary convolutions by depthwise ones followed by 1x1 convolutions.

    Both are initialised by least squares: for each input channel the kernels of all outputs, a matrix of outputs and
    cells, are approximated by one of rank `multiplier`. With as many as there are cells nothing changes but the cost.
    The network must be trained afterwards.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        It is not changed.
    layers : sequence of str, optional
        Names of Conv nodes; default: all with kernels larger than 1x1, without groups, but the first ones, where there
        is little to win.
    multiplier : int
        Depthwise channels per input channel.

    Returns
    -------
    onnx.ModelProto
        The nodes are called ``<node>/depthwise`` and ``<node>/pointwise``.

    Raises
    ------
    ValueError
        If `multiplier` is not positive, or a name is no such convolution; `ModelError`, a ValueError, if there is none.

    Examples
    --------
    >>> import pycompress
    >>> from pycompress.train.structure import separable
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> [n.name for n in separable(model, ["stem.conv"]).graph.node][:2]
    ['stem.conv/depthwise', 'stem.conv/pointwise']
    """
    if multiplier < 1:
        raise ValueError(f"multiplier: {multiplier} is not at least 1")
    model = g.copied(g.as_model(model))
    values = g.constants(model)
    able = {n.name: n for n in model.graph.node if _ordinary(n, values)}
    first, _ = g.ends(model, set(able))
    names = [n for n in able if n not in first] if layers is None else list(layers)
    if unknown := [n for n in names if n not in able]:
        raise ValueError(f"layers: {unknown[0]!r} is no convolution without groups whose kernel is larger than 1x1")
    if not names:
        raise ModelError("there is no ordinary convolution to make separable")
    for name in names:
        _split(model, able[name], multiplier)
    check(model)
    return model


def _ordinary(node: onnx.NodeProto, values) -> bool:
    if node.op_type != "Conv" or node.input[1] not in values or g.attribute(node, "group", 1) != 1:
        return False
    tensor = values[node.input[1]]
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4 and max(tensor.dims[2:]) > 1


def _split(model: onnx.ModelProto, node: onnx.NodeProto, multiplier: int) -> None:
    """Put two nodes in the place of `node`."""
    w = numpy_helper.to_array(g.constants(model)[node.input[1]]).astype(float)
    depthwise, pointwise = least_squares(w, multiplier)
    names = g.Names(model)
    made = [
        g.add_constant(model, names.fresh(f"{node.name}/{what}.weight"), x.astype(np.float32))
        for what, x in (("depthwise", depthwise), ("pointwise", pointwise))
    ]
    middle = names.fresh(f"{node.name}/depthwise.out")
    first = helper.make_node("Conv", [node.input[0], made[0]], [middle], f"{node.name}/depthwise", group=w.shape[1])
    first.attribute.extend(a for a in node.attribute if a.name != "group")
    rest = [middle, made[1], *node.input[2:]]
    second = helper.make_node("Conv", rest, list(node.output), f"{node.name}/pointwise", kernel_shape=[1, 1])
    nodes = [copy for n in model.graph.node for copy in ((first, second) if n.name == node.name else (n,))]
    g.set_nodes(model, nodes)
    g.drop_unused(model)


def least_squares(w: np.ndarray, multiplier: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The depthwise [c * m, 1, kh, kw] and pointwise [n, c * m, 1, 1] weights whose product is nearest to `w` [n, c, kh, kw].

    By the singular values of the matrix [n, kh * kw] of each input channel (Eckart and Young, 1936). Each filter shares
    the singular value evenly with its pointwise weights, so that both train at the same rate.

    Examples
    --------
    >>> w = np.einsum("nc,chw->nchw", np.ones((3, 2)), np.ones((2, 3, 3)))
    >>> depthwise, pointwise = least_squares(w)
    >>> bool(np.allclose(np.einsum("nc,chw->nchw", pointwise[:, :, 0, 0], depthwise[:, 0]), w))
    True
    """
    n, c, kh, kw = w.shape
    m = min(multiplier, kh * kw, n)
    u, s, v = np.linalg.svd(w.transpose(1, 0, 2, 3).reshape(c, n, -1), full_matrices=False)
    root = np.sqrt(s[:, :m])
    depthwise = (root[:, :, None] * v[:, :m]).reshape(c * m, 1, kh, kw)
    pointwise = (u[:, :, :m] * root[:, None]).transpose(1, 0, 2).reshape(n, c * m, 1, 1)
    return depthwise, pointwise


@dataclass(frozen=True)
class Compound:
    """Compound scaling (EfficientNet, Tan and Le, arXiv:1905.11946): depth, width and resolution grow together.

    Attributes
    ----------
    alpha, beta, gamma : float
        The factors on depth, width and resolution for each unit of `phi`; the work grows by
        ``alpha * beta**2 * gamma**2``, which is about 2 for the published ones.

    Examples
    --------
    >>> scaled = Compound()
    >>> scaled.layers(3, phi=1), scaled.channels(64, phi=1), scaled.resolution(28, phi=1, multiple=4)
    (4, 72, 32)
    """

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def work(self, phi: float = 1.0) -> float:
        """How many times the multiply-accumulates become."""
        return (self.alpha * self.beta**2 * self.gamma**2) ** phi

    def layers(self, count: int, phi: float) -> int:
        """The layers of a stage that had `count`; rounded up."""
        return math.ceil(round(count * self.alpha**phi, 6))

    def channels(self, count: int, phi: float) -> int:
        """The channels of a stage that had `count`: a multiple of 8."""
        return make_divisible(count * self.beta**phi)

    def resolution(self, size: int, phi: float, multiple: int = 1) -> int:
        """Height and width of images that had `size`: the nearest multiple of `multiple`."""
        return max(round(size * self.gamma**phi / multiple), 1) * multiple

    @staticmethod
    def candidates(work: float = 2.0, step: float = 0.1, tolerance: float = 0.1) -> list[Compound]:
        """The factors of a grid whose work is `work`, within `tolerance`: train each, and keep the best.

        Examples
        --------
        >>> all(abs(c.work() - 2) <= 0.2 for c in Compound.candidates())
        True
        """
        grid = [1 + step * i for i in range(int((work - 1) / step) + 1)]
        found = [Compound(round(a, 6), round(b, 6), round(c, 6)) for a in grid for b in grid for c in grid]
        return [x for x in found if abs(x.work() - work) <= tolerance * work]


def fresh(model: g.Model, seed: int = 0) -> onnx.ModelProto:
    """`model` with the weights that training begins with.

    Convolutions are Gaussian with variance 2 / (outputs * cells / groups), matrices uniform with variance
    1 / (3 * inputs) (He et al., arXiv:1502.01852); biases are 0; batch norm begins as the identity.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        It is not changed.
    seed : int

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ModelError
        If the model is invalid.

    Examples
    --------
    >>> import pycompress
    >>> from pycompress.train.structure import fresh
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> fresh(model, 1) == fresh(model, 2)
    False
    """
    model = g.copied(g.as_model(model))
    values, random, done = g.constants(model), np.random.default_rng(seed), set()
    for node in model.graph.node:
        for name, x in _beginnings(node, values, random):
            if name not in done:
                values[name].CopyFrom(numpy_helper.from_array(x.astype(np.float32), name))
                done.add(name)
    return model


def _beginnings(node: onnx.NodeProto, values, random: np.random.Generator):
    """(initializer, value) of the weights of `node`."""
    names = [n if n in values and values[n].data_type == TensorProto.FLOAT else "" for n in node.input]
    shapes = [tuple(values[n].dims) if n else () for n in names]
    if node.op_type == "BatchNormalization":
        yield from ((n, np.full(s, x)) for n, s, x in zip(names[1:], shapes[1:], (1.0, 0.0, 0.0, 1.0)) if n)
    elif node.op_type == "Conv" and names[1]:
        out = shapes[1][0] * np.prod(shapes[1][2:]) / g.attribute(node, "group", 1)
        yield names[1], random.standard_normal(shapes[1]) * np.sqrt(2 / out)
    elif node.op_type in ("Gemm", "MatMul") and names[1]:
        reach = shapes[1][1 if g.attribute(node, "transB", 0) else 0] ** -0.5
        yield names[1], random.uniform(-reach, reach, shapes[1])
    if node.op_type in ("Conv", "Gemm") and len(names) > 2 and names[2]:
        yield names[2], np.zeros(shapes[2])
