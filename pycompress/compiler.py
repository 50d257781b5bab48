"""A plan: kernel calls whose arguments are already packed, for one or more input shapes."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from . import lower as lowering
from .dtypes import check_float_products
from .encode import Tensors, graph_of, version_of
from .errors import ModelError
from .formats.onnx_model import Model, ModelSource
from .kernels import spec
from .lower.batch import obstacle
from .lower.int4 import ACTIVATIONS
from .lower.values import Program, root
from .optimize import Costs, optimize, place, uncompressed
from .optimize.costs import costs_of
from .pack import IDENTITY, pack
from .plan import FORMAT, Plan
from .weights import Q4, Q8, Dense, Half

__all__ = ["Plan", "compile", "program_plan"]

InputShapes = Sequence[int] | Mapping[str, Sequence[int]]  # of the only input, or by name
CACHE = 2 << 20  # bytes of activations that are assumed to fit a core's caches


def compile(
    model: ModelSource | Model,
    *,
    input_shapes: InputShapes | Sequence[InputShapes] | None = None,
    preprocess: lowering.Preprocess | Mapping[str, object] | None = None,
    strict: bool = False,
    sparse: str | bool = "auto",
    costs: str | os.PathLike | Costs | None = None,
    int4_activations: str = "file",
    float_products: str = "float32",
    cpu: str | None = None,
    labels: Sequence[str] | None = None,
    base_dir: str | os.PathLike | None = None,
) -> Plan:
    """Compile a model into a plan for given input shapes.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        Float, pruned or quantized; it is not changed.
    input_shapes : dict, sequence or list of them, optional
        ``{name: shape}``, or a shape if the model has one input. A list of several makes a plan for all of them, which
        share the weights. Default: the declared shapes, with a batch of 1 if the first dimension is open.
    preprocess : Preprocess or dict, optional
        ``{"mean": ..., "std": ...}`` (or ``{input name: ...}``): the input becomes uint8 NHWC images, and the plan
        computes (image - mean) / std from them. Shapes are then given as N, H, W, C. The model's own input may be
        channel-first or channel-last, see ``Preprocess``.
    strict : bool
        Refuse a plan in which a compressed node does not run compressed.
    sparse : {"auto", True, False}
        Which products of weights with zeros run on a sparse kernel: those that are faster according to `costs`, all
        that have a sparse kernel, or none.
    costs : path or Costs, optional
        A cost table measured on the machine that will run the plan, by ``pycompress advise MODEL --save FILE``. Default:
        the table shipped for the instruction set.
    int4_activations : {"file", "dynamic", "float"}
        How float activations are multiplied by 4-bit weights. "dynamic" rounds each row to uint8 over its own range: the
        weights stay at 4 bits, and the product is one of integers. "float" keeps the activations and expands the weights
        to floats. "file" follows the node's accuracy_level: 4 means dynamic, others and none mean float. Activations that
        the file quantizes are used as they are in any case.
    float_products : {"float32", "bfloat16"}
        What the operands of dense float products (Conv, Gemm, MatMul of constant weights) are rounded to. "bfloat16"
        keeps 8 bits of each and sums in float32: AVX512-BF16 and AMX-BF16 have instructions for that, and weights take
        half the memory. Such a plan runs on every CPU, within the error bounds that stand beside ``pcx_bgemm_args`` in
        pycompress_kernels.h. ``explain()`` says which products it holds for, and why others stay in float32.
    cpu : str, optional
        The highest instruction set to use (as ``PYCOMPRESS_CPU``), for sessions on this plan.
    labels : sequence of str, optional
        Names of the classes; stored in the plan's metadata.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.

    Returns
    -------
    Plan

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelError
        If a shape is unknown, or a node cannot be run; it names the node and the attribute.
    ValueError
        If `sparse`, `int4_activations` or `float_products` is none of its values, or `costs` is no cost table.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> plan = pycompress.compile(model, preprocess={"mean": 127, "std": 128}, labels=["a", "b", "c", "d"])
    >>> plan.save("net.plan.safetensors")
    >>> session = pycompress.InferenceSession("net.plan.safetensors")
    >>> session.get_inputs()[0].type, session.get_inputs()[0].shape
    ('tensor(uint8)', [1, 32, 32, 3])
    """
    if sparse not in ("auto", True, False):
        raise ValueError(f'sparse must be "auto", True or False, got {sparse!r}')
    if int4_activations not in ACTIVATIONS:
        raise ValueError(f"int4_activations must be one of {', '.join(ACTIVATIONS)}, got {int4_activations!r}")
    check_float_products(float_products)
    table = None if costs is None else costs_of(costs)
    loaded = model if isinstance(model, Model) else lowering.load(model, base_dir=base_dir)
    images = preprocesses(loaded, preprocess)
    one = not isinstance(input_shapes, list) or all(isinstance(d, int) for d in input_shapes)
    sets = [input_shapes] if one else input_shapes
    programs = []
    for shapes in sets:
        programs.append(lowered(loaded, input_shapes_of(loaded, shapes, images), {}, images, int4_activations))
    floats = [uncompressed(program, loaded) if strict else [] for program in programs]
    plan = program_plan(
        loaded, programs, cpu=cpu, labels=labels, costs=table, sparse=sparse, float_products=float_products
    )
    for program, names in zip(programs, floats):
        _refuse_uncompressed(program, names)
    return plan


def lowered(
    model: Model,
    shapes: dict[str, tuple[int, ...]],
    values=None,
    images=None,
    int4_activations="file",
    together: int = 0,
) -> Program:
    """The steps of `model` for inputs of the given shapes; a large batch is run a few images at a time.

    Running a batch as a whole reads each weight once, but activations that exceed the caches are written to memory and
    read back in every step. If they are more than the weights, a few images are run at a time, provided that the images
    do not depend on each other. That takes twice the time to find out, unless all activations are at most `together` bytes.
    """
    whole = lowering.lower(model, shapes, values, images, int4_activations)
    batches = {shape[0] if shape else 0 for shape in shapes.values()}
    n = max(batches, default=0)
    if values or len(batches) != 1 or n < 2 or sum(b.bytes for b in whole.buffers.values()) <= together:
        return whole
    probe = lowering.lower(model, shapes, values, images, int4_activations)
    optimize(probe)
    arena = place(probe)[1]
    weights, activations = _traffic(probe)
    if arena <= CACHE or weights > activations / n:
        return whole
    g = next(g for g in range(n // 2, 0, -1) if n % g == 0 and (g == 1 or arena / n * g <= CACHE))
    try:
        shapes = {name: (g, *shape[1:]) for name, shape in shapes.items()}
        part = lowering.lower(model, shapes, values, images, int4_activations)
        why = obstacle(model, whole, part, n, g)
    except ModelError as error:
        why = str(error)
    if why:
        whole.batch = f"all {n} images at once, for they may depend on each other: {why}"
        return whole
    part.inputs, part.outputs, part.times = whole.inputs, whole.outputs, n // g
    part.batch = f"{n} images, {g} at a time: together they exceed the caches"
    return part


def _traffic(program: Program) -> tuple[int, int]:
    """(bytes of all constants, bytes of the run-time arrays that the steps read and write)."""
    constants: dict[int, int] = {}
    moved = 0
    for step in program.steps:
        for x in step.args.values():
            x = x.w if isinstance(x, (Dense, Half, Q4, Q8)) else x
            if isinstance(x, np.ndarray) and program.buffer(x) is not None:
                moved += x.nbytes
            elif isinstance(x, np.ndarray):
                constants[id(root(x))] = root(x).nbytes
    return sum(constants.values()), moved


def program_plan(
    model: Model,
    programs: list[Program],
    *,
    cpu=None,
    labels=None,
    costs: Costs | None = None,
    sparse="auto",
    float_products="float32",
) -> Plan:
    """The plan of `programs`, all lowered from `model`; `costs` selects dense or sparse kernels (see `compile`)."""
    tensors = model.packed.setdefault("tensors", Tensors(identity=bool(model.packed.get(IDENTITY))))
    kernels: dict[str, int] = {}
    used: dict[str, int] = {}
    graphs, notes = [], []
    for program in programs:
        optimize(program, partial(costs_of, costs, cpu), sparse, float_products=float_products)
        pack(program, model.packed)
        graph, note = graph_of(program, tensors, kernels, used, model)
        graphs.append(graph)
        notes.append(note)
    versions = [[name, version_of(name)] for name in kernels]
    graph = {
        "format": 2 if any(p.times > 1 for p in programs) else FORMAT,
        "kernels": versions,
        "tensors": list(used),
        "programs": graphs,
    }
    metadata = {
        "pycompress": json.dumps(graph, separators=(",", ":")),
        "pycompress.notes": json.dumps(notes, separators=(",", ":")),
        "pycompress.provenance": json.dumps(_provenance(model, float_products)),
    }
    labels = labels if labels is not None else _labels(model)
    if labels is not None:
        metadata["pycompress.labels"] = json.dumps([str(x) for x in labels])
    return Plan(metadata, {name: tensors.arrays[name] for name in used}, cpu=cpu)


def forget_unused(model: Model, plans) -> None:
    """Drop the constants that were packed for plans of `model` and that none of `plans` uses."""
    model.packed["tensors"].keep({name for plan in plans for name in plan._tensors})


def preprocesses(model: Model, preprocess: lowering.Preprocess | Mapping | None) -> dict[str, lowering.Preprocess]:
    """`preprocess` as {input name: Preprocess}."""
    if preprocess is None:
        return {}
    names = list(lowering.declared_inputs(model))
    if isinstance(preprocess, lowering.Preprocess) or set(preprocess) <= {"mean", "std", "layout"}:
        if len(names) != 1:
            raise ModelError(f"preprocess: the model has inputs {names}; say which by name")
        preprocess = {names[0]: preprocess}
    if unknown := set(preprocess) - set(names):
        raise ModelError(
            f"preprocess: {min(unknown)!r} is none of mean, std and layout, and none of the inputs {names}"
        )
    return {
        name: p if isinstance(p, lowering.Preprocess) else lowering.Preprocess(**p) for name, p in preprocess.items()
    }


def input_shapes_of(
    model: Model, shapes: InputShapes | None, images: Mapping[str, lowering.Preprocess]
) -> dict[str, tuple[int, ...]]:
    """A concrete shape per run-time input."""
    declared = lowering.declared_inputs(model)
    values = lowering.value_inputs(model)
    if values:
        raise ModelError(
            f"graph input {min(values)!r} must be known when planning; only a session on the .onnx runs it"
        )
    if shapes is not None and not isinstance(shapes, Mapping):
        if len(declared) != 1:
            raise ModelError(f"input_shapes: the model has inputs {list(declared)}; give a dict")
        shapes = {next(iter(declared)): shapes}
    shapes = dict(shapes or {})
    if unknown := set(shapes) - set(declared):
        raise ModelError(f"input_shapes: there is no input {min(unknown)!r}; there are {list(declared)}")
    concrete = {}
    for name, (_, dims) in declared.items():
        if name in shapes:
            try:
                concrete[name] = tuple(operator.index(d) for d in shapes[name])
            except TypeError:
                raise TypeError(
                    f"input_shapes: input {name!r}: a shape is a tuple of integers, got {shapes[name]!r}"
                ) from None
            continue
        if dims is None:
            raise ModelError(f"input {name!r}: its shape is not declared; give input_shapes")
        dims = list(dims)
        for i, d in enumerate(dims):
            if not isinstance(d, int):
                if i:
                    raise ModelError(
                        f"input {name!r}: dimension {i} ({d or 'unnamed'}) is not known; give input_shapes"
                    )
                dims[i] = 1
        turned = name in images and not images[name].channels_last(declared[name][1])
        concrete[name] = (dims[0], *dims[2:], dims[1]) if turned else tuple(dims)
    return concrete


def _refuse_uncompressed(program: Program, names: list[str]) -> None:
    """Raise if a node in `names`, lowered in float, was not fused into an integer product afterwards."""
    joined = {step.node for step in program.steps if spec(step.kernel).traits.sums == "integer"}
    if nodes := [name for name in names if name not in joined]:
        raise ModelError(f"strict: these nodes were compressed but would not run compressed: {', '.join(nodes)}")


def _labels(model: Model):
    props = {p.key: p.value for p in model.proto.metadata_props}
    try:
        labels = json.loads(props.get("labels", "null"))
    except ValueError:  # labels of another format
        return None
    return labels if isinstance(labels, list) else None


def _provenance(model: Model, float_products: str) -> dict[str, str]:
    from . import __version__

    proto = model.proto
    own = {
        "pycompress": __version__,
        "graph": proto.graph.name,
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
    }
    asked = {} if float_products == "float32" else {"float_products": float_products}
    return own | {p.key: p.value for p in proto.metadata_props if p.key != "labels"} | asked
