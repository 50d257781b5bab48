import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import pycompress
from prunable import SIZE, answer, conv, images, layer, network, small, told
from pycompress import zoo
from pycompress.compress.model import graph as g
from pycompress.compress.prune import prune
from pycompress.compress.pruning.zeros import sparse_layers
from pycompress.errors import ModelError

PATTERNS = ["unstructured", "1x4", "4x1", "16x1", "2:4", "4:16"]


def signature(model):
    return [(v.name, v.type.SerializeToString(deterministic=True)) for v in [*model.graph.input, *model.graph.output]]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_large"])
def test_pruned_networks_are_valid_and_answer_alike_in_both_engines(name, pattern):
    model = zoo.build(name, width=0.25, resolution=SIZE, classes=20, batch=None)
    before = model.SerializeToString(deterministic=True)
    pruned = prune(model, None if ":" in pattern else 0.6, pattern=pattern, scope="layer")
    assert model.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(pruned, full_check=True)
    assert signature(pruned) == signature(model)
    x = images(2)
    ours = pycompress.InferenceSession(pruned).run(None, {"input": x})[0]
    ort_outputs = answer(pruned, x)
    np.testing.assert_allclose(ours, ort_outputs, atol=2e-5 * np.abs(ort_outputs).max() + 1e-6, rtol=1e-4)
    constants = {t.name: numpy_helper.to_array(t) for t in pruned.graph.initializer}
    rows = {r["node"]: r for r in sparse_layers(pruned, constants)}
    large = {n: s for n, s in told(pruned)["layers"].items() if layer(pruned, n).size > 1000}
    assert large and all(
        rows[n]["pattern"] == pattern and abs(rows[n]["sparsity"] - s) < 1e-3 for n, s in large.items()
    )


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_share_asked_for_is_reached(scope):
    model = small()
    pruned = prune(model, 0.7, scope=scope)
    report = told(pruned)
    assert abs(report["sparsity"] - 0.7) < 1e-3 and list(report["layers"]) == ["wide", "point"]
    if scope == "layer":
        assert all(abs(s - 0.7) < 2e-3 for s in report["layers"].values())
    sizes = {n: layer(pruned, n).size for n in report["layers"]}
    zeros = sum(int((layer(pruned, n) == 0).sum()) for n in sizes)
    assert abs(zeros / sum(sizes.values()) - 0.7) < 1e-3


def test_what_stays_is_as_it_was_and_the_smallest_went():
    model = small()
    w, pruned = layer(model, "wide"), layer(prune(model, 0.5, scope="layer"), "wide")
    kept = pruned != 0
    np.testing.assert_array_equal(pruned[kept], w[kept])
    assert np.abs(w[~kept]).max() <= np.abs(w[kept]).min()
    assert not np.signbit(pruned[~kept]).any()


def test_stem_depthwise_and_classifier_are_left_alone_and_that_is_said():
    model = small()
    pruned = prune(model, 0.9)
    why = told(pruned)["excluded"]
    assert why["deep"] == "depthwise" and why["stem"] == "first convolution" and why["head"].startswith("classifier")
    for name in why:
        np.testing.assert_array_equal(layer(pruned, name), layer(model, name))


def test_exclude_takes_the_place_of_the_default():
    pruned = prune(small(), 0.5, exclude=["wide"])
    assert set(told(pruned)["layers"]) == {"stem", "point", "head"}
    assert told(pruned)["excluded"] == {"deep": "depthwise", "wide": "asked for"}
    assert set(told(prune(small(), 0.5, exclude=()))["layers"]) == {"stem", "wide", "point", "head"}


def test_a_dict_names_layers_and_their_shares_even_those_left_alone_otherwise():
    pruned = prune(small(), {"wide": 0.25, "head": 0.5})
    report = told(pruned)
    assert report["layers"] == {"wide": 0.25, "head": 0.5} and report["excluded"]["point"] == "not named"


def test_batch_norm_is_folded_first():
    model = zoo.mobilenetv2(width=0.25, resolution=SIZE, classes=10)
    pruned = prune(model, 0.5)
    assert "BatchNormalization" not in {n.op_type for n in pruned.graph.node}


def test_gemm_and_matmul_in_all_their_forms():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((16, 8)), rng.standard_normal((5, 16)), rng.standard_normal((5, 4))
    nodes = [
        helper.make_node("MatMul", ["input", "a"], ["h"], name="h"),
        helper.make_node("Gemm", ["h", "b", "bias"], ["i"], name="i", alpha=0.5, beta=2.0, transB=1),
        helper.make_node("Gemm", ["i", "c"], ["output"], name="o"),
    ]
    model = network(nodes, ["n", 8], ["n", 4], a=a.T, b=b, c=c, bias=rng.standard_normal((1, 5)))
    pruned = prune(model, 0.5, scope="layer", pattern="1x4", exclude=())
    x = rng.standard_normal((7, 8)).astype("f4")
    h = x @ layer(pruned, "h").T
    i = h @ layer(pruned, "i").T + 2 * numpy_helper.to_array(g.constants(model)["bias"])
    np.testing.assert_allclose(answer(pruned, x), i @ layer(pruned, "o").T, rtol=1e-4, atol=1e-4)
    assert all(abs(s - 0.5) < 0.06 for s in told(pruned)["layers"].values())


