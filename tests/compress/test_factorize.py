import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import pycompress
from prunable import SIZE, answer, conv, images, network, small
from pycompress import zoo
from pycompress.compress.factorize import factorize
from pycompress.compress.lowrank.decompose import factor, lost, spectra
from pycompress.compress.lowrank.ranks import Geometry, break_even, options, work
from pycompress.compress.model import graph as g
from pycompress.errors import ModelError

KERNELS = ["channel", "spatial", "tucker"]


def told(model):
    return json.loads(g.metadata(model)["pycompress.factorize"])


def ours(model, x):
    return pycompress.InferenceSession(model).run(None, {"input": x})[0]


def falling(rng, n, k, rate=0.8):
    """A matrix whose singular values fall geometrically."""
    u, v = (np.linalg.qr(rng.standard_normal((m, min(n, k))))[0] for m in (n, k))
    return (u * rate ** np.arange(min(n, k))) @ v.T


def moments(rng, k):
    mix = rng.standard_normal((k, k)) * np.geomspace(3, 0.03, k)
    return mix @ mix.T + 0.1 * np.eye(k)


def linear(w, bias=None, rows="n"):
    """One matrix product, whose name is "output"."""
    n, k = w.shape
    nodes = [
        helper.make_node("Gemm", ["input", "w", *(["b"] if bias is not None else [])], ["output"], "output", transB=1)
    ]
    return network(nodes, [rows, k], [rows, n], w=w, **({} if bias is None else {"b": bias}))


@pytest.mark.parametrize("weighted", [False, True, "diagonal"])
@pytest.mark.parametrize("kind", ["svd", *KERNELS])
def test_the_factors_of_full_rank_are_the_weights(kind, weighted):
    rng = np.random.default_rng(0)
    n, c, kernel = 7, 5, () if kind == "svd" else (3, 2)
    k = c * int(np.prod(kernel))
    w = rng.standard_normal((n, k))
    h = moments(rng, k) if weighted is True else rng.random(k) if weighted else None
    tails = spectra(kind, w, c, kernel, h)
    found = factor(kind, w, c, kernel, h, tuple(len(t) - 1 for t in tails))
    np.testing.assert_allclose(found.w, w, atol=1e-9)
    assert all(t[0] == 1 and t[-1] == 0 and (np.diff(t) <= 0).all() for t in tails)


@pytest.mark.parametrize("kind", ["svd", "channel"])
def test_what_a_rank_loses_is_its_tail_and_no_other_factors_lose_less(kind):
    rng = np.random.default_rng(0)
    n, c, kernel = 20, 8, () if kind == "svd" else (2, 1)
    k = c * int(np.prod(kernel))
    w, h = rng.standard_normal((n, k)), moments(rng, k)
    (tails,), r = spectra(kind, w, c, kernel, h), 4
    best = factor(kind, w, c, kernel, h, (r,)).w
    np.testing.assert_allclose(lost(w, best, h), tails[r], rtol=1e-6)
    for _ in range(20):
        left, right = rng.standard_normal((n, r)), rng.standard_normal((r, k))
        assert lost(w, best + 1e-2 * left @ right, h) > 0
        assert np.linalg.matrix_rank(best, tol=1e-9) == r
        u = np.linalg.svd(best)[0][:, :r] + 1e-2 * left  # the best right factor for another left one
        assert lost(w, u @ np.linalg.lstsq(u, w, rcond=None)[0], h) >= tails[r]


def test_moments_of_less_than_full_rank_do_no_harm():
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((12, 10)), rng.standard_normal((10, 3))
    found = factor("svd", w, 10, (), x @ x.T, (3,))
    np.testing.assert_allclose(found.w @ x, w @ x, atol=1e-9)
    assert np.isfinite(found.w).all()


