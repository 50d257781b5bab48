"""``pycompress info``: what a model or plan holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from .._pcx import lib
from ..dtypes import TABLE
from ..errors import ModelError
from . import models
from .output import Output, size

_BYTES = {row.file: lib.pcx_dtype_bytes(row.code) for row in TABLE}


def add(subparsers, common):
    parser = subparsers.add_parser(
        "info",
        parents=[common],
        help="inputs, operators, weights and work of a model, or the steps of a plan",
        description="Describe a model: inputs and outputs, opset, operators, weights by type with the share of zeros, "
        "layers with zeros and their pattern, multiply-accumulates, the size as a plan, and every node that is not "
        "supported here, with the reason.  Of a plan: its programs, steps, kernels, instruction sets and metadata.  The exit "
        "code is 0 wherever the model could be described, whether it runs here or not.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.HELP)
    models.add_shape(parser)
    return parser


def execute(args, out: Output) -> dict:
    source, shapes = models.Source(args.model), models.shapes_of(args)
    result = of_plan(source, shapes) if source.plan is not None else of_model(source, shapes)
    _print(result, out)
    return result


def of_model(source: models.Source, shapes) -> dict:
    """The description of an .onnx model."""
    from ..compress.pruning.zeros import sparse_layers
    from ..formats.onnx_structure import all_nodes

    proto = source.proto
    graph, nodes = proto.graph, list(all_nodes(proto.graph))
    nibbles = {n.input[1] for n in nodes if n.op_type == "MatMulNBits" and len(n.input) > 1}
    weights: dict[str, Counter] = {}
    arrays = {}
    for tensor in _weights(graph):
        x = _array(tensor)
        if tensor.name and x is not None:
            arrays[tensor.name] = x
        word, elements, nbytes, zeros = _stored(tensor, x, tensor.name in nibbles)
        row = weights.setdefault(word, Counter())
        row.update(tensors=1, elements=elements, bytes=nbytes, zeros=zeros)
    plan, why = _plan(source, shapes)
    given = {t.name for t in graph.initializer}
    return {
        "kind": "model",
        "model": source.text,
        "bytes": source.nbytes,
        "graph": graph.name,
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "ir_version": proto.ir_version,
        "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        "inputs": [_port(p) for p in graph.input if p.name not in given],
        "outputs": [_port(p) for p in graph.output],
        "nodes": len(nodes),
        "operators": dict(Counter(_operator(n) for n in nodes).most_common()),
        "unsupported": [] if plan else _unsupported(source, shapes),
        "weights": {
            k: {**v, "sparsity": v["zeros"] / v["elements"] if v["elements"] else 0.0} for k, v in weights.items()
        },
        "sparse_layers": sparse_layers(proto, arrays),
        "macs": plan and sum(note["macs"] for note in plan.notes[0]),
        "macs_unknown": why,
        "plan_bytes": plan and plan.nbytes,
        "metadata": {p.key: p.value for p in proto.metadata_props},
    }


def _operator(node) -> str:
    return f"{node.domain}.{node.op_type}".removeprefix("ai.onnx").lstrip(".")


def _unsupported(source: models.Source, shapes) -> list[dict]:
    """A row for each node that cannot be run."""
    from ..lower.support import unsupported

    names = [p.name for p in source.proto.graph.input]
    wanted = {name or names[0]: shape for name, shape in shapes.items()}
    return [asdict(row) for row in unsupported(source.proto, wanted)]


def _weights(graph) -> Iterator:
    """The constants of a graph and of its subgraphs."""
    from ..formats.onnx_structure import subgraphs

    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            yield from (a.t for a in node.attribute if a.t.dims)
        for _, inner in subgraphs(node):
            yield from _weights(inner)


def _array(tensor) -> np.ndarray | None:
    """The values of a tensor of any type; None if they cannot be read."""
    from onnx import numpy_helper

    from ..formats.onnx_model import to_array

    try:
        return to_array(tensor)
    except ModelError:
        try:
            return numpy_helper.to_array(tensor)
        except Exception:  # onnx raises many kinds for damaged tensors
            return None


def _stored(tensor, x: np.ndarray | None, nibbles: bool) -> tuple[str, int, int, int]:
    """(the type that the model stores `x` in, elements, bytes, zeros); `nibbles`: two codes of MatMulNBits in each byte."""
    from onnx import TensorProto

    from ..formats.onnx_model import NARROW

    word = TensorProto.DataType.Name(tensor.data_type).lower()
    if x is None or x.dtype.kind in "OSU":
        return word, int(np.prod(tensor.dims, dtype=object)), tensor.ByteSize(), 0
    nbytes = x.nbytes
    if nibbles and x.dtype == np.uint8:
        word, x = "uint4", np.stack([x & 15, x >> 4])
    elif tensor.data_type in NARROW:
        nbytes = -(-x.size * int(word[-1]) // 8)
    else:
        word = x.dtype.name
    return word, x.size, nbytes, int(x.size - np.count_nonzero(x))


def _port(port) -> dict:
    from onnx import TensorProto, helper

    if not port.type.HasField("tensor_type"):  # a sequence, a map, an optional one
        return {
            "name": port.name,
            "dtype": (port.type.WhichOneof("value") or "unknown").removesuffix("_type"),
            "shape": None,
        }
    kind = port.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    if kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        dtype = TensorProto.DataType.Name(kind.elem_type).lower()
    else:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    return {"name": port.name, "dtype": dtype, "shape": dims if kind.HasField("shape") else None}


def _plan(source: models.Source, shapes):
    """(the model's plan, None), or (None, the reason why it has none)."""
    from ..compiler import compile as compile_plan

    try:
        wanted = {name: shape for name, (_, shape) in source.ports(shapes).items()}
        return compile_plan(source.proto, input_shapes=wanted), None
    except ModelError as error:
        return None, str(error)


def of_plan(source: models.Source, shapes) -> dict:
    """The description of a plan; with `shapes`, only of its programs for these."""
    plan = source.plan
    graph = json.loads(plan.metadata["pycompress"])
    tensors = _tensors(source, _nibbles(graph))
    isas = {row["kernel"]: row["isa"] for row in source.session(1).explain()}
    names = [name for name, _ in graph["kernels"]]
    programs = []
    wanted = source.ports(shapes) if shapes else {}
    for program, notes in zip(graph["programs"], plan.notes):
        if any(p["name"] in wanted and tuple(p["shape"]) != wanted[p["name"]][1] for p in program["inputs"]):
            continue
        programs.append({
            "inputs": program["inputs"],
            "outputs": program["outputs"],
            "arena_bytes": program["arena"],
            "steps": len(program["steps"]),
            "kernels": dict(Counter(names[step[0]] for step in program["steps"]).most_common()),
            "macs": sum(note["macs"] for note in notes),
        })  # fmt: skip
    labels = plan.labels
    return {
        "kind": "plan",
        "model": source.text,
        "bytes": source.nbytes,
        "format": graph["format"],
        "kernel_versions": dict(graph["kernels"]),
        "isas": isas,
        "weights": tensors,
        "programs": programs,
        "provenance": plan.provenance,
        "labels": len(labels) if labels else 0,
    }


def _nibbles(graph: dict) -> set[str]:
    """The names of the tensors that hold two weights of 4 bits in a byte, and nothing else."""
    from ..kernels import module

    kernels = [name for name, _ in graph["kernels"]]
    if "q4gemm" not in kernels:
        return set()
    at = 1 + [name for name, _ in module("q4gemm").q4gemm.spec.slots].index("w")
    packed, other = set(), set()
    for step in (step for program in graph["programs"] for step in program["steps"]):
        for i, slot in enumerate(step):
            if isinstance(slot, list) and slot[0] == 1:
                (packed if kernels[step[0]] == "q4gemm" and i == at else other).add(graph["tensors"][slot[1]])
    return packed - other


def _tensors(source: models.Source, nibbles: set[str]) -> dict[str, dict]:
    """Tensors, elements and bytes by type, from the file's header; "u4" for those named in `nibbles`."""
    with open(source.path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    rows: dict[str, Counter] = {}
    for name, tensor in header.items():
        if name != "__metadata__" and not name.startswith("__pad"):
            begin, end = tensor["data_offsets"]
            elements, word = (end - begin) // _BYTES[tensor["dtype"]], tensor["dtype"].lower()
            elements, word = (2 * elements, "u4") if name in nibbles else (elements, word)
            rows.setdefault(word, Counter()).update(tensors=1, elements=elements, bytes=end - begin)
    return {word: dict(row) for word, row in rows.items()}


def _print(r: dict, out: Output) -> None:
    out.line(f"{r['model']}: {r['kind']}, {size(r['bytes'])}")
    if r["kind"] == "model":
        opset = ", ".join(f"{domain} {version}" for domain, version in r["opset"].items())
        out.line(f"graph {r['graph']!r} by {r['producer'] or 'unknown'}, IR {r['ir_version']}, opset {opset}")
        _print_ports(r, out)
        macs = f"{r['macs'] / 1e6:.1f} million" if r["macs"] is not None else f"unknown ({r['macs_unknown']})"
        out.line(f"multiply-accumulates: {macs}")
        out.line(f"as a plan: {size(r['plan_bytes'])}\n" if r["plan_bytes"] else "")
        rows = [
            (k, v["tensors"], v["elements"], size(v["bytes"]), f"{v['sparsity']:.1%}") for k, v in r["weights"].items()
        ]
        out.table(("weights", "tensors", "elements", "bytes", "zeros"), rows)
        out.line()
        if r["sparse_layers"]:
            rows = [
                (x["node"], x["operator"], f"{x['outputs']} x {x['inputs']}", f"{x['sparsity']:.1%}", x["pattern"])
                for x in r["sparse_layers"]
            ]
            out.table(("layer with zeros", "operator", "weights", "zeros", "pattern"), rows)
            out.line()
        if r["unsupported"]:
            rows = [(x["node"], x["op"], x["why"]) for x in r["unsupported"]]
            out.table(("node that is not supported", "operator", "why"), rows)
            out.line()
        missing = Counter(x["op"] for x in r["unsupported"])
        rows = [(op, n, missing[op] or None) for op, n in r["operators"].items()]
        out.table(
            ("operator", "nodes", "not supported")[: 3 if missing else 2], [row[: 3 if missing else 2] for row in rows]
        )
        extra = r["metadata"]
    else:
        for i, program in enumerate(r["programs"]):
            out.line(
                f"program {i}: {program['steps']} steps, {program['macs'] / 1e6:.1f} million multiply-accumulates, "
                f"{size(program['arena_bytes'])} of activations"
            )
            _print_ports(program, out)
        out.line()
        rows = [
            (k, r["isas"].get(k, "-"), sum(p["kernels"].get(k, 0) for p in r["programs"])) for k in r["kernel_versions"]
        ]
        out.table(("kernel", "isa", "steps"), rows)
        out.line()
        rows = [(k, v["tensors"], v["elements"], size(v["bytes"])) for k, v in r["weights"].items()]
        out.table(("weights", "tensors", "elements", "bytes"), rows)
        extra = r["provenance"] | ({"labels": f"{r['labels']} names"} if r["labels"] else {})
    if extra:
        out.line()
    for key, value in extra.items():
        out.line(f"{key}: {value if len(value) <= 200 else value[:200] + ' ...'}")


def _print_ports(r: dict, out: Output) -> None:
    for side in ("inputs", "outputs"):
        for port in r[side]:
            dims = "..." if port["shape"] is None else ", ".join("?" if d is None else str(d) for d in port["shape"])
            out.line(f"  {side[:-1]} {port['name']}: {port['dtype']}[{dims}]")