def test_weights_used_twice_are_pruned_once_and_stay_one_tensor():
    rng = np.random.default_rng(0)
    nodes = [conv("input", "a", "v"), conv("a", "b", "w"), conv("b", "c", "w"), conv("c", "output", "u")]
    u, v, w = (rng.standard_normal(s) for s in ((2, 8, 1, 1), (8, 3, 1, 1), (8, 8, 1, 1)))
    pruned = prune(network(nodes, [1, 3, 4, 4], [1, 2, 4, 4], u=u, v=v, w=w), 0.5)
    assert told(pruned)["layers"] == {"b": 0.5} and told(pruned)["excluded"]["c"] == "it shares the weights of 'b'"
    names = [n.input[1] for n in pruned.graph.node]
    assert names[1] == names[2] and (layer(pruned, "c") == 0).mean() == 0.5


def test_weights_that_another_use_shares_get_a_tensor_of_their_own():
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["h"], name="h"),
        helper.make_node("Gemm", ["h", "w"], ["i"], name="i", transB=1),
        helper.make_node("Gemm", ["i", "c"], ["output"], name="o"),
    ]
    model = network(nodes, ["n", 8], ["n", 4], w=rng.standard_normal((8, 8)), c=rng.standard_normal((8, 4)))
    pruned = prune(model, {"i": 0.5})
    np.testing.assert_array_equal(layer(pruned, "h"), layer(model, "h"))
    assert (layer(pruned, "i") == 0).mean() == 0.5


def test_pruning_again_goes_on_from_the_zeros_there_are():
    once = prune(small(), 0.5, scope="layer")
    twice = prune(once, 0.8, scope="layer")
    assert abs(told(twice)["sparsity"] - 0.8) < 2e-3
    assert not (layer(twice, "wide") != 0)[layer(once, "wide") == 0].any()
    assert abs(told(prune(once, 0.3))["sparsity"] - 0.5) < 2e-3


@pytest.mark.parametrize("accumulate", ["auto", 0, 8])
@pytest.mark.parametrize("pattern, sparsity", [("unstructured", 0.5), ("1x4", 0.75), ("2:4", None)])
def test_quantize_and_recertify_keep_the_zeros(pattern, sparsity, accumulate):
    data = list(images(4)[:, None])
    pruned = prune(small(), sparsity, pattern=pattern, scope="layer")
    quantized = pycompress.quantize(pruned, data, accumulate=accumulate)
    for model in (quantized, pycompress.recertify(quantized, data)):
        values, made = g.constants(model), g.producers(model)
        for name in ("wide", "point"):
            node = next(n for n in model.graph.node if n.name == name)
            codes = numpy_helper.to_array(values[made[node.input[1]].input[0]])
            was = numpy_helper.to_array(
                g.constants(pruned)[next(n for n in pruned.graph.node if n.name == name).input[1]]
            )
            assert not codes[was == 0].any() and codes.any()
        rows = {
            r["node"]: r["pattern"]
            for r in sparse_layers(model, {k: numpy_helper.to_array(t) for k, t in values.items()})
        }
        assert rows["wide"] == rows["point"] == pattern


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
        ({"sparsity": -0.1}, "sparsity must be in"),
        ({"sparsity": "half"}, "sparsity must be in"),
        ({"sparsity": True}, "sparsity must be in"),
        ({"sparsity": float("nan")}, "sparsity must be in"),
        ({"sparsity": None}, "needs one"),
        ({"sparsity": {"wide": 1.5}}, "sparsity of 'wide' must be in"),
        ({"sparsity": {"nothing": 0.5}}, "sparsity: the model has no node 'nothing'"),
        ({"sparsity": {"deep": 0.5}}, "'deep' cannot be pruned: depthwise"),
        ({"sparsity": {"wide": 0.5}, "exclude": ["wide"]}, "'wide' cannot be pruned: asked for"),
        ({"pattern": "8x8"}, "pattern must be unstructured"),
        ({"pattern": "4:2"}, "0 < N < M"),
        ({"pattern": "2:4", "sparsity": 0.6}, "2:4 has sparsity 0.5, got 0.6"),
        ({"scope": "all"}, "scope must be one of global"),
        ({"exclude": ["nothing"]}, "exclude: the model has no node 'nothing'"),
        ({"exclude": "wide"}, "exclude must be names"),
        ({"exclude": ["stem", "wide", "point", "head"]}, "nothing to prune: 'deep': depthwise"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        prune(small(), **({"sparsity": 0.5} | options))


def test_bad_models_are_named(tmp_path):
    with pytest.raises(ModelError, match="not an ONNX model"):
        prune(b"no model", 0.5)
    with pytest.raises(ModelError, match="quantized already"):
        prune(pycompress.quantize(small(), images(1)), 0.5)
    onnx.save(small(), tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=0)
    with pytest.raises(ModelError, match="stored outside the model: give base_dir"):
        prune((tmp_path / "m.onnx").read_bytes(), 0.5)
    for where in ({}, {"base_dir": tmp_path}):
        assert told(prune(tmp_path / "m.onnx", 0.5, **where))["sparsity"] == 0.5
    one = network([conv("input", "output", "w")], [1, 3, 4, 4], [1, 2, 4, 4], w=np.ones((2, 3, 1, 1)))
    with pytest.raises(ModelError, match="nothing to prune: 'output': first convolution"):
        prune(one, 0.5)
    with pytest.raises(ValueError, match="node 'wide': its weights are not finite"):
        prune(_with(small(), "e", np.nan), 0.5)


def _with(model, name, value):
    tensor = g.constants(model)[name]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    return model
