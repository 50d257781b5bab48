import json

import numpy as np
import pytest
from onnx import helper, numpy_helper

import pycompress
from prunable import answer, conv, images, layer, network, small, told
from pycompress import zoo
from pycompress.compress.calibration.sequential import Problem, least_squares
from pycompress.compress.model import graph as g
from pycompress.compress.prune import prune
from pycompress.compress.pruning.zeros import sparse_layers


def correlated(rng, k, common=2.0):
    x = rng.standard_normal((500, k)) + common * rng.standard_normal((500, 1))
    return x.T @ x / 500


def cost(w, v, h):
    return np.einsum("nk,kj,nj->n", v - w, h, v - w)


@pytest.mark.parametrize("k", [1, 9, 40])
def test_least_squares_is_exact_on_its_mask(k):
    rng = np.random.default_rng(0)
    w, h = rng.standard_normal((20, k)), correlated(rng, k) + 0.01 * np.eye(k)
    mask = rng.random((20, k)) < 0.5
    v = least_squares(w, mask, h.astype(np.float32))
    assert not v[~mask].any()
    for i in range(20):
        s = np.flatnonzero(mask[i])
        np.testing.assert_allclose(v[i, s], np.linalg.solve(h[np.ix_(s, s)], h[s] @ w[i]), atol=2e-3)


def test_the_importance_of_a_weight_is_the_least_cost_of_its_absence():
    rng = np.random.default_rng(0)
    w, h = rng.standard_normal((3, 12)), correlated(rng, 12).astype(np.float32)
    p = Problem(w, h, None, np.zeros(12))
    costs = p.importance(refit=True)
    for k in range(12):
        mask = np.arange(12)[None] != np.full((3, 1), k)
        np.testing.assert_allclose(cost(w, least_squares(w, mask, h), h), costs[:, k], rtol=2e-3)
    np.testing.assert_allclose(p.importance(refit=False), w**2 * h.diagonal())


@pytest.mark.parametrize("decades", [0, 3, 6, 12])
def test_least_squares_is_exact_however_far_variances_lie_apart(decades):
    rng = np.random.default_rng(0)
    k, spread = 40, np.logspace(0, -decades / 2, 40)
    h = (correlated(rng, k, 0.5) + 0.01 * np.eye(k)) * spread * spread[:, None]
    w, mask = rng.standard_normal((20, k)) / spread, rng.random((20, k)) < 0.4
    v = least_squares(w, mask, h)
    best = np.zeros_like(w)
    for i in range(20):
        s = np.flatnonzero(mask[i])
        unit = spread[s]
        best[i, s] = np.linalg.solve(h[np.ix_(s, s)] / unit / unit[:, None], h[s] @ w[i] / unit) / unit
    assert (cost(w, v, h) <= cost(w, best, h) * 1.001).all()
    assert (cost(w, v, h) <= cost(w, np.where(mask, w, 0), h)).all()


def test_rows_that_the_fit_does_not_help_stay_as_they_were():
    rng = np.random.default_rng(0)
    w, h = rng.standard_normal((4, 12)), correlated(rng, 12).astype(np.float32)
    mask = rng.random((4, 12)) < 0.5
    plain, p = np.where(mask, w, 0.0), Problem(w, h, None, np.zeros(12))
    assert (p.errors(p.fitted(mask, plain)) < p.errors(plain)).all()
    best = least_squares(w, mask, h)
    np.testing.assert_array_equal(p.fitted(mask, best), best)
    broken = Problem(w, np.full((12, 12), np.nan, np.float32), None, np.zeros(12))
    np.testing.assert_array_equal(broken.fitted(mask, plain), plain)


