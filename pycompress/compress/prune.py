"""prune: ONNX in, the same network with zeros among its weights out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from .calibration.blas import one_blas_thread
from .calibration.computable import computable
from .calibration.samples import Samples
from .model import graph as g
from .model.layers import Layer, find_layers, float_model, write
from .model.prepare import check
from .progress import Progress
from .pruning.masks import Pattern, choose_masks, parse
from .pruning.reconstruct import prune_on_data
from .verdict import Judge, check_min_snr, conclude

METADATA = "pycompress.prune"
SCOPES = ("global", "layer")
CLEARLY = 0.2  # dB


@one_blas_thread
def prune(
    model: g.Model,
    sparsity: float | Mapping[str, float] | None,
    *,
    scope: str = "global",
    pattern: str = "unstructured",
    exclude: Iterable[str] | None = None,
    calibration: Iterable | None = None,
    reconstruct: bool | None = None,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """`model` with the least important weights of its convolutions and matrix products set to zero.

    Without `calibration` the smallest go (Han et al., 2015): networks need training after that. With it,
    those go whose loss the others make up for best, and the others are re-fitted so that each layer's outputs stay as
    near as they can be to what they were (`reconstruct`; in the manner of SparseGPT, arXiv:2301.00774).

    What is pruned are Conv without groups, Gemm and MatMul with constant weights; batch norm is
    folded first. The result is an ordinary ONNX model with the same inputs and outputs, no smaller than
    before. Which layers were pruned how far, and which were left alone and why, stands in its
    metadata, "pycompress.prune".

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    sparsity : float or {node name: float}
        The share of the weights to remove, in [0, 1): of all those layers together, or, as a dict, of
        each layer it names; the others are left alone. None for a `pattern` N:M, which says it itself.
    scope : {"global", "layer"}
        One threshold for all layers, or the same share of each. With `calibration`, the threshold is on what a
        weight adds to the error of the model's outputs, as measured with each layer pruned alone; layers of a few
        weights and many products then stay denser than others. N:M leaves no choice.
    pattern : {"unstructured", "1x4", "4x1", "16x1", "N:M", "channel"}
        What goes together. "1x4": four consecutive input channels of one output and kernel cell; "4x1" and
        "16x1": that many consecutive outputs at one input; such blocks are ranked by their norm. "2:4",
        "4:16": at most N of M consecutive input channels stay. "channel": see `channels.prune_channels`.
    exclude : iterable of str, optional
        Names of nodes to leave alone. By default the first convolutions and the classifier (what no
        other weights come before or after), unless `sparsity` names them. Convolutions with groups are
        always left alone.
    calibration : iterable, optional
        Samples as in `quantize`. With `reconstruct` they are held in memory and run through the network once for each
        layer, or twice.
    reconstruct : bool, optional
        Re-fit the weights that stay; by default, if there is calibration. If not, importance is |w| times the
        deviation of what it meets (Wanda, arXiv:2306.11695), and biases take up the mean of the error. Layers with too
        many weights per output for a covariance (2896), or shared by several nodes, are not re-fitted.
    min_snr : float, optional
        Refuse a result whose outputs, on calibration samples held back, have a lower signal-to-noise ratio, in dB, against
        `model`. Needs calibration.
    base_dir : path, optional
        Where tensors stored outside the file lie; without it such models are refused.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Raises
    ------
    ValueError
        An argument is out of range or names what is not there. `ModelError`, a ValueError, where the model is at
        fault: also where it is quantized already or has nothing to prune.
    """
    if pattern == "channel":
        from .pruning.channels import prune_channels

        if reconstruct is not None:
            raise ValueError("reconstruct: channels are re-fitted wherever there is calibration")
        given = {"scope": scope, "exclude": exclude, "calibration": calibration, "min_snr": min_snr}
        return prune_channels(model, sparsity, **given, base_dir=base_dir, progress=progress)
    shape = parse(pattern)
    if reconstruct and calibration is None:
        raise ValueError("reconstruct needs calibration")
    if scope not in SCOPES:
        raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {scope!r}")
    check_min_snr(min_snr, calibration is not None)
    sparsity, exclude = _checked(sparsity, shape), g.excluded(exclude)
    model = g.as_model(model, base_dir)
    size = model.ByteSize()
    model = float_model(model)
    samples = None if calibration is None else Samples(model, calibration)
    able = None if samples is None else computable(model, samples.sample)
    blocked = {} if able is None else able.why
    layers, left = find_layers(model, exclude, sparsity, blocked)
    whole, seen, found = g.copied(model), None, None
    ratios = [sparsity[x.name] for x in layers] if isinstance(sparsity, dict) else [sparsity] * len(layers)
    share = sparsity if scope == "global" and not isinstance(sparsity, dict) else ratios
    if calibration is None:
        weights, how = _by_magnitude(model, layers, shape, share), {"selection": "magnitude"}
    else:
        refit = reconstruct is not False
        weights, plain, seen = prune_on_data(model, able, layers, shape, share, samples, refit, progress)
        how = {"selection": "reconstruction" if refit else "activations"} | ({"not_fitted": plain} if plain else {})
        if refit:
            rival = g.copied(whole)
            others = find_layers(rival, exclude, sparsity, blocked)[0]
            plain_weights = _by_magnitude(rival, others, shape, share)
            judge = Judge(whole, seen, able.ends)
            found, other = judge.compare(model), judge.compare(rival)
            if worse := _worse(found, other):
                model, layers, weights, found = rival, others, plain_weights, other
                how = {"selection": "magnitude", "reason": worse}
    note(model, layers, weights, left, shape, scope, **how)
    g.drop_unused(model)
    check(model)
    conclude("prune", whole, model, size, seen, able.ends if able else (), blocked, min_snr, found)
    return model


def _by_magnitude(model: onnx.ModelProto, layers: list[Layer], pattern: Pattern, share) -> list[np.ndarray]:
    """Writes `layers` without their smallest weights; returns what stays."""
    masks = choose_masks([np.square(x.w) for x in layers], [x.segments for x in layers], pattern, share)
    weights = [np.where(mask, layer.w, 0.0) for layer, mask in zip(layers, masks)]
    for layer, w in zip(layers, weights):
        write(model, layer, w)
    return weights


def _worse(fitted: dict, plain: dict) -> str | None:
    """What is said where re-fitted weights answer samples that they were not fitted to clearly worse than the largest do."""
    if not fitted or fitted["snr"] is None or plain["snr"] is None or fitted["snr"] + CLEARLY >= plain["snr"]:
        return None
    if (fitted["agreement"] or 0) > (plain["agreement"] or 0):
        return None
    return f"re-fitted weights answer at {fitted['snr']:.1f} dB, the largest as they are at {plain['snr']:.1f} dB"


def _ratio(value, where: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
        raise ValueError(f"sparsity{where} must be in [0, 1), got {value!r}")
    return float(value)


def _checked(sparsity, pattern: Pattern) -> float | dict[str, float]:
    """`sparsity`, which must be what an N:M `pattern` has."""
    own = pattern.sparsity
    if sparsity is None and own is None:
        raise ValueError(f"sparsity: pattern {pattern.name!r} needs one")
    if isinstance(sparsity, Mapping):
        sparsity = {name: _ratio(v, f" of {name!r}") for name, v in sparsity.items()}
    else:
        sparsity = own if sparsity is None else _ratio(sparsity)
    for value in sparsity.values() if isinstance(sparsity, dict) else [sparsity]:
        if own is not None and value and abs(value - own) > 1e-6:
            raise ValueError(f"sparsity: pattern {pattern.name} is {own:g} sparse, got {value:g}; None will do")
    return sparsity


def note(model: onnx.ModelProto, layers, weights, left: dict[str, str], pattern: Pattern, scope: str, **more) -> None:
    """Writes what was done into the model's metadata."""
    zeros = [int((w == 0).sum()) for w in weights]
    shares = {layer.name: round(z / layer.w.size, 4) for layer, z in zip(layers, zeros)}
    share = round(sum(zeros) / sum(layer.w.size for layer in layers), 4)
    told = {"pattern": pattern.name, "scope": scope, "sparsity": share, "layers": shares, "excluded": left, **more}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told)})
