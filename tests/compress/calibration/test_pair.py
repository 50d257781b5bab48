import numpy as np
from onnx import helper

from pycompress.compress.calibration.pair import SHARES, Pair, fit, fitted
from pycompress.compress.model.layers import Layer


def layer_of(w, correct=True):
    node = helper.make_node(
        "Gemm" if correct else "MatMul", ["x", "w"], ["y"], "layer", **({"transB": 1} if correct else {})
    )
    return Layer([node], w, 1, None, correct=correct)


def inputs(rng, count, mix, gain, noise=0.0):
    for _ in range(count):
        x = (rng.standard_normal((40, len(mix))) @ mix + 1).astype("f4")
        yield x, (x * gain + noise * rng.standard_normal(x.shape)).astype("f4")


def test_a_fit_undoes_what_the_layers_before_it_did_to_all_samples():
    rng = np.random.default_rng(0)
    w, mix = rng.standard_normal((5, 12)), rng.standard_normal((12, 12))
    gain = rng.uniform(0.7, 1.4, 12)
    for correct in (True, False):
        p = fit(layer_of(w, correct), (5, 12) if correct else (12, 5), inputs(rng, 16, mix, gain))
        off = [np.abs(v - w / gain).mean() for v in (w, p.w)]
        assert off[1] < 0.3 * off[0]
        assert p.h.shape == (12, 12) and p.h.dtype == np.float32 and (p.offset is None) == (not correct)


def test_a_fit_to_noise_is_damped_away():
    rng = np.random.default_rng(1)
    w = rng.standard_normal((5, 64))

    def each(count):  # every sample has its own few directions, and shifts them in its own way
        for _ in range(count):
            x = (rng.standard_normal((3, 2)) @ rng.standard_normal((2, 64))).astype("f4")
            yield x, x * rng.uniform(0.5, 1.5, 64).astype("f4")

    p = fit(layer_of(w), (5, 64), each(6))
    pair = Pair(layer_of(w).node, (5, 64))
    rng = np.random.default_rng(1)
    rng.standard_normal((5, 64))
    for x, y in each(6):
        pair.add(x, y)
    least = fitted(w, *pair.moments(False), min(SHARES))
    assert np.abs(p.w - w).mean() < 0.5 * np.abs(least - w).mean()


def test_pruned_weights_stay_zero():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((5, 12)) * (rng.random((5, 12)) < 0.5)
    p = fit(layer_of(w), (5, 12), inputs(rng, 8, rng.standard_normal((12, 12)), rng.uniform(0.7, 1.4, 12)))
    assert not p.w[w == 0].any()
