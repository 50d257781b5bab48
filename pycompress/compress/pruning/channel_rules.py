"""How each operator handles channels: its rule passes ids on, unites, consumes or creates them.

A rule raises `Pin` if it does not understand its node.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
import onnx

from ..model import graph as g
from .channel_graph import Dependencies, Edge, Label, Pin

RULES = {}
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def follow(model: onnx.ModelProto, exclude: Iterable[str] = ()) -> Dependencies:
    """The coupled channels of `model`, whose constants are initializers; channels that the nodes `exclude` make stay."""
    deps = Dependencies(model)
    for node in model.graph.node:
        known = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        try:
            if known is None:
                raise Pin("not an operator whose channels can be followed")
            known(deps, node)
        except Pin as pin:
            why = f"{_name(node)}: {pin}"
            if node.op_type in WEIGHTED:
                deps.refused[node.name] = str(pin)
            for name in [*g.inputs_of(node), *node.output]:
                deps.fix(name, why)
        for name in g.inputs_of(node):
            if name in deps.constants and deps.uses.get(name, [(None, None)])[-1][1] != _name(node):
                deps.fix(name, _name(node))
    deps.finish(exclude)
    return deps


def rule(*operators):
    def register(function):
        RULES.update(dict.fromkeys(operators, function))
        return function

    return register


@rule("Conv")
def _conv(deps: Dependencies, node: onnx.NodeProto) -> None:
    outputs, inner = deps.weight(node)[:2]
    groups = g.attribute(node, "group", 1)
    given = deps.label(node.input[0], 1)
    if groups == 1:
        out = deps.fresh(outputs)
        _product(deps, node, 1, given, 1, out, 0)
    elif inner == 1 and outputs % groups == 0:
        each = outputs // groups
        given = _fixed(deps, groups) if given is None else given
        out = np.repeat(given, each)
        deps.use(node.input[1], {0: out}, _name(node))
        deps.counts.append((node, "group", given))
        deps.make(node, 1, out, 0)
    else:
        raise Pin("grouped, but not depthwise")
    _bias(deps, node, out)


@rule("ConvTranspose")
def _conv_transpose(deps: Dependencies, node: onnx.NodeProto) -> None:
    out = deps.fresh(deps.weight(node)[1])
    if g.attribute(node, "group", 1) != 1:
        raise Pin("grouped")
    _product(deps, node, 1, deps.label(node.input[0], 1), 0, out, 1)
    _bias(deps, node, out)


@rule("Gemm")
def _gemm(deps: Dependencies, node: onnx.NodeProto) -> None:
    n_axis, k_axis = (0, 1) if g.attribute(node, "transB", 0) else (1, 0)
    if g.attribute(node, "transA", 0):
        raise Pin("transA")
    out = deps.fresh(deps.weight(node)[n_axis])
    _product(deps, node, 1, deps.label(node.input[0], 1), k_axis, out, n_axis)
    _bias(deps, node, out)


@rule("MatMul")
def _matmul(deps: Dependencies, node: onnx.NodeProto) -> None:
    if len(deps.weight(node)) != 2:
        raise Pin("its weights are no matrix")
    rank = deps.rank(node.input[0])
    out = deps.fresh(deps.weight(node)[1])
    _product(deps, node, rank - 1, deps.label(node.input[0], rank - 1), 0, out, 1)


def _product(deps, node, axis: int, given, k_axis: int, out, n_axis: int) -> None:
    """Rule for products: `node` reads channels `given` (if tracked) with axis `k_axis` of its weights, makes `out` with `n_axis`."""
    axes = {n_axis: out} if given is None else {n_axis: out, k_axis: given}
    deps.use(node.input[1], axes, _name(node))
    if given is not None:
        deps.readers.append(Edge(node, node.input[1], k_axis, given))
    deps.make(node, axis, out, n_axis)


def _bias(deps: Dependencies, node: onnx.NodeProto, out: np.ndarray) -> None:
    if len(node.input) < 3 or not node.input[2]:
        return
    if node.input[2] not in deps.constants:
        raise Pin("its bias is not constant")
    shape = deps.constants[node.input[2]].dims
    if prod(shape) == 1:
        deps.use(node.input[2], {}, _name(node))
    elif prod(shape) == shape[-1]:
        deps.use(node.input[2], {len(shape) - 1: out}, _name(node))
    else:
        raise Pin("its bias differs by row")


def _fixed(deps: Dependencies, count: int) -> np.ndarray:
    """Pinned ids for channels of which nothing is known."""
    ids = deps.fresh(count)
    deps.pin(ids, "made by what is not understood")
    return ids


def _name(node: onnx.NodeProto) -> str:
    return f"node {node.name!r} ({node.op_type})"


@rule("BatchNormalization", "InstanceNormalization")
def _normalization(deps: Dependencies, node: onnx.NodeProto) -> None:
    ids = deps.label(node.input[0], 1)
    if g.attribute(node, "training_mode", 0) or any(n not in deps.constants for n in node.input[1:]):
        raise Pin("its parameters are not constant")
    for name in node.input[1:]:
        deps.use(name, {} if ids is None else {0: ids}, _name(node))
    if ids is not None:
        deps.labels[node.output[0]] = Label(1, ids)


@rule(
    *"""Relu LeakyRelu Clip Sigmoid HardSigmoid HardSwish Tanh Elu Selu Celu Gelu Mish Softplus Softsign
    ThresholdedRelu Erf Exp Log Sqrt Reciprocal Abs Neg Sign Floor Ceil Round Not Identity Cast Dropout""".split()
)
def _unary(deps: Dependencies, node: onnx.NodeProto) -> None:
    for name in node.input[1:]:
        if name in deps.labels or (name in deps.constants and prod(deps.constants[name].dims) != 1):
            raise Pin(f"{name!r} is no scalar")
    found = deps.labels.get(node.input[0])
    for name in node.output if found else ():
        deps.labels[name] = found


@rule(*"Add Sub Mul Div Pow Min Max Sum Mean PRelu Where Equal Less Greater And Or".split())
def _elementwise(deps: Dependencies, node: onnx.NodeProto) -> None:
    rank = max(deps.rank(n) for n in node.input)
    tracked = [deps.labels[n] for n in node.input if n in deps.labels]
    back = {deps.labels[n].axis - deps.rank(n) for n in node.input if n in deps.labels}
    if not tracked:
        raise Pin("none of its inputs is tracked")
    if len(back) > 1:
        raise Pin("its inputs have their channels on different axes")
    back = back.pop()  # the axis, counted from the end
    ids = max((t.ids for t in tracked), key=len)
    for name in node.input:
        own = deps.rank(name) + back
        size = deps.dims[name][own] if own >= 0 else 1
        if name in deps.labels:
            if len(deps.labels[name].ids) == len(ids):
                deps.unite(ids, deps.labels[name].ids)
        elif size not in (1, len(ids)) or (size != 1 and name not in deps.constants):
            raise Pin(f"{name!r} has channels that cannot be followed")
        elif name in deps.constants:
            deps.use(name, {own: ids} if size != 1 else {}, _name(node))
    deps.labels[node.output[0]] = Label(rank + back, ids)


@rule("Concat")
def _concat(deps: Dependencies, node: onnx.NodeProto) -> None:
    axes = {deps.labels[n].axis for n in node.input if n in deps.labels}
    if len(axes) != 1:
        raise Pin("its inputs have their channels on different axes" if axes else "none of its inputs is tracked")
    axis = axes.pop()
    if g.attribute(node, "axis") % deps.rank(node.input[0]) == axis:
        parts = []
        for name in node.input:
            if name in deps.labels:
                parts.append(deps.labels[name].ids)
            elif isinstance(deps.dims[name][axis], int):
                parts.append(_fixed(deps, deps.dims[name][axis]))
                deps.fix(name, _name(node))
            else:
                raise Pin(f"the number of channels of {name!r} is not known")
        ids = np.concatenate(parts)
    else:
        ids = next(deps.labels[n].ids for n in node.input if n in deps.labels)
        for name in node.input:
            if name in deps.labels:
                deps.unite(ids, deps.labels[name].ids)
            elif name in deps.constants:
                deps.use(name, {axis: ids}, _name(node))
            else:
                raise Pin(f"{name!r} has channels that cannot be followed")
    deps.labels[node.output[0]] = Label(axis, ids)


@rule("GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "LpPool", "GlobalLpPool")
def _pool(deps: Dependencies, node: onnx.NodeProto) -> None:
    if len([o for o in node.output if o]) > 1:
        raise Pin("it gives indices")
    _keep(deps, node, deps.label(node.input[0], 1), 1)


def _keep(deps: Dependencies, node: onnx.NodeProto, ids: np.ndarray | None, axis: int) -> None:
    if ids is not None:
        deps.labels[node.output[0]] = Label(axis, ids)


def _tracked(deps: Dependencies, node: onnx.NodeProto) -> Label:
    """The label of input 0."""
    if node.input[0] not in deps.labels:
        raise Pin("its input is not tracked")
    return deps.labels[node.input[0]]


def _axes(deps: Dependencies, node: onnx.NodeProto, index: int, rank: int) -> list[int] | None:
    """The axes, from input `index` or an attribute, counted from the front; None if not given."""
    given = len(node.input) > index and node.input[index]
    axes = deps.value(node.input[index]).reshape(-1).tolist() if given else g.attribute(node, "axes")
    return None if axes is None else [a % rank for a in axes]


@rule(*(f"Reduce{k}" for k in "Mean Sum Max Min L1 L2 Prod SumSquare LogSum LogSumExp".split()))
def _reduce(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, rank = _tracked(deps, node), deps.rank(node.input[0])
    axes = _axes(deps, node, 1, rank)
    axes = list(range(rank)) if axes is None else axes
    if x.axis in axes:
        raise Pin("it reduces over channels")
    _keep(deps, node, x.ids, x.axis if g.attribute(node, "keepdims", 1) else x.axis - sum(a < x.axis for a in axes))


@rule("Squeeze", "Unsqueeze")
def _squeeze(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, rank, out = _tracked(deps, node), deps.rank(node.input[0]), deps.rank(node.output[0])
    axes = _axes(deps, node, 1, max(rank, out))
    axes = [i for i, d in enumerate(deps.dims[node.input[0]]) if d == 1] if axes is None else axes
    if node.op_type == "Squeeze":
        _keep(deps, node, x.ids, x.axis - sum(a < x.axis for a in axes))
    else:
        _keep(deps, node, x.ids, [i for i in range(out) if i not in axes][x.axis])


@rule("Transpose")
def _transpose(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, rank = _tracked(deps, node), deps.rank(node.input[0])
    perm = g.attribute(node, "perm", list(range(rank))[::-1])
    _keep(deps, node, x.ids, list(perm).index(x.axis))


@rule("Softmax", "LogSoftmax")
def _softmax(deps: Dependencies, node: onnx.NodeProto) -> None:
    x = _tracked(deps, node)
    if g.attribute(node, "axis", -1) % deps.rank(node.input[0]) == x.axis:
        raise Pin("it mixes channels")
    _keep(deps, node, x.ids, x.axis)


@rule("Pad")
def _pad(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, rank = _tracked(deps, node), deps.rank(node.input[0])
    pads = deps.value(node.input[1]).tolist()
    axes = _axes(deps, node, 3, rank) or list(range(rank))
    if any(pads[i] or pads[i + len(axes)] for i, a in enumerate(axes) if a == x.axis):
        raise Pin("it pads channels")
    _keep(deps, node, x.ids, x.axis)


@rule("Resize")
def _resize(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, rank = _tracked(deps, node), deps.rank(node.input[0])
    axes = g.attribute(node, "axes") or list(range(rank))
    if len(node.input) > 3 and node.input[3] and x.axis in [a % rank for a in axes]:
        raise Pin("its sizes count channels")
    if len(node.input) > 2 and node.input[2]:
        scales = deps.value(node.input[2]).tolist()
        if any(s != 1 for s, a in zip(scales, axes) if a % rank == x.axis):
            raise Pin("it scales channels")
    if g.attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize":
        raise Pin("it crops")
    _keep(deps, node, x.ids, x.axis)


@rule("Flatten")
def _flatten(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, dims = _tracked(deps, node), deps.dims[node.input[0]]
    first = g.attribute(node, "axis", 1) % (len(dims) + 1)
    inner = dims[x.axis + 1 :]
    if x.axis < first or dims[first : x.axis] != [1] * (x.axis - first) or not all(isinstance(d, int) for d in inner):
        raise Pin("channels do not stay together")
    _keep(deps, node, np.repeat(x.ids, prod(inner)), 1)


@rule("Shape")
def _shape(deps: Dependencies, node: onnx.NodeProto) -> None:
    """Shape is allowed as long as the number of channels is not read."""
    x = _tracked(deps, node)
    for reader in g.consumers(deps.model).get(node.output[0], []):
        index = deps.value(reader.input[1]).reshape(-1) if reader.op_type == "Gather" else None
        if index is None or g.attribute(node, "start", 0) or x.axis in index % deps.rank(node.input[0]):
            raise Pin("the number of channels is read")
    if node.output[0] in g.outputs(deps.model):
        raise Pin("the number of channels is read")


@rule("Gather")
def _gather(deps: Dependencies, node: onnx.NodeProto) -> None:
    maker = deps.producers.get(node.input[0])
    if maker is None or maker.op_type != "Shape":
        raise Pin("not of a shape")
    deps.fix(node.input[1], _name(node))


@rule("Reshape")
def _reshape(deps: Dependencies, node: onnx.NodeProto) -> None:
    x, dims = _tracked(deps, node), deps.dims[node.input[0]]
    wanted = _shape_of(deps, node.input[1])
    if g.attribute(node, "allowzero", 0) and 0 in wanted:
        raise Pin("allowzero")
    out = [dims[i] if d == 0 else d for i, d in enumerate(wanted)]
    if -1 in out:
        at = out.index(-1)
        out[at] = _quotient(dims, out[:at] + out[at + 1 :])
    channels = dims[x.axis]
    for b, size in enumerate(out):
        if not isinstance(size, int) or size % channels or channels == 1:
            continue
        each = size // channels
        before, after = _product_of(out[:b]), _product_of([each, *out[b + 1 :]])
        if before == _product_of(dims[: x.axis]) and after == _product_of(dims[x.axis + 1 :]):
            break
    else:
        raise Pin("channels do not stay together")
    ids = np.repeat(x.ids, each)
    if wanted[b] == 0 and b != x.axis:
        raise Pin("channels do not stay together")
    if wanted[b] not in (0, -1):
        if node.input[1] not in deps.constants:
            raise Pin("its shape, which counts channels, is not constant")
        deps.counts.append((node, b, ids))
    deps.labels[node.output[0]] = Label(b, ids)
    deps.dims.setdefault(node.output[0], out)


def _shape_of(deps: Dependencies, name: str) -> list[int | str]:
    """The entries of the shape `name`, which is made of constants and entries of shapes."""
    if name in deps.constants:
        return deps.value(name).reshape(-1).tolist()
    maker = deps.producers.get(name)
    if maker is not None and maker.op_type == "Concat":
        return [d for part in maker.input for d in _shape_of(deps, part)]
    if maker is not None and maker.op_type == "Unsqueeze":
        return _shape_of(deps, maker.input[0])
    if maker is not None and maker.op_type == "Gather":
        source = deps.producers.get(maker.input[0])
        if source is not None and source.op_type == "Shape" and source.input[0] in deps.dims:
            return [deps.dims[source.input[0]][i] for i in deps.value(maker.input[1]).reshape(-1).tolist()]
    raise Pin("its shape is computed")


def _product_of(dims) -> tuple[int, list[str]]:
    return prod(d for d in dims if isinstance(d, int)), sorted(d for d in dims if isinstance(d, str))


def _quotient(dims, others) -> int | str:
    """The product of `dims` divided by that of `others`."""
    whole, words = _product_of(dims)
    part, known = _product_of(others)
    for word in known:
        if word not in words:
            raise Pin("channels do not stay together")
        words.remove(word)
    if part == 0 or whole % part or len(words) > 1 or (words and whole != part):
        raise Pin("channels do not stay together")
    return words[0] if words else whole // part
