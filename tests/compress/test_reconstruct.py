"""Pruning by what layers meet: importance, the fit of what stays, the scan of sensitivity."""

import numpy as np
import onnxruntime
import pytest

import pycompress as pc
from pycompress import zoo
from pycompress.compress.masks import parse
from pycompress.compress.reconstruct import damped, importance, refit


def layer(rng, n=6, k=16):
    x = rng.standard_normal((400, 5)) @ rng.standard_normal((5, k)) + 0.1 * rng.standard_normal((400, k))
    return rng.standard_normal((n, k)), x, damped(x.T @ x / len(x))


def test_the_fit_is_the_least_squares_one_on_each_row_s_support():
    rng = np.random.default_rng(0)
    w, _, c = layer(rng)
    mask = rng.random(w.shape) < 0.5
    mask[0], mask[1] = False, True
    fitted = refit(w, mask, c)
    assert not fitted[~mask].any()
    np.testing.assert_array_equal(fitted[1], w[1])
    gradient = (fitted - w) @ c
    np.testing.assert_allclose(gradient[mask], 0, atol=1e-9)


def test_a_weight_that_others_can_stand_in_for_matters_less():
    rng = np.random.default_rng(1)
    w, _, c = layer(rng)
    alone, among = (importance(w, c, parse("unstructured"), 1, refitted) for refitted in (False, True))
    assert (among <= alone * (1 + 1e-9)).all() and among.sum() < 0.5 * alone.sum()
    np.testing.assert_allclose(alone, w**2 * c.diagonal() / np.einsum("nk,kl,nl->", w, c, w))


def test_weights_of_a_block_share_what_it_costs():
    rng = np.random.default_rng(2)
    w, _, c = layer(rng)
    cost = importance(w, c, parse("1x4"), 1, True).reshape(6, 4, 4)
    np.testing.assert_allclose(cost, cost[:, :, :1].repeat(4, 2), rtol=1e-6)
    for block in range(4):  # what refitting without the block costs, exactly
        mask = np.ones_like(w, bool)
        mask[:, 4 * block : 4 * block + 4] = False
        off = refit(w, mask, c) - w
        lost = np.einsum("nk,kl,nl->n", off, c, off) / np.einsum("nk,kl,nl->", w, c, w)
        np.testing.assert_allclose(cost[:, block].sum(1), lost, rtol=1e-6)


@pytest.fixture(scope="module")
def network():
    model = zoo.mobilenetv2(width=0.35, resolution=32, classes=10)
    return model, np.random.default_rng(0).standard_normal((12, 3, 32, 32), np.float32)


def outputs(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"input": part[None]})[0] for part in x])


def error(model, pruned, x):
    wanted = outputs(model, x)
    return np.sqrt(np.square(outputs(pruned, x) - wanted).mean() / wanted.var())


@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "16x1", "4:8"])
def test_reconstruction_is_nearer_to_the_network_than_magnitude(network, pattern):
    model, x = network
    sparsity = None if ":" in pattern else 0.5
    plain = pc.prune(model, sparsity, scope="layer", pattern=pattern)
    fitted = pc.prune(model, sparsity, scope="layer", pattern=pattern, calibration=x)
    assert error(model, fitted, x) < 0.8 * error(model, plain, x)
    ours = pc.InferenceSession(fitted).run(None, {"input": x[:1]})[0]
    np.testing.assert_allclose(ours, outputs(fitted, x[:1]), rtol=1e-3, atol=1e-3)


def test_reconstruction_needs_calibration(network):
    with pytest.raises(ValueError, match="reconstruct needs calibration"):
        pc.prune(network[0], 0.5, reconstruct=True)


def test_sensitivity_has_a_row_per_layer_and_errors_that_grow(network):
    model, x = network
    rows = pc.sensitivity(model, x, (0.3, 0.9), samples=2)
    told = pc.prune(model, 0.5).metadata_props
    assert len(rows) > 20 and any(p.key == "pycompress.prune" for p in told)
    assert np.mean([row["errors"][0.9] > row["errors"][0.3] for row in rows]) > 0.9
    with pytest.raises(ValueError, match="sparsities"):
        pc.sensitivity(model, x, (1.0,))
    with pytest.raises(ValueError, match="one sparsity"):
        pc.sensitivity(model, x, pattern="2:4")
    with pytest.raises(ValueError, match="no samples"):
        pc.sensitivity(model, x[:0])