def scaled_chain(size):
    """Three products whose inputs are of the given size; and samples."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s) for s in ((16, 32), (32, 8), (8, 4)))
    nodes = [
        helper.make_node("MatMul", ["input", "a"], ["h"], name="h"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["i"], name="i"),
        helper.make_node("Relu", ["i"], ["s"]),
        helper.make_node("MatMul", ["s", "c"], ["output"], name="o"),
    ]
    model = network(nodes, [64, 16], [64, 4], a=a, b=b, c=c)
    return model, [(np.random.default_rng(i).standard_normal((64, 16)) * size).astype("f4") for i in range(4)]


@pytest.mark.filterwarnings("ignore::pycompress.VerdictWarning")
@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e9, 1e18])
def test_passes_do_for_inputs_of_any_magnitude_what_they_do_for_those_of_magnitude_1(size):
    def off(scale):
        model, data = scaled_chain(scale)
        wanted, found = answer(model, data[0]).astype(float), []
        for passed in (
            prune(model, 0.5, calibration=data, exclude=[]),
            prune(model, 0.5, calibration=data, exclude=[], reconstruct=False),
            pycompress.factorize(model, rank={"h": 8, "i": 6}, calibration=data),
            pycompress.quantize(model, data),
            pycompress.quantize(model, data, weights=4),
        ):
            got = answer(passed, data[0]).astype(float)
            found.append(np.sqrt(np.square(got - wanted).sum() / np.square(wanted).sum()))
        return np.array(found)

    np.testing.assert_allclose(off(size), off(1.0), rtol=0.1, atol=1e-3)


@pytest.mark.filterwarnings("ignore::pycompress.VerdictWarning")
def test_channels_that_are_almost_dead_do_no_harm():
    rng = np.random.default_rng(0)
    sizes = np.logspace(0, -6, 24)
    nodes = [
        conv("input", "a", "w"),
        helper.make_node("Relu", ["a"], ["r"]),
        conv("r", "b", "v"),
        helper.make_node("Relu", ["b"], ["s"]),
        conv("s", "output", "u"),
    ]
    w = rng.standard_normal((24, 3, 1, 1)) * sizes[:, None, None, None]
    v = rng.standard_normal((24, 24, 1, 1)) / sizes[None, :, None, None] ** 0.9
    model = network(nodes, [1, 3, 8, 8], [1, 4, 8, 8], w=w, v=v, u=rng.standard_normal((4, 24, 1, 1)))
    data = list(rng.standard_normal((16, 1, 3, 8, 8)).astype("f4"))
    for options in ({"pattern": "unstructured"}, {"pattern": "1x4"}):
        fitted = prune(model, 0.5, calibration=data, exclude=["a"], **options)
        plain = prune(model, 0.5, exclude=["a"], **options)
        errors = [sum(np.square(answer(p, x) - answer(model, x)).sum() for x in data[7::8]) for p in (fitted, plain)]
        assert all(np.isfinite(numpy_helper.to_array(t)).all() for t in fitted.graph.initializer)
        assert errors[0] <= 1.05 * errors[1]


def test_re_fitted_weights_answer_better_than_others_and_those_of_data_better_than_the_smallest():
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((24, 24)) * np.geomspace(1, 0.05, 24)
    data = [(mix @ rng.standard_normal((24, 64)) + 1).reshape(1, 24, 8, 8).astype("f4") for _ in range(20)]
    nodes = [conv("input", "a", "w"), helper.make_node("Relu", ["a"], ["r"]), conv("r", "output", "v")]
    w, v = rng.standard_normal((32, 24, 1, 1)), rng.standard_normal((6, 32, 1, 1))
    model = network(nodes, [1, 24, 8, 8], [1, 6, 8, 8], w=w, v=v)

    def error(pruned):
        return sum(np.square(answer(pruned, x) - answer(model, x)).mean() for x in data[15:])

    for scope in ("layer", "global"):
        given = {"scope": scope, "exclude": ()}
        plain = prune(model, 0.6, **given)
        wanda = prune(model, 0.6, calibration=data[:15], reconstruct=False, **given)
        fitted = prune(model, 0.6, calibration=iter(data[:15]), **given)
        assert error(fitted) < 0.5 * error(wanda) and error(wanda) < error(plain)
        for pruned, how in ((plain, "magnitude"), (wanda, "activations"), (fitted, "reconstruction")):
            assert told(pruned)["selection"] == how and abs(told(pruned)["sparsity"] - 0.6) < 2e-3


@pytest.mark.parametrize("reconstruct", [True, False])
@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "16x1", "2:4"])
def test_patterns_hold_with_data_and_both_engines_agree(pattern, reconstruct):
    model, data = small(), images(6)
    pruned = prune(model, 0.5, pattern=pattern, calibration=data, reconstruct=reconstruct)
    values = {t.name: numpy_helper.to_array(t) for t in pruned.graph.initializer}
    assert [r["pattern"] for r in sparse_layers(pruned, values)] == [pattern] * 2
    x = images(3, 1)
    ort_outputs = answer(pruned, x)
    np.testing.assert_allclose(
        pycompress.InferenceSession(pruned).run(None, {"input": x})[0], ort_outputs, rtol=1e-4, atol=1e-4
    )
    spread = np.square(ort_outputs - answer(model, x)).mean() / answer(model, x).var()
    assert spread < (0.5 if reconstruct else 2)


def test_the_mean_of_the_outputs_stays():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "c", "w"), helper.make_node("Identity", ["c"], ["output"])]
    model = network(nodes, [1, 16, 4, 4], [1, 8, 4, 4], w=rng.standard_normal((8, 16, 1, 1)))
    data = [(rng.standard_normal((1, 16, 4, 4)) + 3).astype("f4") for _ in range(40)]
    for reconstruct in (True, False):
        pruned = prune(model, 0.5, exclude=(), calibration=data, reconstruct=reconstruct)
        seen = [x for i, x in enumerate(data) if i % 8 != 7]  # the others are held back
        off = np.mean([answer(pruned, x) - answer(model, x) for x in seen], (0, 1, 3, 4))
        assert np.abs(off).max() < 1e-3


def test_gemm_and_matmul_are_fitted_in_all_their_forms():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((16, 8)), rng.standard_normal((12, 16)), rng.standard_normal((12, 4))
    nodes = [
        helper.make_node("MatMul", ["input", "a"], ["h"], name="h"),
        helper.make_node("Gemm", ["h", "b", "bias"], ["i"], name="i", alpha=0.5, beta=2.0, transB=1),
        helper.make_node("Gemm", ["i", "c"], ["output"], name="o"),
    ]
    model = network(nodes, ["n", 8], ["n", 4], a=a.T, b=b, c=c, bias=rng.standard_normal((1, 12)))
    data = rng.standard_normal((300, 8)).astype("f4")
    pruned = prune(model, 0.3, scope="layer", exclude=(), calibration=data)
    wanted, got = answer(model, data), answer(pruned, data)
    plain = answer(prune(model, 0.3, scope="layer", exclude=()), data)
    assert np.square(got - wanted).mean() < 0.3 * np.square(plain - wanted).mean()
    assert len(next(n for n in pruned.graph.node if n.name == "h").input) == 2


def test_layers_that_cannot_be_fitted_are_pruned_and_said():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "a", "v"), conv("a", "b", "w"), conv("b", "c", "w"), conv("c", "output", "u")]
    u, v, w = (rng.standard_normal(s) for s in ((2, 8, 1, 1), (8, 3, 1, 1), (8, 8, 1, 1)))
    model = network(nodes, [1, 3, 4, 4], [1, 2, 4, 4], u=u, v=v, w=w)
    pruned = prune(model, 0.5, calibration=rng.standard_normal((4, 3, 4, 4)).astype("f4"))
    assert told(pruned)["not_fitted"] == {"b": "several nodes share its weights"}
    kept = layer(pruned, "b") != 0
    np.testing.assert_array_equal(layer(pruned, "b")[kept], layer(model, "b")[kept])
    assert kept.sum() == 32


def test_inputs_that_are_never_seen_do_no_harm():
    model, data = small(), np.zeros((3, 3, 32, 32), np.float32)
    for reconstruct in (True, False):
        pruned = prune(model, 0.5, calibration=data, reconstruct=reconstruct)
        assert np.isfinite(answer(pruned, images(1))).all() and abs(told(pruned)["sparsity"] - 0.5) < 2e-3


def test_zeros_that_are_there_stay():
    once = prune(small(), 0.5, scope="layer")
    again = prune(once, 0.6, scope="layer", calibration=images(4))
    for name in ("wide", "point"):
        assert not layer(again, name)[layer(once, name) == 0].any()


def test_progress_counts_samples_then_layers_and_the_report_is_json():
    seen = []
    pruned = prune(small(), 0.5, calibration=images(3), progress=lambda *args: seen.append(args))
    layers = seen[3:]
    assert seen[:3] == [(1, None), (2, None), (3, None)] and layers[-1][0] == layers[-1][1] > 0
    json.loads(g.metadata(pruned)["pycompress.prune"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reconstruct": True}, "reconstruct needs calibration"),
        ({"reconstruct": False, "pattern": "channel"}, "reconstruct: channels are re-fitted"),
        ({"calibration": []}, "no samples"),
        ({"calibration": np.full((1, 3, 32, 32), np.nan, "f4")}, "not finite in sample 0"),
        ({"calibration": np.zeros((1, 3, 16, 16), "f4")}, "must have shape"),
    ],
)
def test_bad_calibration_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        prune(small(), 0.5, **options)


@pytest.fixture(scope="module")
def mobilenet():
    model = zoo.mobilenetv1(width=0.25, resolution=32, classes=10)
    return model, np.random.default_rng(0).standard_normal((12, 3, 32, 32), np.float32)


def answers_to(model, x):
    return np.concatenate([answer(model, part[None]) for part in x])


def error(model, pruned, x):
    wanted = answers_to(model, x)
    return np.sqrt(np.square(answers_to(pruned, x) - wanted).mean() / wanted.var())


@pytest.mark.parametrize("pattern", ["unstructured", "1x4", "16x1", "4:8"])
def test_reconstruction_is_nearer_to_the_network_than_magnitude(mobilenet, pattern):
    model, x = mobilenet
    sparsity = None if ":" in pattern else 0.5
    plain = pycompress.prune(model, sparsity, scope="layer", pattern=pattern)
    fitted = pycompress.prune(model, sparsity, scope="layer", pattern=pattern, calibration=x)
    assert error(model, fitted, x) < 0.8 * error(model, plain, x)
    ours = pycompress.InferenceSession(fitted).run(None, {"input": x[:1]})[0]
    np.testing.assert_allclose(ours, answers_to(fitted, x[:1]), rtol=1e-3, atol=1e-3)


def test_sensitivity_has_a_row_per_layer_and_errors_that_grow(mobilenet):
    model, x = mobilenet
    rows = pycompress.sensitivity(model, x, (0.3, 0.9), samples=2)
    told = pycompress.prune(model, 0.5).metadata_props
    assert len(rows) == 13 and any(p.key == "pycompress.prune" for p in told)
    assert np.mean([row["errors"][0.9] > row["errors"][0.3] for row in rows]) > 0.9
    with pytest.raises(ValueError, match="sparsities"):
        pycompress.sensitivity(model, x, (1.0,))
    with pytest.raises(ValueError, match="one sparsity"):
        pycompress.sensitivity(model, x, pattern="2:4")
    with pytest.raises(ValueError, match="no samples"):
        pycompress.sensitivity(model, x[:0])
