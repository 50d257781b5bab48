"""Lowers an ONNX model with concrete input shapes to steps, in one walk over the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.shape_inference
from onnx import helper

from ..dtypes import NUMPY, ROWS, WORD
from ..errors import ModelError
from ..formats.onnx_model import LoadLimits, Model, load
from ..formats.onnx_structure import all_nodes
from ..weights import Facts
from . import (  # noqa: F401
    activation,
    arithmetic,
    attention,
    bounded,
    control_flow,
    conv_transpose,
    convolution,
    determinant,
    doubles,
    einsum,
    fourier,
    functions,
    fused,
    indexing,
    matmul,
    matmul_nbits,
    microsoft,
    movement,
    ngrams,
    normalization,
    padding,
    pooling,
    pooling_nd,
    qlinear,
    quantize_linear,
    recurrent,
    reduction,
    resize,
    sampling,
    scatter,
    selection,
    whole_numbers,
)
from .constants import PLAN_TIME
from .context import Lowering
from .emit import cast, flip
from .values import HALVES, Buffer, Port, Program, Value, storage
from .walk import walk

__all__ = ["LoadLimits", "Model", "Preprocess", "declared_inputs", "declared_outputs", "load", "lower", "value_inputs"]


Shape = tuple[int | str | None, ...]
CHANNELS = (1, 3, 4)  # of an image


@dataclass(frozen=True)
class Preprocess:
    """uint8 NHWC images in place of a float32 image input: x = (image - mean) / std, per channel.

    Parameters
    ----------
    mean, std : float or sequence of float
        In the units of the image (0..255), one number or one per channel; `std` is positive.
    layout : {"nchw", "nhwc"}, optional
        The model's own layout; default: the one with 1, 3 or 4 channels in the declared shape, else "nchw".

    Raises
    ------
    ValueError
        If a number is not finite, one of `std` is not positive, or `layout` is none of its values.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> plan = pycompress.compile(model, preprocess=pycompress.Preprocess(mean=127, std=128))
    >>> pycompress.InferenceSession(plan).get_inputs()[0].type
    'tensor(uint8)'
    """

    mean: float | Sequence[float] = (0.0,)  # both are tuples once it is made
    std: float | Sequence[float] = (1.0,)
    layout: str | None = None

    def __post_init__(self):
        for name in ("mean", "std"):
            given = getattr(self, name)
            try:
                values = np.atleast_1d(np.asarray(given, np.float64))
            except (TypeError, ValueError):
                raise ValueError(f"preprocess: {name} must be a number or numbers, got {given!r}") from None
            smallest = np.finfo(np.float32).tiny if name == "std" else -np.inf
            if values.ndim != 1 or not np.isfinite(values).all() or (values < smallest).any():
                wanted = f"finite{' and positive' * (name == 'std')}, one number or one per channel"
                raise ValueError(f"preprocess: {name} = {given} must be {wanted}")
            object.__setattr__(self, name, tuple(values.tolist()))
        if self.layout not in (None, "nchw", "nhwc"):
            raise ValueError(f'preprocess: layout must be "nchw" or "nhwc", got {self.layout!r}')

    def channels_last(self, declared: Shape | None) -> bool:
        """Whether the model's input, of that declared shape, has its channels last."""
        if self.layout is not None or declared is None or len(declared) != 4:
            return self.layout == "nhwc"
        return declared[1] not in CHANNELS and declared[3] in CHANNELS


def declared_inputs(model: Model) -> dict[str, tuple[str, Shape | None]]:
    """{name: (dtype, shape)} of the inputs that a caller gives. An open dimension is a name or None, an open rank None."""
    given = [port for port in model.graph.input if port.name not in model.constants]
    return {port.name: _declared(port, f"graph input {port.name!r}") for port in given}


def declared_outputs(model: Model) -> dict[str, tuple[str, Shape | None]]:
    """{name: (dtype, shape)} of the outputs; onnx infers what the model does not declare."""
    ports = model.graph.output
    if not all(port.type.tensor_type.elem_type for port in ports):
        try:
            ports = onnx.shape_inference.infer_shapes(model.proto).graph.output
        except Exception as error:  # onnx raises kinds of its own
            raise ModelError(f"graph output: types are not declared and cannot be inferred: {error}") from None
    return {port.name: _declared(port, f"graph output {port.name!r}") for port in ports}


