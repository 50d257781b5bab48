"""prune: sets the least important weights of an ONNX model to zero."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from .calibration.blas import one_blas_thread
from .calibration.computable import computable
from .calibration.samples import Calibration, Samples
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
    calibration: Calibration | None = None,
    reconstruct: bool | None = None,
    min_snr: float | None = None,
    base_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Set the least important weights of the convolutions and matrix products of `model` to zero.

    Without `calibration` the smallest weights are removed (Han et al., 2015); networks then need training. With it,
    weights are removed whose loss the remaining ones compensate best, and the remaining ones are re-fitted so that the
    outputs of each layer change as little as possible (`reconstruct`; similar to SparseGPT, arXiv:2301.00774).

    Conv without groups, Gemm and MatMul with constant weights are pruned; batch norm is folded first. The result is an
    ordinary ONNX model with the same inputs and outputs and the same size. Its metadata "pycompress.prune" lists how
    far each layer was pruned, and which layers were left alone and why.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A float model; it is not changed.
    sparsity : float or {node name: float}
        The share of the weights to remove, in [0, 1): of all these layers together, or, as a dict, of each layer it
        names; the others are left alone. None for a `pattern` N:M, which determines it.
    scope : {"global", "layer"}
        One threshold for all layers, or the same share of each. With `calibration`, the global threshold applies to the
        error that a weight adds to the model's outputs, measured by pruning one layer at a time; layers with few weights
        and many products then stay denser than others. Has no effect on N:M.
    pattern : {"unstructured", "1x4", "4x1", "16x1", "N:M", "channel"}
        Which weights are removed together. "1x4": four consecutive input channels of one output and kernel cell; "4x1"
        and "16x1": that many consecutive outputs at one input; blocks are ranked by their norm. "2:4", "4:16": at most N
        of M consecutive input channels stay. "channel": see `channels.prune_channels`.
    exclude : iterable of str, optional
        Names of nodes to leave alone. By default the first convolutions and the classifier (the layers that no
        other weights precede or follow), unless `sparsity` names them. Convolutions with groups are always left alone.
    calibration : iterable, optional
        Samples as in `quantize`. With `reconstruct` they are held in memory and run through the network once for each
        layer, or twice.
    reconstruct : bool, optional
        Re-fit the weights that stay. Default: if there is calibration. If False, importance is |w| times the standard
        deviation of its input (Wanda, arXiv:2306.11695), and biases absorb the mean error. Layers with more than 2896
        weights per output, or with weights shared by several nodes, are not re-fitted.
    min_snr : float, optional
        Refuse a result whose outputs have a lower signal-to-noise ratio against `model`, in dB, on calibration samples
        that are held back. Needs calibration.
    base_dir : path, optional
        The folder of tensors that are stored outside the file; default: the folder of `model`, if that is a path.
    progress : callable, optional
        Called with the number of samples seen and None, then with the number of layers done and of all; more than once
        where a pass goes through them several times.

    Returns
    -------
    onnx.ModelProto
        Of the same size as `model`; zeros among its weights. Its metadata says what was done.

    Raises
    ------
    ValueError
        If an argument is out of range or names a missing node; `ModelError`, a ValueError, if the model is invalid,
        already quantized, or has nothing to prune.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> model = pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4)
    >>> pruned = pycompress.prune(model, 0.8)
    >>> import json
    >>> told = {entry.key: entry.value for entry in pruned.metadata_props}["pycompress.prune"]
    >>> round(json.loads(told)["sparsity"], 2)
    0.8

    With calibration samples the remaining weights are re-fitted, and the result is judged:

    >>> samples = np.random.default_rng(0).standard_normal((4, 3, 32, 32), np.float32)
    >>> pruned = pycompress.prune(model, None, pattern="2:4", calibration=samples)
    >>> pycompress.verdict(pruned).samples
    4
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
    """Sets the smallest weights of `layers` to zero; returns the masks of those that stay."""
    masks = choose_masks([np.square(x.w) for x in layers], [x.segments for x in layers], pattern, share)
    weights = [np.where(mask, layer.w, 0.0) for layer, mask in zip(layers, masks)]
    for layer, w in zip(layers, weights):
        write(model, layer, w)
    return weights


def _worse(fitted: dict, plain: dict) -> str | None:
    """A warning if re-fitted weights are clearly worse than magnitude pruning on samples that were held back; else None."""
    if not fitted or fitted["snr"] is None or plain["snr"] is None or fitted["snr"] + CLEARLY >= plain["snr"]:
        return None
    if (fitted["agreement"] or 0) > (plain["agreement"] or 0):
        return None
    return f"re-fitted weights give {fitted['snr']:.1f} dB, magnitude pruning {plain['snr']:.1f} dB"


def _ratio(value, where: str = "") -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value < 1:
        raise ValueError(f"sparsity{where} must be in [0, 1), got {value!r}")
    return float(value)


def _checked(sparsity, pattern: Pattern) -> float | dict[str, float]:
    """`sparsity`, checked; an N:M `pattern` determines it."""
    own = pattern.sparsity
    if sparsity is None and own is None:
        raise ValueError(f"sparsity: pattern {pattern.name!r} needs one")
    if isinstance(sparsity, Mapping):
        if not sparsity:
            raise ValueError("sparsity: a dict must name a layer, and this one is empty")
        sparsity = {name: _ratio(v, f" of {name!r}") for name, v in sparsity.items()}
    else:
        sparsity = own if sparsity is None else _ratio(sparsity)
    for value in sparsity.values() if isinstance(sparsity, dict) else [sparsity]:
        if own is not None and value and abs(value - own) > 1e-6:
            raise ValueError(f"sparsity: pattern {pattern.name} has sparsity {own:g}, got {value:g}; leave it out")
    return sparsity


def note(model: onnx.ModelProto, layers, weights, left: dict[str, str], pattern: Pattern, scope: str, **more) -> None:
    """Writes a report into the model's metadata."""
    zeros = [int((w == 0).sum()) for w in weights]
    shares = {layer.name: round(z / layer.w.size, 4) for layer, z in zip(layers, zeros)}
    share = round(sum(zeros) / sum(layer.w.size for layer in layers), 4)
    told = {"pattern": pattern.name, "scope": scope, "sparsity": share, "layers": shares, "excluded": left, **more}
    helper.set_model_props(model, g.metadata(model) | {METADATA: json.dumps(told)})
