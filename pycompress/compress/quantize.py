"""quantize: float ONNX in, the same network with QuantizeLinear and DequantizeLinear around it out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import onnx

from ..errors import ModelError
from . import graph as g
from .blas import one_blas_thread
from .calibrate import observe
from .choose import OPERATORS, choose, choose_grids
from .encode import insert_pairs, read_layer, write_layer
from .windows import checked, note, round_layers

METHODS = ("mse", "minmax", "percentile")


@one_blas_thread
def quantize(
    model: g.Model,
    calibration: Iterable,
    *,
    accumulate: str | int = "auto",
    method: str = "mse",
    percentile: float = 99.99,
    symmetric: bool = False,
    operators: Iterable[str] = OPERATORS,
    exclude: Iterable[str] = (),
    bias_correction: bool = True,
    quantize_outputs: bool = False,
    base_dir: str | os.PathLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> onnx.ModelProto:
    """`model` with int8 weights and uint8 activations, in QDQ form.

    Weights are symmetric with a scale per output channel, searched so that the integer kernels' int16
    sums are proven (`accumulate`); biases are int32; activations are uint8 per tensor. The result is an
    ordinary ONNX model: any runtime opens it. Outputs stay float.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    calibration : iterable of {input name: array}
        For a model with one input also an iterable of arrays, or one array whose first axis is the
        sample. Consumed once and never held whole: a generator will do.
    accumulate : {"auto", 0, 1, 2, 4, 8}
        How many steps of four products share an int16 lane on CPUs without dot-product instructions: more
        is faster and coarser. 0 proves nothing and leaves weights their full range. "auto" takes 8, 4 or 2
        for each layer: what is fastest of all that, measured on the first samples, together adds no more than
        a budget to the squared error of the model's outputs over windows of 2 steps. The budget is 0.1 % of
        the outputs' variance (`windows.BUDGET`). What was taken stands in the result's metadata,
        "pycompress.accumulate".
        Depthwise convolutions are proven for their widest window, unless 0.
    method : {"mse", "minmax", "percentile"}
        How ranges of activations are chosen: least squared error, the extremes, or all but
        100 - `percentile` percent.
    symmetric : bool
        Zero points of 128 wherever an activation has negative values.
    operators : iterable of str
        What to quantize, out of `OPERATORS`.
    exclude : iterable of str
        Names of nodes that stay float.
    bias_correction : bool
        Take the mean error of the rounded weights out of the bias.
    quantize_outputs : bool
        Round the model's outputs, too.
    base_dir : path, optional
        Where tensors stored outside the file lie; without it such models are refused.
    progress : callable, optional
        Called with the number of samples seen.

    Raises
    ------
    ValueError
        An argument is out of range, the calibration is empty or does not fit the model, or an
        activation is not finite. `ModelError`, a ValueError, where the model is at fault.
    """
    checked(accumulate)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be in (50, 100], got {percentile}")
    operators, exclude = set(operators), set(exclude)
    if operators - set(OPERATORS):
        raise ValueError(f"cannot quantize {sorted(operators - set(OPERATORS))[0]}; can: {', '.join(OPERATORS)}")
    model = prepare(g.as_model(model, base_dir))
    if exclude - {n.name for n in model.graph.node}:
        raise ValueError(f"exclude: the model has no node {sorted(exclude - {n.name for n in model.graph.node})[0]!r}")
    plan = choose(model, operators, exclude, quantize_outputs)
    if not plan.tensors:
        raise ValueError("nothing to quantize: the model has none of the chosen operators with constant weights")
    seen = observe(model, calibration, plan.tensors, plan.weighted, progress)
    grids = choose_grids(plan, seen.histograms, method, percentile, symmetric)
    layers = [read_layer(model, n, grids[n.input[0]], seen.patches[n.name], bias_correction) for n in plan.weighted]
    rounded = round_layers(model, layers, seen.first, accumulate)
    for layer, given in zip(layers, rounded):
        write_layer(model, layer, given)
    note(model, layers, rounded)
    insert_pairs(model, plan, grids, quantize_outputs)
    g.drop_unused(model)
    g.check(model)
    return model


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` at opset 13 or newer, constants as initializers, batch norm folded."""
    if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node):
        raise ModelError("the model is quantized already")
    g.check(model)
    model = g.at_least_opset(model, 13)
    g.constants_to_initializers(model)
    g.fold_batchnorm(model)
    g.tidy(model)
    return model