def _declared(port: onnx.ValueInfoProto, where: str) -> tuple[str, Shape | None]:
    kind = port.type.tensor_type
    if not port.type.HasField("tensor_type") or not kind.elem_type:
        raise ModelError(f"{where}: only tensors of a known type are supported")
    try:
        dtype = WORD[helper.tensor_dtype_to_np_dtype(kind.elem_type).name]
    except KeyError:
        raise ModelError(f"{where}: its element type is not supported") from None
    return dtype, tuple(_dimension(d) for d in kind.shape.dim) if kind.HasField("shape") else None


def _dimension(d) -> int | str | None:
    """A declared size; None or a name if it is open. Negative sizes count as open."""
    if d.HasField("dim_value"):
        return d.dim_value if d.dim_value >= 0 else None
    return d.dim_param or None


def value_inputs(model: Model) -> set[str]:
    """Graph inputs that give shapes, axes, pads, bounds or conditions: plans are keyed by their values.

    A condition may also compare such an input with constants: a sampling rate with 16000, say.
    """
    given = {p.name for p in model.graph.input} - set(model.constants)
    nodes = list(all_nodes(model.graph))
    direct = {
        node.input[i]
        for node in nodes
        for i in PLAN_TIME.get((node.domain, node.op_type), ())
        if i < len(node.input) and node.input[i] in given
    }
    makers = {name: node for node in model.graph.node for name in node.output}
    conditions = {node.input[0] for node in nodes if node.op_type == "If" and node.input and not node.domain}
    compared = (_compared(name, makers, given | set(model.constants)) for name in sorted(conditions - given))
    whole = {
        port.name for port in model.graph.input if port.type.tensor_type.elem_type in WHOLE and not _is_tensor(port)
    }
    return direct.union(*(found & given for found in compared if found & given <= whole))


WHOLE = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
DECIDING = ("Equal", "Not", "And", "Or", "Cast", "Identity", "Squeeze", "Unsqueeze", "Constant")


def _compared(name: str, makers: dict[str, onnx.NodeProto], known: set[str]) -> set[str]:
    """The inputs and constants that decide the condition `name`; empty where it takes more than comparing them."""
    found, waiting, seen = set(), [name], set()
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if name in known:
            found.add(name)
        elif maker is None or maker.op_type not in DECIDING or len(seen) > 64:
            return set()
        elif name not in seen:
            seen.add(name)
            waiting.extend(filter(None, maker.input))
    return found


def _is_tensor(port: onnx.ValueInfoProto) -> bool:
    """Whether an input may hold more than one number."""
    shape = port.type.tensor_type.shape
    return not port.type.tensor_type.HasField("shape") or any(d.dim_value != 1 for d in shape.dim)


def lower(
    model: Model,
    shapes: dict[str, tuple[int, ...]],
    values: dict[str, np.ndarray] | None = None,
    preprocess: dict[str, Preprocess] | None = None,
    int4_activations: str = "file",
) -> Program:
    """The steps of `model` for inputs of the given shapes.

    Parameters
    ----------
    shapes : dict
        A concrete shape per run-time input (of the uint8 NHWC image where `preprocess` names it).
    values : dict, optional
        The values of the inputs named by ``value_inputs``.
    preprocess : dict, optional
        ``Preprocess`` by input name.
    int4_activations : {"file", "dynamic", "float"}
        What float activations become where they meet 4-bit weights; see ``pycompress.compile``.

    Raises
    ------
    ModelError
        If a node cannot be run; names the node and the attribute.
    """
    ctx = Lowering(model, int4_activations)
    for name, data in model.constants.items():
        if name not in model.known:
            model.known[name] = Value.constant(data)
    ctx.env = dict(model.known)
    ctx.env |= {name: Value.constant(data) for name, data in (values or {}).items()}
    declared = declared_inputs(model)
    inputs = [_input(ctx, i, name, declared[name], shapes[name], preprocess or {}) for i, name in enumerate(shapes)]
    walk(ctx, [node for node in model.needed if node.output[0] not in model.known])
    ctx.node = None
    outputs = [_output(ctx, i, port.name, ctx.env[port.name]) for i, port in enumerate(model.graph.output)]
    for port in model.graph.output:  # how much of it is used, where that is only known at run time
        if (rows := ctx.env[port.name].rows) is not None:
            outputs.append(_output(ctx, len(outputs), f"{port.name}{ROWS}{rows[0]}", rows[1]))
    names = {n: v.data for n, v in ctx.env.items() if v.runtime and v.data is not None}
    shapes = {name: (value.shape, value.runtime) for name, value in ctx.env.items()}
    kept = dict(coded=ctx.coded, quantized=ctx.quantized, shapes=shapes, half=model.half, in_float=ctx.in_float)
    kept["facts"] = model.packed.setdefault("facts", Facts())
    return Program(inputs, outputs, ctx.steps, ctx.buffers, names, **kept)


