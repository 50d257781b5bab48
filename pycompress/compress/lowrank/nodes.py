"""Low-rank factors as nodes of a model: sizes, nodes, and measured times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...errors import ModelError
from ...session import InferenceSession, SessionOptions
from ..model import graph as g
from ..model.prepare import fold_constants
from .decompose import STAGES
from .ranks import Geometry

RUNS = 9  # the median is used


def geometry(model: onnx.ModelProto, input_shapes=None) -> Callable[[onnx.NodeProto], Geometry]:
    """A function that returns the sizes of a node with constant weights, as shape inference gives them."""
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    inputs = {i.name: i for i in g.graph_inputs(sized)}
    if input_shapes is not None and not isinstance(input_shapes, Mapping):
        if len(inputs) != 1:
            raise ModelError(f"input_shapes: the model has inputs {list(inputs)}; give a dict")
        input_shapes = {next(iter(inputs)): input_shapes}
    given = dict(input_shapes or {})
    if unknown := set(given) - set(inputs):
        raise ModelError(f"input_shapes: there is no input {min(unknown)!r}; there are {list(inputs)}")
    for name, info in inputs.items():
        dims = info.type.tensor_type.shape.dim
        if name in given and len(given[name]) != len(dims):
            raise ModelError(f"input_shapes: input {name!r} has {len(dims)} dimensions, got {tuple(given[name])}")
        for i, d in enumerate(dims):
            if name in given:
                d.dim_value = int(given[name][i])
            elif i == 0 and not d.HasField("dim_value"):
                d.dim_value = 1
    del sized.graph.value_info[:]  # recorded shapes of another batch size would contradict it
    for o in sized.graph.output:
        o.type.tensor_type.ClearField("shape")
    shapes = _inferred(sized)
    while _fold_shapes(sized, shapes):
        shapes = _inferred(sized)
    constants = g.constants(model)

    def of(node: onnx.NodeProto) -> Geometry:
        dims = tuple(constants[node.input[1]].dims)
        before, after = (shapes.get(x, []) for x in (node.input[0], node.output[0]))
        if node.op_type != "Conv":
            n, k = dims if g.attribute(node, "transB", 0) else dims[::-1]
            return Geometry(n, k, (), int(np.prod([d or 1 for d in before[:-1]])))
        sizes = [*before[2:], *after[2:]]
        if len(before) != len(dims) or len(after) != len(dims) or not all(sizes):
            raise ModelError(f"node {node.name!r}: the size of its images is not known; give input_shapes")
        return Geometry(dims[0], dims[1], dims[2:], before[0] or 1, tuple(before[2:]), tuple(after[2:]))

    return of


def _inferred(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes of tensors by name, with 0 for what is not known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = [i for i in (*graph.value_info, *graph.input, *graph.output) if i.type.tensor_type.HasField("shape")]
    return {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in infos}


def _fold_shapes(model: onnx.ModelProto, shapes: Mapping[str, list[int]]) -> bool:
    """Makes constants of the known shapes that nodes compute with, which inference follows only in part."""
    known = [
        n for n in model.graph.node if n.op_type == "Shape" and n.domain == "" and all(shapes.get(n.input[0], [0]))
    ]
    for node in known:
        part = slice(g.attribute(node, "start", 0), g.attribute(node, "end", None))
        g.add_constant(model, node.output[0], np.array(shapes[node.input[0]][part], np.int64))
    gone = {n.output[0] for n in known}
    g.set_nodes(model, [n for n in model.graph.node if not gone & set(n.output)])
    if known:
        fold_constants(model)
    return bool(known)


def stage_nodes(
    node: onnx.NodeProto, kind: str, stages: Sequence[np.ndarray], bias: np.ndarray | None, fresh: Callable[[str], str]
) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """The nodes that replace `node` by products with the weights `stages`, and their constants."""
    nodes, constants, x = [], {}, node.input[0]
    for i, (part, w) in enumerate(zip(STAGES[kind], stages)):
        last = i == len(stages) - 1
        name = fresh(f"{node.name}/{part}")
        inputs, y = [x, fresh(f"{name}.weight")], node.output[0] if last else fresh(f"{name}.out")
        constants[inputs[1]] = np.ascontiguousarray(w if node.op_type == "Conv" else w.T, np.float32)
        if last and bias is not None:
            inputs.append(fresh(f"{name}.bias"))
            constants[inputs[2]] = np.asarray(bias, np.float32)
        op = "MatMul" if node.op_type == "Gemm" and not last else node.op_type
        nodes.append(helper.make_node(op, inputs, [y], name=name, **_attributes(node, kind, i, w)))
        x = y
    return nodes, constants


def _attributes(node: onnx.NodeProto, kind: str, stage: int, w: np.ndarray) -> dict:
    """The attributes of one stage of a Conv: those of the kernel go to the stage with the kernel, for spatial factors per axis."""
    if node.op_type != "Conv":
        return {}
    kernel, d = list(w.shape[2:]), w.ndim - 2
    at = {"tucker": (1,), "spatial": (0, 1)}.get(kind, (0,))
    if stage not in at:
        return {"kernel_shape": kernel}
    auto = g.attribute(node, "auto_pad", b"NOTSET").decode()
    found = {"strides": [1] * d, "dilations": [1] * d, "pads": [0] * 2 * d}
    found = {key: list(g.attribute(node, key, value)) for key, value in found.items()}
    if kind == "spatial":
        other = 1 - stage
        found["strides"][other] = found["dilations"][other] = 1
        found["pads"][other] = found["pads"][other + d] = 0
    if auto != "NOTSET":
        del found["pads"]
        found["auto_pad"] = auto
    return {"kernel_shape": kernel, **found}


def insert(model: onnx.ModelProto, node: onnx.NodeProto, kind: str, stages, bias: np.ndarray | None) -> None:
    """Replaces the node of that name by the nodes of the factors, in place."""
    nodes, constants = stage_nodes(node, kind, stages, bias, g.Names(model).fresh)
    for name, value in constants.items():
        g.add_constant(model, name, value)
    g.set_nodes(model, [x for old in list(model.graph.node) for x in (nodes if old.name == node.name else [old])])


class Stopwatch:
    """Measures how long a layer takes on one thread, as it is or as factors, in a model of its own with random weights."""

    def __init__(self, model: onnx.ModelProto, node: onnx.NodeProto, kind: str, sizes: Geometry):
        self.node, self.kind, self.sizes = node, kind, sizes
        self.opsets, self.version = list(model.opset_import), model.ir_version
        s = sizes
        self.shape = (s.batch, s.c, *s.inside) if node.op_type == "Conv" else (s.batch, s.c)

    def seconds(self, ranks: tuple[int, ...]) -> float:
        """The time of one run: of the products alone, without steps that transpose inputs and outputs."""
        node, constants = onnx.NodeProto(), {}
        node.CopyFrom(self.node)
        node.input[:] = ["x", "w"]
        node.output[:] = ["y"]
        rng = np.random.default_rng(0)
        shapes = self._shapes(ranks)
        arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
        if ranks:
            nodes, constants = stage_nodes(node, self.kind, arrays, None, lambda name: name)
        else:
            turned = node.op_type == "MatMul" or node.op_type == "Gemm" and not g.attribute(node, "transB", 0)
            nodes, constants = [node], {"w": np.ascontiguousarray(arrays[0].T if turned else arrays[0])}
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", self.shape), ("y", None))]
        tensors = [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
        graph = helper.make_graph(nodes, "layer", ports[:1], ports[1:], tensors)
        alone = helper.make_model(graph, opset_imports=self.opsets, ir_version=self.version)
        options = SessionOptions()
        options.intra_op_num_threads = 1
        session = InferenceSession(alone, options)
        feed = {"x": rng.standard_normal(self.shape, np.float32)}
        session.run(None, feed)
        return sum(row["seconds"] for row in session.profile(feed, RUNS) if row["macs"])

    def _shapes(self, ranks) -> list[tuple[int, ...]]:
        s, one = self.sizes, (1,) * len(self.sizes.kernel)
        if not ranks:
            return [(s.n, s.c, *s.kernel)]
        if self.kind == "tucker":
            return [(ranks[0], s.c, *one), (ranks[1], ranks[0], *s.kernel), (s.n, ranks[1], *one)]
        if self.kind == "spatial":
            return [(ranks[0], s.c, s.kernel[0], 1), (s.n, ranks[0], 1, s.kernel[1])]
        return [(ranks[0], s.c, *s.kernel), (s.n, ranks[0], *one)]
