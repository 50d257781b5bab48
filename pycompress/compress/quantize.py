"""quantize: converts a float ONNX model to int8 or int4 weights and uint8 activations (QDQ)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import onnx

from .calibration.blas import one_blas_thread
from .calibration.samples import Calibration
from .model import graph as g
from .progress import Progress
from .quantization.accumulation import depth_for
from .quantization.codes import Codes
from .quantization.correct import correct_biases
from .quantization.floats import Floats
from .quantization.int4 import Int4Options
from .quantization.options import Options
from .quantization.recurrent import lstms
from .quantization.targets import OPERATORS
from .tuning.pays import no_slower
from .verdict import conclude


@one_blas_thread
def quantize(
    model: g.Model,
    calibration: Calibration,
    *,
    weights: int | str | Mapping[str, int] = 8,
    group_size: int | None = 32,
    rounding: str = "gptq",
    zero_points: bool = False,
    share: float = 0.5,
    first_last: int = 8,
    target: str = "portable",
    accumulate: str | int | None = None,
    activations: str = "static",
    method: str = "mse",
    percentile: float = 99.99,
    symmetric: bool = False,
    operators: Iterable[str] = OPERATORS,
    exclude: Iterable[str] = (),
    bias_correction: bool | str = True,
    equalize: bool = True,
    interleave: bool = True,
    lstm: bool | None = None,
    quantize_outputs: bool = False,
    judge: bool = True,
    unless_slower: bool = False,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Quantize `model` to int8 or int4 weights and uint8 activations, with QuantizeLinear and DequantizeLinear (QDQ).

    int8 weights are symmetric with one scale per output channel, chosen so that int16 accumulation cannot overflow
    (`accumulate`); biases are int32; activations are uint8 with one scale per tensor. Nodes that together compute a
    function of one tensor, element by element, are rounded once. A ConvTranspose that enlarges an image by its stride
    becomes Conv and DepthToSpace. Weights that several nodes have in common are rounded once. The result is an ordinary ONNX
    model that any runtime opens, but for LSTMs (`lstm`). Outputs stay float.

    4-bit weights (`weights`) have a float16 scale per group of inputs; the result then has opset 21, for
    DequantizeLinear with `block_size`. Depthwise convolutions and those with kernels larger than 1x1 keep 8 bits. The
    metadata "pycompress.weights" lists what was chosen.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    calibration : iterable of {input name: array}
        For a model with one input also an iterable of arrays, or one array whose first axis is the sample. A DataLoader of
        torch works (labels in pairs are ignored), and so does an object with ``get_next``, such as onnxruntime's
        CalibrationDataReader. It is read once, so a generator works; a generator that was read before is refused. Samples
        are not kept in memory; for 4-bit weights rounded by "gptq" they are kept in a temporary file.
        "data-free": no samples, but noise on which each layer has the means and variances that BatchNormalization recorded;
        for models with fixed image sizes that still have it. Less exact; without `equalize`, `interleave` and `judge`.
    weights : {8, 4, "mixed"} or {node name: 4 or 8}
        Bits of the weights. "mixed" gives 4 bits to the layers that save the most bytes for the damage that they do to the
        model's outputs when they alone are rounded, measured on the first samples, until `share` of the bytes are saved
        that all layers would save. Nodes that a dict does not name get 8, and so do those that have their weights in common.
    group_size : {32, 64, 128, None}
        How many inputs share a scale of 4-bit weights; None or 0: all inputs of an output.
    rounding : {"gptq", "plain"}
        For 4-bit weights. "gptq" processes the layers in order. Each is fitted by least squares to its outputs in the
        float model, given its inputs in the model quantized so far, and rounded so that errors cancel where inputs are
        correlated: the objective of GPTQ (arXiv:2210.17323), by coordinate descent as in QuantEase (arXiv:2309.01885), with
        scales fitted to the codes in turn. How much such a fit is damped is chosen on samples that it has not seen. Of
        images there are made more, up to 128: mirrored, enlarged, in other colours. Fewer than 32 different samples give a
        `CalibrationWarning`.
        "plain" rounds each weight to the nearest code.
    zero_points : bool
        Give 4-bit weights a zero point per group: more exact, and an eighth of a bit per weight larger in groups of 32.
    share : float
        For "mixed", in (0, 1): of the bytes that 4 bits would save in all layers that can have them.
    first_last : {8, 4}
        Bits of the first convolutions and of the last layers, unless a dict names them.
    target : {"portable", "vnni", "arm", "avx2", "neon", "avxvnni", "avx512vnni", "amx", "dotprod"}
        The CPUs that the weights are rounded for. The result runs everywhere, with the same bytes. AVX2, and Arm without
        dot-product instructions, multiply fast by summing in int16, which limits the weights: "portable", "avx2" and
        "neon" mean ``accumulate="auto"``. The others mean ``accumulate=0``: more exact on all CPUs, slower on AVX2.
    accumulate : {"auto", 0, 1, 2, 4, 8}, optional
        The int16 accumulation depth: how many steps of four products are added in int16 on CPUs without dot-product
        instructions. Larger is faster and less precise. 0 leaves weights their full range; kernels then add in int32.
        "auto" takes 8, 4 or 2 for each layer: the fastest choice that, measured on the first samples, adds no more than
        0.05 % of the outputs' variance (`accumulation.BUDGET`) to the squared error that depth 2 has. The metadata
        "pycompress.accumulate" lists the depths. Depthwise convolutions get the maximum depth unless it is 0.
    activations : {"static", "dynamic", "float"}
        "static": uint8, by ranges from calibration. "float": only the weights are quantized. "dynamic": the inputs of MatMul
        and Gemm with int8 weights are quantized when they are computed, by their own extremes (DynamicQuantizeLinear and
        MatMulInteger), and so are the states of LSTMs; those of other layers stay float. The options on ranges are then without effect.
    method : {"mse", "minmax", "percentile", "entropy"}
        How ranges of activations are chosen: minimum squared error, the extremes, `percentile` percent of the values, or the
        least Kullback-Leibler divergence of the rounded from the exact distribution.
    percentile : float
        In (50, 100]; for the method of that name.
    symmetric : bool
        Use zero point 128 for activations with negative values.
    operators : iterable of str, or one
        The operators to quantize, out of `OPERATORS`.
    exclude : iterable of str
        Names of nodes that stay float.
    bias_correction : {True, False, "sequential"}
        Subtract the mean error of the rounded weights from the bias. "sequential", for at least 24 samples of one shape:
        then also that of the outputs of each layer in the quantized model, in order, measured on up to 32 samples and halved, unless
        other samples tell that this does not help. The metadata "pycompress.bias" tells what was done.
    equalize : bool
        Scale the channels of residual streams and of bottlenecks without an activation function toward equal ranges, by
        `quantization.equalize`, where that leaves the float network as it is. The metadata "pycompress.equalize" lists them.
    interleave : bool
        Copy channels between a convolution and a depthwise one, by `quantization.interleave`, where that removes half of the
        error of rounding them, as in the first block of networks of the MobileNet family. The metadata
        "pycompress.interleave" lists how many were added. EfficientNet-Lite0 and -Lite1 gain 2 to 5 dB, for 5 to 9 % of Lite1's time.
    lstm : bool, optional
        Give LSTMs int8 weights, and quantize their states in each time step, by their own extremes: they become
        com.microsoft's DynamicQuantizeLSTM, which not every runtime has. Default: where activations are dynamic.
    quantize_outputs : bool
        Quantize the model's outputs, too.
    judge : bool
        Compare the result's outputs with those of `model`, for the verdict. False saves this time, a third, where
        accuracy is measured anyhow.
    unless_slower : bool
        Leave in float what this machine does not run faster on integers: nodes whose steps are slower there, if the model
        as a whole gains by it, or the whole model. Measured with the first sample, on one thread. What was left is in the
        verdict and in the metadata "pycompress.left_float"; these nodes as `exclude` give such a model without measuring.
    min_snr : float, optional
        Refuse a result whose outputs have a lower signal-to-noise ratio against `model`, in dB, on calibration samples
        that are held back.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Returns
    -------
    onnx.ModelProto
        `model` in QDQ form. Its metadata says what was done.

    Raises
    ------
    ValueError
        If an argument is out of range, the calibration is empty or does not fit the model, or an
        activation is not finite; `ModelError`, a ValueError, if the model is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> samples = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> quantized = pycompress.quantize(model, samples)
    >>> quantized.ByteSize() < model.ByteSize() / 2
    True
    >>> session = pycompress.InferenceSession(quantized)
    >>> (logits,) = session.run(None, {"input": samples[:1]})
    >>> logits.shape
    (1, 4)
    """
    how = Options(
        four=Int4Options(weights, group_size or None, rounding, zero_points, share, first_last),
        accumulate=depth_for(target, accumulate) if activations != "float" else 0,
        activations=activations, method=method, percentile=percentile, symmetric=symmetric,
        operators=frozenset([operators] if isinstance(operators, str) else operators), exclude=frozenset(g.excluded(exclude) or ()), bias_correction=bias_correction,
        equalize=equalize, interleave=interleave, lstm=activations == "dynamic" if lstm is None else lstm,
        quantize_outputs=quantize_outputs, judge=judge, unless_slower=unless_slower, min_snr=min_snr,
    )  # fmt: skip
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    floats = Floats(model, calibration, how)
    codes, slower = Codes(floats, how, progress), {}
    if unless_slower:
        made, slower = no_slower(floats.model, codes.build, floats.targets.nodes, floats.samples.sample)
    else:
        made = codes.build()
    if how.sequential:
        names = [x.name for x in codes.layers if x.name not in slower]
        made = correct_biases(floats.part, made, names, codes.seen, floats.able.ends)
    left = floats.able.why | (lstms(floats.given, floats.without())[1] if how.lstm else {})
    judged = codes.seen if judge and not floats.synthetic else None
    conclude("quantize", floats.given, made, size, judged, floats.able.ends, left, min_snr, slower=slower)
    return made
