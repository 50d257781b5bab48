"""quantize: float ONNX in, the same network with QuantizeLinear and DequantizeLinear around it out."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping

import onnx

from .calibration.blas import one_blas_thread
from .calibration.computable import computable
from .calibration.observe import KEPT, observe
from .calibration.samples import Samples
from .model import graph as g
from .model.layers import read_layer
from .model.prepare import check, prepare
from .progress import Progress
from .quantization.accumulation import checked, note, round_layers
from .quantization.int4 import FourBits
from .quantization.qdq import insert_pairs, write_layer
from .quantization.targets import OPERATORS, choose_grids, choose_targets
from .verdict import check_min_snr, conclude

METHODS = ("mse", "minmax", "percentile")


@one_blas_thread
def quantize(
    model: g.Model,
    calibration: Iterable,
    *,
    weights: int | str | Mapping[str, int] = 8,
    group_size: int | None = 32,
    rounding: str = "gptq",
    zero_points: bool = False,
    share: float = 0.5,
    first_last: int = 8,
    accumulate: str | int = "auto",
    method: str = "mse",
    percentile: float = 99.99,
    symmetric: bool = False,
    operators: Iterable[str] = OPERATORS,
    exclude: Iterable[str] = (),
    bias_correction: bool = True,
    quantize_outputs: bool = False,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """`model` with int8 or int4 weights and uint8 activations, in QDQ form.

    Weights are symmetric with a scale per output channel, searched so that the integer kernels' int16
    sums are proven (`accumulate`); biases are int32; activations are uint8 per tensor. The result is an
    ordinary ONNX model: any runtime opens it. Outputs stay float.

    Weights of 4 bits (`weights`) have a float16 scale per group of inputs, and make the result a model of
    opset 21: DequantizeLinear with `block_size`. Convolutions of more than one cell and depthwise ones keep
    8 bits. What was taken stands in the metadata, "pycompress.weights".

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    calibration : iterable of {input name: array}
        For a model with one input also an iterable of arrays, or one array whose first axis is the
        sample. Consumed once: a generator will do. It is held whole only for weights of 4 bits that are
        rounded by "gptq".
    weights : {8, 4, "mixed"} or {node name: 4 or 8}
        Bits of the weights. "mixed" gives 4 to `share` of the layers that can have them: those whose rounding by
        itself does least to the model's outputs, measured on the first samples. Nodes that a dict leaves out get 8.
    group_size : {32, 64, 128, None}
        How many inputs share a scale of 4-bit weights; None or 0: all of an output.
    rounding : {"gptq", "plain"}
        Of 4-bit weights. "gptq" takes the layers in order: each is fitted, by least squares, to the outputs that it has
        in the float model when its inputs are those of the model quantized so far, and rounded so that errors
        cancel where inputs are alike: the objective of GPTQ (arXiv:2210.17323), by coordinate descent as in QuantEase
        (arXiv:2309.01885). "plain" rounds each weight to the nearest.
    zero_points : bool
        4-bit weights with a zero point per group: more exact, an eighth of a bit larger in groups of 32.
    share : float
        For "mixed", in (0, 1).
    first_last : {8, 4}
        Bits of the first convolution and of layers after which no weights come, unless a dict names them.
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
    min_snr : float, optional
        Refuse a result whose outputs, on calibration samples held back, have a lower signal-to-noise ratio, in dB, against
        `model`.
    base_dir : path, optional
        Where tensors stored outside the file lie; without it such models are refused.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Raises
    ------
    ValueError
        An argument is out of range, the calibration is empty or does not fit the model, or an
        activation is not finite. `ModelError`, a ValueError, where the model is at fault.
    """
    checked(accumulate)
    four = FourBits(weights, group_size or None, rounding, zero_points, share, first_last)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not isinstance(percentile, numbers.Real) or not 50 < percentile <= 100:
        raise ValueError(f"percentile must be in (50, 100], got {percentile!r}")
    operators, exclude = set(operators), g.excluded(exclude) or set()
    if operators - set(OPERATORS):
        raise ValueError(f"cannot quantize {sorted(operators - set(OPERATORS))[0]}; can: {', '.join(OPERATORS)}")
    check_min_snr(min_snr, True)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    model = prepare(model, 13 if weights == 8 else 21)
    if exclude - {n.name for n in model.graph.node}:
        raise ValueError(f"exclude: the model has no node {sorted(exclude - {n.name for n in model.graph.node})[0]!r}")
    samples = Samples(model, calibration)
    able = computable(model, samples.sample)
    targets = choose_targets(model, operators, exclude | set(able.why), quantize_outputs)
    if not targets.tensors:
        why = "; ".join(f"{name!r}: {said}" for name, said in able.why.items())
        raise ValueError(
            f"nothing to quantize: {why or 'the model has none of the chosen operators with constant weights'}"
        )
    whole = g.copied(model)
    part = whole if able.part is model else able.part
    keep = None if four.refits else KEPT
    seen = observe(model, samples, targets.tensors, targets.weighted, progress, keep)
    grids = choose_grids(targets, seen.histograms, method, percentile, symmetric)
    layers = [
        read_layer(model, n, correct=bias_correction, x=grids[n.input[0]], moments=seen.moments[n.name])
        for n in targets.weighted
    ]
    bits = four.choose(part, layers, seen.first[:KEPT], progress)
    eight = [layer for layer in layers if bits[layer.name] == 8]
    rounded = dict(
        zip((layer.name for layer in eight), round_layers(part, eight, seen.first[:KEPT], accumulate, None, progress))
    )
    note(model, eight, list(rounded.values()))
    if len(eight) < len(layers):
        rounded |= four.round(model, layers, rounded, seen.first, progress)
        four.note(model, bits)
    for layer in layers:
        write_layer(model, layer, rounded[layer.name])
    insert_pairs(model, targets, grids, quantize_outputs)
    g.drop_unused(model)
    check(model)
    conclude("quantize", whole, model, size, seen, able.ends, able.why, min_snr)
    return model
