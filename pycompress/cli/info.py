"""``pycompress info``: what a model or plan holds."""

from __future__ import annotations

import json
from collections import Counter

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
        "layers with zeros and their pattern, multiply-accumulates, and the size as a plan.  Of a plan: its programs, steps, kernels, instruction sets and metadata.",
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
    """What `info` says of an .onnx model."""
    from onnx import helper

    from .. import lower
    from ..compress.pruning.zeros import sparse_layers
    from ..formats.onnx_model import to_array

    model = lower.load(source.proto)
    graph = source.proto.graph
    weights: dict[str, Counter] = {}
    nibbles = {n.input[1] for n in graph.node if n.op_type == "MatMulNBits" and len(n.input) > 1}
    constants = [(t, model.constants[t.name]) for t in model.graph.initializer]
    constants += [
        (a.t, to_array(a.t, model.limits))
        for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.t.dims
    ]  # fmt: skip
    for tensor, x in constants:
        word, x, nbytes = _stored(tensor, x, tensor.name in nibbles)
        row = weights.setdefault(word, Counter())
        row.update(tensors=1, elements=x.size, bytes=nbytes, zeros=int(x.size - np.count_nonzero(x)))
    plan, why = _plan(source, shapes)
    return {
        "kind": "model",
        "model": source.text,
        "bytes": source.nbytes,
        "graph": graph.name,
        "producer": f"{source.proto.producer_name} {source.proto.producer_version}".strip(),
        "ir_version": source.proto.ir_version,
        "opset": {o.domain or "ai.onnx": o.version for o in source.proto.opset_import},
        "inputs": [_port(p, helper) for p in graph.input if p.name not in model.constants],
        "outputs": [_port(p, helper) for p in graph.output],
        "nodes": len(graph.node),
        "operators": dict(Counter(f"{n.domain}.{n.op_type}".lstrip(".") for n in graph.node).most_common()),
        "weights": {
            k: {**v, "sparsity": v["zeros"] / v["elements"] if v["elements"] else 0.0} for k, v in weights.items()
        },
        "sparse_layers": sparse_layers(source.proto, model.constants),
        "macs": plan and sum(note["macs"] for note in plan.notes[0]),
        "macs_unknown": why,
        "plan_bytes": plan and plan.nbytes,
        "metadata": {p.key: p.value for p in source.proto.metadata_props},
    }


def _stored(tensor, x: np.ndarray, nibbles: bool) -> tuple[str, np.ndarray, int]:
    """(the type that the model stores `x` in, its elements, their bytes); `nibbles`: two codes of MatMulNBits in each byte."""
    from onnx import TensorProto

    from ..formats.onnx_model import NARROW

    if nibbles and x.dtype == np.uint8:
        return "uint4", np.stack([x & 15, x >> 4]), x.nbytes
    if tensor.data_type not in NARROW:
        return x.dtype.name, x, x.nbytes
    word = TensorProto.DataType.Name(tensor.data_type).lower()
    return word, x, -(-x.size * int(word[-1]) // 8)


def _port(port, helper) -> dict:
    kind = port.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
    return {"name": port.name, "dtype": helper.tensor_dtype_to_np_dtype(kind.elem_type).name, "shape": dims}


def _plan(source: models.Source, shapes):
    """The model's plan, or None and why there is none."""
    from ..compiler import compile as compile_plan

    try:
        wanted = {name: shape for name, (_, shape) in source.ports(shapes).items()}
        return compile_plan(source.proto, input_shapes=wanted), None
    except ModelError as error:
        return None, str(error)


def of_plan(source: models.Source, shapes) -> dict:
    """What `info` says of a saved plan, or of its programs for inputs of these shapes."""
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
    """The names of the tensors that hold two weights of 4 bits in a byte."""
    from ..kernels import module

    kernels = [name for name, _ in graph["kernels"]]
    if "q4gemm" not in kernels:
        return set()
    at = 1 + [name for name, _ in module("q4gemm").q4gemm.spec.slots].index("w")
    steps = (step for program in graph["programs"] for step in program["steps"] if kernels[step[0]] == "q4gemm")
    return {graph["tensors"][step[at][1]] for step in steps if step[at][0] == 1}


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
        out.table(("operator", "nodes"), r["operators"].items())
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
            dims = ", ".join("?" if d is None else str(d) for d in port["shape"])
            out.line(f"  {side[:-1]} {port['name']}: {port['dtype']}[{dims}]")
