"""A plan: kernel calls whose arguments are already packed, for one or more input shapes."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from . import lower as lowering
from .dtypes import check_float_products, word
from .errors import ModelError
from .formats.onnx_model import Model, ModelSource
from .kernels import spec
from .lower.batch import obstacle
from .lower.int4 import ACTIVATIONS
from .lower.values import Program, Step, root
from .native import aligned
from .operators import REGISTERED
from .optimize import Costs, optimize, place, uncompressed
from .optimize.costs import costs_of
from .optimize.dataflow import offset
from .optimize.strict import FLOAT_KERNELS
from .pack import pack
from .plan import FORMAT, Plan, raw
from .weights import Q4, Q8, Dense, Facts, Half

__all__ = ["Plan", "compile", "program_plan"]

InputShapes = Sequence[int] | Mapping[str, Sequence[int]]  # of the only input, or by name
CACHE = 2 << 20  # bytes of activations that are assumed to fit a core's caches
IN_FLOAT = "in float, although its weights are integers: no integer kernel is proven exact for them"


@dataclass(eq=False)
class Tensors:
    """Constant arrays by name, each held once; shared by all plans of a model."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    _names: dict[tuple, str] = field(default_factory=dict)

    def name(self, x: np.ndarray, wanted: str) -> str:
        """The name under which the contiguous array `x` is held."""
        content = self.facts.of("content", x, lambda: hashlib.blake2b(raw(x), digest_size=16).digest())
        key = (word(x.dtype), x.shape, content)
        if key not in self._names:
            name, i = wanted, 1
            while name in self.arrays:
                name, i = f"{wanted}.{i}", i + 1
            self._names[key] = name
            self.arrays[name] = aligned(x.shape, x.dtype, x)
        return self._names[key]

    def keep(self, names: set[str]) -> None:
        """Forget all others: what no plan uses any more."""
        self.arrays = {n: x for n, x in self.arrays.items() if n in names}
        self._names = {key: n for key, n in self._names.items() if n in names}


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
    model: Model, shapes: dict[str, tuple[int, ...]], values=None, images=None, int4_activations="file"
) -> Program:
    """The steps of `model` for inputs of the given shapes; a large batch is run a few images at a time.

    Running a batch as a whole reads each weight once, but activations that exceed the caches are written to memory and
    read back in every step. If they are more than the weights, a few images are run at a time, provided that the images
    do not depend on each other.
    """
    whole = lowering.lower(model, shapes, values, images, int4_activations)
    batches = {shape[0] if shape else 0 for shape in shapes.values()}
    n = max(batches, default=0)
    if values or len(batches) != 1 or n < 2:
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
    tensors = model.packed.setdefault("tensors", Tensors())
    kernels: dict[str, int] = {}
    used: dict[str, int] = {}
    graphs, notes = [], []
    for program in programs:
        optimize(program, partial(costs_of, costs, cpu), sparse, float_products=float_products)
        pack(program, model.packed)
        graph, note = _graph(program, tensors, kernels, used, model)
        graphs.append(graph)
        notes.append(note)
    versions = [[name, _version(name)] for name in kernels]
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


def _version(kernel: str) -> int:
    from . import native

    c = REGISTERED[kernel].c if kernel in REGISTERED else getattr(native, kernel).c
    return int(c.version)


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


def _graph(program: Program, tensors: Tensors, kernels, used, model: Model):
    """(one program as JSON, notes on each step)."""
    offsets, size = place(program)
    if size > model.limits.arena_bytes:
        raise ModelError(f"the activations need {size} bytes, more than {model.limits.arena_bytes}")
    steps, notes, floats = [], [], set(uncompressed(program, model))
    for step in program.steps:
        slots, sizes = _slots(program, step, offsets, tensors, used)
        steps.append([kernels.setdefault(step.kernel, len(kernels)), *slots])
        in_float = step.node in floats and step.kernel in FLOAT_KERNELS
        notes.append(_note(step, sizes, program.in_float.get(step.node, IN_FLOAT) if in_float else ""))
        notes[-1]["macs"] *= program.times
    ports = {
        side: [{"name": p.name, "dtype": p.dtype, "shape": list(p.shape)} for p in getattr(program, side)]
        for side in ("inputs", "outputs")
    }
    if program.batch and notes:
        notes[0]["reason"] = "; ".join(filter(None, (notes[0]["reason"], program.batch)))
    times = {"times": program.times} if program.times > 1 else {}
    return {**ports, "arena": size, **times, "steps": steps}, notes


def _slots(program: Program, step: Step, offsets, tensors: Tensors, used):
    contract = spec(step.kernel)
    args = {}
    for arg in contract.args:
        x = step.args[arg.name]
        constant = isinstance(x, np.ndarray) and program.buffer(x) is None
        args[arg.name] = compact(x, arg) if constant else x
    try:
        sizes = contract.bind(args)
    except ValueError as error:  # a size that no kernel supports
        raise ModelError(f"node {step.node!r} ({step.op}): {error}") from None
    slots = []
    for name, arg in contract.slots:
        x = args[name] if arg else None
        if arg is None or arg.kind == "size":
            slots.append(sizes[name])
        elif x is None or arg.kind == "prepared":
            slots.append(None)
        elif (buffer := program.buffer(x)) is not None:
            kind, index = buffer.place
            inside = offset(x, buffer.array)
            if kind == "arena":
                slots.append([0, 0, offsets[id(buffer.array)] + inside])
            else:
                slots.append([2 if kind == "input" else 3, index, inside])
        else:
            held = tensors.name(dense_core(x), f"{step.node or 'graph'}.{name}")
            slots.append([1, used.setdefault(held, len(used)), 0])
    return slots, sizes


def dense_core(x: np.ndarray) -> np.ndarray:
    """`x` contiguous, with extent 1 for dimensions that broadcasting repeats."""
    if x.flags.c_contiguous:
        return x
    core = x[tuple(slice(0, 1) if s == 0 and d > 1 else slice(None) for s, d in zip(x.strides, x.shape))]
    return np.ascontiguousarray(core)


def compact(x: np.ndarray, arg) -> np.ndarray:
    """`x` contiguous, but still with stride 0 in repeated dimensions for which the contract has a stride."""
    if x.flags.c_contiguous:
        return x
    free = [stride is not None for _, stride in arg.dims]
    core = x[tuple(slice(0, 1) if s == 0 and d > 1 and f else slice(None) for s, d, f in zip(x.strides, x.shape, free))]
    return np.broadcast_to(np.ascontiguousarray(core), x.shape) if core.shape != x.shape else np.ascontiguousarray(x)


def _note(step: Step, sizes: dict[str, int], in_float: str) -> dict[str, object]:
    arrays = {k: v for k, v in step.args.items() if isinstance(v, np.ndarray)}
    out = next(v for k, v in arrays.items() if k.startswith("out"))
    source = next((v for k, v in arrays.items() if k in ("x", "a")), out)
    return {
        "node": step.node,
        "op": step.op,
        "reason": "; ".join(filter(None, (step.reason, in_float))),
        "dtype": out.dtype.name,
        "in": list(source.shape),
        "out": list(out.shape),
        "macs": spec(step.kernel).macs(sizes),
    }