def _input(
    ctx: Lowering, index: int, name: str, given: tuple[str, Shape | None], shape, preprocess: dict[str, Preprocess]
) -> Port:
    dtype, declared = given
    shape = tuple(int(d) for d in shape)
    images = preprocess.get(name)
    if images is not None:
        if dtype not in ("f32", *HALVES) or len(shape) != 4:
            raise ModelError(f"graph input {name!r}: preprocess needs a float input of 4 dimensions")
        last = images.channels_last(declared)
        logical = shape if last else (shape[0], shape[3], shape[1], shape[2])
    else:
        logical = shape
    fits = declared is None or len(logical) == len(declared)
    if not fits or any(isinstance(d, int) and d != s for d, s in zip(declared or (), logical)):
        raise ModelError(f"graph input {name!r}: shape {logical} does not fit the declared {declared}")
    if any(d < 0 for d in shape):
        raise ModelError(f"graph input {name!r}: shape {shape} has a negative dimension")
    port = Port(name, "u8" if images else dtype, shape)
    ctx.tensor_bytes(shape, port.dtype)
    array = np.zeros(int(np.prod(shape, dtype=object)), storage(port.dtype))
    ctx.buffers[id(array)] = Buffer(array, ("input", index))
    data = array.reshape(shape)
    if images is not None:
        channels = shape[3]
        if any(len(v) not in (1, channels) for v in (images.mean, images.std)):
            raise ModelError(f"graph input {name!r}: preprocess needs one mean and std, or {channels} of each")
        mean, std = (np.broadcast_to(np.float64(v), (channels,)) for v in (images.mean, images.std))
        out = ctx.new(shape)
        data = out if last else out.transpose(0, 3, 1, 2)
        ctx.step(
            "normalize", x=array.reshape(-1, channels), scale=(1 / std).astype(np.float32),
            shift=(-mean / std).astype(np.float32), out=out.reshape(-1, channels), reason="uint8 image to float",
        )  # fmt: skip
    elif dtype == "i8":
        data = flip(ctx, array).reshape(shape)
    elif dtype in HALVES:
        data = cast(ctx, Value(dtype, shape, data, True), "f32").data
    ctx.env[name] = Value("f32" if dtype in HALVES else dtype, logical, data, True)
    return port


def _output(ctx: Lowering, index: int, name: str, value: Value) -> Port:
    source = ctx.data(value)
    kinds = {onnx.TensorProto.FLOAT16: "f16", onnx.TensorProto.BFLOAT16: "bf16"}
    half = kinds.get(ctx.model.output_types[index]) if index < len(ctx.model.output_types) else None
    if half and value.dtype == "f32":
        if value.runtime:
            value = cast(ctx, value, half)
            source = value.data
        else:
            source = source.astype(NUMPY[half])
            value = Value(half, value.shape, source, False)
    if not value.runtime and value.data is not None:
        value = Value(value.dtype, value.shape, source, False)
    ctx.tensor_bytes(value.shape, value.dtype)
    array = np.zeros(value.size, storage(value.dtype))
    ctx.buffers[id(array)] = Buffer(array, ("output", index))
    target = array.reshape(value.shape)
    if value.biased:
        flat = ctx.contiguous(source)
        flip(ctx, flat, target)
    elif value.size:
        ctx.copy(source.view(target.dtype), target)
    return Port(name, value.dtype, value.shape)
