"""cast: stores the weights of an ONNX model as float16 or bfloat16."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from itertools import islice

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelError
from .calibration.computable import computable
from .calibration.observe import HELD, Statistics
from .calibration.samples import Calibration, Samples
from .model import graph as g
from .model.prepare import check, fold_batchnorm, readable
from .progress import Progress
from .verdict import check_min_snr, conclude

METADATA = "pycompress.cast"
DTYPES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
READERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "Transpose")  # operators whose weights may be rounded
MIN_ELEMENTS = 256  # below it, the added Cast node takes as much space as is saved
OPSET = 13  # Cast knows bfloat16


def cast(
    model: g.Model,
    dtype: str = "float16",
    *,
    exclude: Iterable[str] | None = None,
    calibration: Calibration | None = None,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Store the weights of `model` in 16 bits, each followed by a Cast to float32; the file halves in size.

    Inputs, outputs and arithmetic stay float32, so any runtime opens the result. Here, matrix products and 1x1
    convolutions read the 16-bit weights directly (``hgemm``). float32 constants are cast if they have two or more
    dimensions and at least 256 elements, and only convolutions, matrix products or Gather read them; biases stay
    float32. Batch norm is folded first. float16 keeps 11 significant bits of weights from 6e-8 to 65504; bfloat16
    keeps 8 bits over the whole range of float32.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        It is not changed. Integer weights of a quantized model stay as they are.
    dtype : {"float16", "bfloat16"}
    exclude : iterable of str, optional
        Names of nodes whose weights stay float32.
    calibration : iterable, optional
        Samples as in ``pycompress.quantize``. They only serve to judge the result; they do not change it.
    min_snr : float, optional
        Refuse a result whose outputs, on some of the samples, have a lower signal-to-noise ratio, in dB, against
        `model`. Needs calibration.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of samples seen and None.

    Returns
    -------
    onnx.ModelProto
        Its metadata "pycompress.cast" lists what was cast, what was left alone and why (such as weights beyond the
        range of float16), and how many weights became zero because they are too small.

    Raises
    ------
    ValueError
        If an argument is out of range or names a missing node; `ModelError`, a ValueError, if nothing can be cast.

    Examples
    --------
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> half = pycompress.cast(model, "float16")
    >>> half.ByteSize() < 0.7 * model.ByteSize()
    True
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}")
    exclude = g.excluded(exclude) or set()
    check_min_snr(min_snr, calibration is not None)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    model = readable(model, OPSET, widen=False)  # weights that have 16 bits already keep them
    fold_batchnorm(model)
    if unknown := exclude - {n.name for n in model.graph.node}:
        raise ValueError(f"exclude: the model has no node {min(unknown)!r}")
    whole = g.copied(model)
    weights, left = _weights(model, exclude)
    if not weights and not left:  # a small model has small weights
        weights, left = _weights(model, exclude, 1)
    names, halves, casts, flushed = g.Names(model), [], [], 0
    for tensor in weights:
        w = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore", under="ignore"):
            half = w.astype(helper.tensor_dtype_to_np_dtype(DTYPES[dtype]))
        back = half.astype(np.float32)
        if not np.array_equal(np.isfinite(back), np.isfinite(w)):
            left[tensor.name] = f"a weight of {np.abs(w).max():.4g} is beyond {dtype}"
            continue
        if 2 * np.count_nonzero(back) < np.count_nonzero(w):
            left[tensor.name] = f"most of its weights are too small for {dtype}"
            continue
        flushed += int(np.count_nonzero(w) - np.count_nonzero(back))
        halves.append(numpy_helper.from_array(half, names.fresh(f"{tensor.name}.{dtype}")))
        node = names.fresh(f"{tensor.name}.Cast")
        casts.append(helper.make_node("Cast", [halves[-1].name], [tensor.name], node, to=TensorProto.FLOAT))
    if not casts:
        told = "; ".join(f"{name}: {why}" for name, why in left.items()) or "it has no float32 weights"
        raise ModelError(f"nothing to cast: {told}")
    gone = {node.output[0] for node in casts}
    kept = [t for t in model.graph.initializer if t.name not in gone]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *halves])
    g.set_nodes(model, [*casts, *model.graph.node])
    told = {"dtype": dtype, "weights": sorted(gone), "left": left, "flushed": flushed}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told)})
    check(model)
    seen = able = None
    if calibration is not None:
        samples = Samples(whole, calibration)
        able, seen = computable(whole, samples.sample), Statistics()
        for feed in islice(samples, HELD):
            seen.held.append({name: x.copy() for name, x in feed.items()})
            if progress:
                progress(len(seen.held), None)
    conclude("cast", whole, model, size, seen, able.ends if able else (), able.why if able else {}, min_snr)
    return model


def _weights(
    model: onnx.ModelProto, exclude: set[str], minimum: int = MIN_ELEMENTS
) -> tuple[list[TensorProto], dict[str, str]]:
    """The constants to cast, and by name why others that could be weights are left alone."""
    readers, out, found, left = g.consumers(model), g.outputs(model), [], {}
    for tensor in model.graph.initializer:
        if (
            tensor.data_type != TensorProto.FLOAT
            or len(tensor.dims) < 2
            or np.prod(tensor.dims, dtype=object) < minimum
        ):
            continue
        nodes = readers.get(tensor.name, [])
        if tensor.name in out or not nodes:
            continue
        if named := next((n.name for n in nodes if n.name in exclude), None):
            left[tensor.name] = f"{named} is excluded"
        elif other := next((n for n in nodes if n.domain not in ("", "ai.onnx") or n.op_type not in READERS), None):
            left[tensor.name] = f"{other.name} ({other.op_type}) reads it"
        else:
            found.append(tensor)
    return found, left


def castable(model: onnx.ModelProto, quantized: Container[str], exclude: Container[str]) -> bool:
    """Whether there are weights to cast after ``quantize`` has taken the operators `quantized`, but for the nodes `exclude`."""
    model = readable(g.copied(model), OPSET)
    readers = g.consumers(model)
    found = [node for tensor in _weights(model, set(), 1)[0] for node in readers[tensor.name]]
    return any(node.op_type not in quantized or node.name in exclude for node in found)