@pytest.mark.parametrize("kind", KERNELS)
def test_moments_make_the_outputs_better_for_kernels_too(kind):
    rng = np.random.default_rng(0)
    w, h = rng.standard_normal((16, 9 * 8)), moments(rng, 72)
    ranks = (4, 8) if kind == "tucker" else (6,)
    plain, aware = (factor(kind, w, 8, (3, 3), x, ranks).w for x in (None, h))
    assert lost(w, aware, h) < 0.7 * lost(w, plain, h)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 2, 0, 1], "strides": [2, 3]},
        {"pads": [2, 1, 2, 1], "dilations": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 1]},
        {"auto_pad": "SAME_LOWER", "strides": [1, 2]},
        {"auto_pad": "VALID", "dilations": [1, 2]},
    ],
)
def test_kernels_of_full_rank_compute_the_same_in_both_engines(kind, attributes):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((10, 4, 3, 5))
    nodes = [conv("input", "a", "w", "b", **attributes), helper.make_node("Relu", ["a"], ["output"])]
    model = network(nodes, [2, 4, 11, 13], list("abcd"), w=w, b=rng.standard_normal(10))
    full = {"channel": 10, "spatial": 12, "tucker": (4, 10)}[kind]
    found = factorize(model, rank={"a": full}, method=kind, exclude=())
    names = [n.name for n in found.graph.node]
    assert names == ["a/u", *(["a/core"] if kind == "tucker" else []), "a/v", names[-1]]
    x = rng.standard_normal((2, 4, 11, 13)).astype("f4")
    wanted = answer(model, x)
    np.testing.assert_allclose(answer(found, x), wanted, atol=1e-4)
    np.testing.assert_allclose(ours(found, x), wanted, atol=1e-4)
    row = told(found)["layers"]["a"]
    weights = {t.name: numpy_helper.to_array(t).size for t in found.graph.initializer if t.name.endswith("weight")}
    assert row["error"] < 1e-5 and row["parameters"] == [w.size, sum(weights.values())]
    sizes = {i.name: i.type.tensor_type.shape.dim for i in onnx.shape_inference.infer_shapes(found).graph.value_info}
    sizes = {name: [d.dim_value for d in dims] for name, dims in sizes.items()}
    macs = sum(
        weights[n.input[1]] * sizes[n.output[0]][0] * np.prod(sizes[n.output[0]][2:]) for n in found.graph.node[:-1]
    )
    assert row["macs"][1] == macs


def test_gemm_and_matmul_in_all_their_forms():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((8, 16)), rng.standard_normal((5, 16)), rng.standard_normal((5, 4))
    nodes = [
        helper.make_node("MatMul", ["input", "a"], ["h"], name="h"),
        helper.make_node("Gemm", ["h", "b", "bias"], ["i"], name="i", alpha=0.5, beta=2.0, transB=1),
        helper.make_node("Gemm", ["i", "c"], ["output"], name="o"),
    ]
    model = network(nodes, ["n", 8], ["n", 4], a=a, b=b, c=c, bias=rng.standard_normal((1, 5)))
    x = rng.standard_normal((7, 8)).astype("f4")
    found = factorize(model, rank={"h": 8, "i": 5, "o": 4})
    assert [n.op_type for n in found.graph.node] == ["MatMul", "MatMul", "MatMul", "Gemm", "MatMul", "Gemm"]
    for run in (answer, ours):
        np.testing.assert_allclose(run(found, x), answer(model, x), rtol=1e-4, atol=1e-4)


def test_energy_is_what_is_kept_at_least():
    rng = np.random.default_rng(0)
    w = falling(rng, 96, 128, 0.95)
    for energy in (0.5, 0.8, 0.9):
        row = told(factorize(linear(w), energy=energy))["layers"]["output"]
        s = np.square(np.linalg.svd(w, compute_uv=False))
        r = row["rank"]
        assert r % 8 == 0 and s[:r].sum() >= energy * s.sum() > s[: r - 8].sum()
        np.testing.assert_allclose(row["error"], np.sqrt(s[r:].sum() / s.sum()), atol=1e-6)
        assert row["macs"] == [96 * 128, r * (96 + 128)] and row["break_even"] == 96 * 128 // 224


def test_where_it_cannot_pay_a_layer_is_left_alone_and_that_is_said():
    rng = np.random.default_rng(0)
    model = linear(rng.standard_normal((96, 128)))
    found = factorize(model, energy=0.95)
    assert [n.name for n in found.graph.node] == ["output"] and not told(found)["layers"]
    assert "does not pay; its break-even rank is 54" in told(found)["excluded"]["output"]
    assert told(factorize(model, rank=46))["layers"]["output"]["rank"] == 46
    assert not told(factorize(model, rank=47))["layers"]  # 0.85 of the break-even rank is 46.6
    assert told(factorize(model, rank=54, budget="parameters"))["layers"]["output"]["rank"] == 54
    assert told(factorize(model, rank={"output": 96}))["layers"]["output"]["rank"] == 96


@pytest.mark.parametrize(
    "method, budget", [("svd", "macs"), ("svd", "parameters"), ("tucker", "macs"), ("spatial", "macs")]
)
@pytest.mark.parametrize("ratio", [0.4, 0.7])
def test_a_ratio_is_kept_over_all_layers(method, budget, ratio):
    model = zoo.mobilenetv1(width=0.5, resolution=SIZE, classes=40, batch=None)
    before, after = told(factorize(model, ratio=ratio, budget=budget, method=method))[budget]
    assert 0.85 * ratio * before < after <= ratio * before


def test_a_ratio_takes_more_from_layers_that_lose_less():
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("MatMul", [x, w], [y], name=y) for x, w, y in (("input", "a", "h"), ("h", "b", "output"))]
    model = network(nodes, ["n", 64], ["n", 64], a=falling(rng, 64, 64, 0.8), b=falling(rng, 64, 64, 0.97))
    rows = told(factorize(model, ratio=0.5))["layers"]
    assert rows["h"]["rank"] < rows.get("output", {"rank": 64})["rank"]


def test_measured_time_is_a_budget_too():
    for method in ("svd", *KERNELS):
        found = factorize(small(), energy=0.5, budget="time", method=method)
        assert told(found)["budget"] == "time" and ours(found, images(1)).shape == (1, 10)
    s, tails = Geometry(64, 64, (), 9), [np.linspace(1, 0, 65)]
    times = {(): 1.0, (8,): 0.25, (16,): 0.5, (24,): 0.75, (32,): 1.0, (40,): 1.25}
    found = options("svd", s, tails, "time", times.__getitem__)
    np.testing.assert_allclose([np.exp(-o.cost) for o in found], [1, 24 / 64, 16 / 64, 8 / 64])
    assert [(o.value, o.added) for o in found] == [((), 1.0), ((24,), 0.75), ((16,), 0.5), ((8,), 0.25)]


def skewed(rng, k, count=40):
    mix = np.linalg.qr(rng.standard_normal((k, k)))[0] * np.geomspace(2, 0.02, k)
    return (rng.standard_normal((count, k)) @ mix.T + 1).astype("f4")


@pytest.mark.parametrize("reconstruct", [True, False])
def test_calibration_makes_the_outputs_better_and_keeps_their_mean(reconstruct):
    rng = np.random.default_rng(0)
    model = linear(rng.standard_normal((48, 64)), rng.standard_normal(48))
    data = skewed(rng, 64, 600)
    plain, aware = factorize(model, rank=16), factorize(model, rank=16, calibration=data[:400], reconstruct=reconstruct)

    def off(found):
        return answer(found, data[400:]) - answer(model, data[400:])

    assert np.square(off(aware)).mean() < 0.2 * np.square(off(plain)).mean()
    assert np.abs(off(aware).mean(0)).max() < 0.1 * np.abs(off(plain).mean(0)).max()
    row = told(aware)["layers"]["output"]
    share = np.square(off(aware)).mean() / answer(model, data[400:]).var(0).mean()
    assert 0.5 < np.sqrt(share) / row["error"] < 2 and told(aware)["calibrated"]


def test_layers_make_up_for_those_before_them():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "a", "w"), helper.make_node("Relu", ["a"], ["r"]), conv("r", "output", "v")]
    w, v = falling(rng, 32, 24, 0.9), falling(rng, 32, 32, 0.9)
    model = network(nodes, [1, 24, 8, 8], [1, 32, 8, 8], w=w[..., None, None], v=v[..., None, None])
    data = [skewed(rng, 24, 64).T.reshape(1, 24, 8, 8) for _ in range(1)]
    data = [np.float32(s) * data[0] for s in rng.uniform(0.5, 2, 30)]

    def error(**how):
        found = factorize(model, rank=8, exclude=(), calibration=data[:20], **how)
        return sum(np.square(answer(found, x) - answer(model, x)).mean() for x in data[20:])

    assert error() < error(reconstruct=False)


@pytest.mark.parametrize("method", ["svd", *KERNELS])
def test_networks_stay_valid_and_answer_alike_in_both_engines(method):
    model = zoo.build("mobilenetv2", width=0.25, resolution=SIZE, classes=20, batch=None)
    before = model.SerializeToString(deterministic=True)
    for how in ({"rank": 8}, {"ratio": 0.6, "calibration": images(4)}):
        found = factorize(model, method=method, **how)
        assert model.SerializeToString(deterministic=True) == before
        onnx.checker.check_model(found, full_check=True)
        assert found.graph.input == model.graph.input and found.graph.output == model.graph.output
        x, ort_outputs = images(2), answer(found, images(2))
        np.testing.assert_allclose(ours(found, x), ort_outputs, atol=2e-5 * np.abs(ort_outputs).max() + 1e-6, rtol=1e-4)
        layers = told(found)["layers"]
        assert layers and {f"{name}/u" for name in layers} <= {n.name for n in found.graph.node}


def test_depthwise_and_first_convolutions_are_left_alone_and_that_is_said():
    found = factorize(small(), rank=4, method="channel")
    why = told(found)["excluded"]
    assert why["deep"] == "depthwise" and why["stem"] == "first convolution"
    assert set(told(found)["layers"]) == {"wide", "point", "head"}
    assert "methods channel, spatial and tucker" in told(factorize(small(), rank=4))["excluded"]["wide"]
    assert told(factorize(small(), rank=2, method="tucker", exclude=["wide"]))["excluded"]["wide"] == "asked for"
    assert "stem" in told(factorize(small(), rank=2, method="channel", exclude=["wide"]))["layers"]
    assert set(told(factorize(small(), rank={"wide": (3, 5)}, method="tucker"))["layers"]) == {"wide"}


def test_shared_weights_are_left_alone():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "a", "v"), conv("a", "b", "w"), conv("b", "c", "w"), conv("c", "output", "u")]
    u, v, w = (rng.standard_normal(s) for s in ((8, 8, 1, 1), (8, 3, 1, 1), (8, 8, 1, 1)))
    found = factorize(network(nodes, [1, 3, 4, 4], [1, 8, 4, 4], u=u, v=v, w=w), rank=2)
    assert told(found)["excluded"]["b"] == told(found)["excluded"]["c"] == "its weights are shared"
    assert set(told(found)["layers"]) == {"output"}


def test_a_factorized_network_can_be_quantized():
    data = list(images(4)[:, None])
    found = pycompress.quantize(pycompress.factorize(small(), rank=8), data)
    assert sum(n.op_type == "QuantizeLinear" for n in found.graph.node) > 5 and ours(found, images(1)).shape == (1, 10)


@pytest.mark.parametrize("kind", ["svd", *KERNELS])
def test_the_break_even_rank_is_the_last_that_costs_no_more(kind):
    s = Geometry(
        40, 24, () if kind == "svd" else (3, 3), 2, () if kind == "svd" else (9, 8), () if kind == "svd" else (5, 4)
    )
    for unit in ("macs", "parameters"):
        r, many = break_even(kind, s, unit), 2 if kind == "tucker" else 1
        cost = [getattr(work(kind, s, ranks), unit) for ranks in ((), (r,) * many, (r + 1,) * many)]
        assert cost[1] <= cost[0] < cost[2]


def test_open_sizes_must_be_given():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "a", "w"), conv("a", "output", "v")]
    w, v = rng.standard_normal((16, 3, 1, 1)), rng.standard_normal((16, 16, 1, 1))
    model = network(nodes, ["n", 3, "h", "w"], ["n", 16, "h", "w"], w=w, v=v)
    with pytest.raises(ModelError, match="node 'output': the size of its images is not known; give input_shapes"):
        factorize(model, rank=4)
    assert told(factorize(model, rank=4, input_shapes=(1, 3, 5, 6)))["layers"]["output"]["macs"] == [7680, 3840]


def test_sizes_are_found_behind_shapes_that_nodes_compute():
    """Half of the channels of any number of images, as torch exports it."""
    rng = np.random.default_rng(0)
    make = helper.make_node
    nodes = [conv("input", "a", "w"), make("Shape", ["a"], ["s"]), make("Gather", ["s", "one"], ["c"])]
    nodes += [make("Add", ["c", "one"], ["more"]), make("Div", ["more", "two"], ["half"])]
    nodes += [make("Unsqueeze", ["half", "zeros"], ["end"]), make("Slice", ["a", "zeros", "end", "ones"], ["r"])]
    nodes += [conv("r", "output", "v")]
    w, v = rng.standard_normal((32, 3, 1, 1)), rng.standard_normal((16, 16, 1, 1))
    model = network(nodes, ["n", 3, 5, 6], ["n", 16, "h", "w"], w=w, v=v)
    for name, value in {"one": 1, "two": 2, "zeros": [0], "ones": [1]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    assert told(factorize(model, rank=4))["layers"]["output"]["macs"] == [7680, 3840]


@pytest.mark.parametrize(
    "given, said",
    [
        ({}, "give one of energy, rank and ratio, got none"),
        ({"energy": 0.5, "rank": 3}, "got energy and rank"),
        ({"energy": 0.0}, r"energy must be in \(0, 1\]"),
        ({"energy": True}, r"energy must be"),
        ({"ratio": 1.0}, r"ratio must be in \(0, 1\)"),
        ({"rank": 0}, "rank must be an integer"),
        ({"rank": {"no": 3}}, "rank: the model has no node 'no'"),
        ({"rank": {"deep": 3}}, "rank: node 'deep' cannot be factorized: depthwise"),
        ({"rank": {"point": 99}}, "rank of 'point' must be at least 1 and at most"),
        ({"rank": {"y": 2}}, None),
        ({"energy": 0.5, "method": "qr"}, "method must be one of svd"),
        ({"energy": 0.5, "budget": "joules"}, "budget must be one of macs"),
        ({"energy": 0.5, "exclude": "wide"}, "exclude must be names"),
        ({"energy": 0.5, "exclude": ["no"]}, "exclude: the model has no node 'no'"),
        ({"energy": 0.5, "reconstruct": True}, "reconstruct needs calibration"),
        ({"energy": 0.5, "input_shapes": {"no": (1,)}}, "there is no input 'no'"),
        ({"ratio": 0.001}, "ratio: 0.001 cannot be reached"),
        ({"energy": 0.5, "calibration": []}, "no samples"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given, said):
    with pytest.raises(ValueError, match=said):
        factorize(small(), **given)


def test_quantized_models_are_refused_by_name():
    quantized = pycompress.quantize(small(), list(images(2)[:, None]))
    with pytest.raises(ModelError, match="is quantized already; factorize it before"):
        factorize(quantized, energy=0.9)


def test_a_model_without_products_is_refused():
    model = network([helper.make_node("Relu", ["input"], ["output"])], [2, 2], [2, 2])
    with pytest.raises(ModelError, match="nothing to factorize"):
        factorize(model, energy=0.9)


@pytest.mark.parametrize("given, what", [
    (dict(rank={}), "rank must name nodes"), (dict(rank={1: 3}), "rank must name nodes"),
    (dict(energy=0.9, exclude=5), "exclude must be names"), (dict(energy=0.9, exclude=[1]), "exclude must be names"),
])  # fmt: skip
def test_names_that_are_none_are_refused(given, what):
    with pytest.raises(ValueError, match=what):
        factorize(small(), **given)


def test_numbers_of_numpy_are_numbers():
    assert told(factorize(small(), rank=np.int64(4)))["rank"] == 4
    assert told(factorize(small(), energy=np.float32(0.5)))["energy"] == 0.5
