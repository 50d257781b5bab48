"""Stages of a recipe: prune, quantize and distil in one run; low rank; other shapes."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch")

import pycompress as pc
from pycompress import zoo
from pycompress.errors import TrainingError
from pycompress.train import data, fit
from pycompress.train.checks import check
from pycompress.train.data import Data, Normalize
from pycompress.train.feed import Parts, accuracy
from pycompress.train.finetune import LowRank, low_rank, multiplied
from pycompress.train.recipe import Recipe, build
from pycompress.train.sparsify import zeros_of

NORMALIZE = Normalize((0.5,), (0.25,), 1)


@pytest.fixture(scope="module")
def parts():
    train, valid = data.split(data.load("digits"), 300)
    return Parts(train, valid, data.load("digits", "test"), NORMALIZE)


def test_prune_quantize_and_distil_in_one_run(tiny, trained_tiny, parts, tmp_path):
    recipe = {
        "train": {"epochs": 8, "batch": 32},
        "distill": {"teacher": str(trained_tiny), "weight": 0.5},
        "sparsify": {"sparsity": 0.5, "pattern": "1x4", "layers": "pointwise", "every": 5},
        "quantize": {"epochs": 2, "rate": 0.005},
        "fresh": True,
    }
    told = []
    result = fit(tiny, parts, recipe, out=tmp_path / "run", log=told.append)
    assert result.accuracy > 0.8 and list(result.stages) == ["train", "quantize", "qat"]
    assert result.accuracy == accuracy(onnx.load(tmp_path / "run" / "model.onnx"), parts.test, NORMALIZE)
    zeros = zeros_of(onnx.load(tmp_path / "run" / "train.onnx"))
    codes = {t.name: numpy_helper.to_array(t) for t in result.model.graph.initializer}
    for node, kept in zeros.items():  # int8 weights are zero where the float network's are
        held = [c for n, c in codes.items() if n.startswith(node) and c.dtype == np.int8 and c.ndim == 4]
        assert len(held) == 1 and (held[0].reshape(kept.shape)[~kept] == 0).all()
    assert len(zeros) == 3
    assert {row["event"] for row in told} == {"stage", "epoch", "done"}
    explained = str(pc.InferenceSession(result.model).explain())
    assert "qgemm" in explained or "qspmm" in explained


def test_four_bit_weights_are_trained(tiny, trained_tiny, parts, tmp_path):
    base = {"train": {"epochs": 0}, "quantize": {"weights": 4, "epochs": 0, "first_last": 4}}
    plain = fit(str(trained_tiny), parts, base, out=tmp_path / "plain")
    taught = fit(
        str(trained_tiny), parts, {**base, "quantize": {**base["quantize"], "epochs": 3}}, out=tmp_path / "taught"
    )
    assert taught.accuracy >= plain.accuracy - 0.03 and len(taught.stages["qat"]["history"]) == 3


def test_low_rank_layers_go_through_a_schedule(trained_tiny, parts, tmp_path):
    recipe = {
        "train": {"epochs": 2, "batch": 64, "rate": 0.02},
        "factorize": {"ratio": 0.6, "schedule": [0.8], "epochs": 1, "budget": "parameters", "samples": 32},
    }
    result = fit(str(trained_tiny), parts, recipe, out=tmp_path / "run")
    assert list(result.stages) == ["factorize-1", "factorize", "train"]
    assert result.accuracy > 0.7 and any("/" in n.name for n in result.model.graph.node)


def test_factors_multiply_to_what_they_were(trained_tiny, parts):
    dense = onnx.load(trained_tiny)
    x = parts.samples(32)
    factored = low_rank(dense, x, LowRank(rank=8))
    again = multiplied(dense, factored)
    assert any("/" in n.name for n in factored.graph.node) and not any("/" in n.name for n in again.graph.node)
    ours, theirs = (pc.InferenceSession(m).run(None, {"input": x})[0] for m in (again, factored))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_channels_are_removed_and_the_rest_is_trained(trained_tiny, parts, tmp_path):
    recipe = {"channels": {"sparsity": 0.3, "samples": 32}, "train": {"epochs": 2, "batch": 64, "rate": 0.02}}
    result = fit(str(trained_tiny), parts, recipe, out=tmp_path / "run")
    assert list(result.stages) == ["channels", "train"] and result.accuracy > 0.7
    assert result.model.ByteSize() < 0.9 * onnx.load(trained_tiny).ByteSize()


def test_a_run_of_another_network_is_refused(tiny, trained_tiny, parts, tmp_path):
    recipe = {"train": {"epochs": 1, "batch": 256}}
    fit(tiny, parts, recipe, out=tmp_path / "run")
    with pytest.raises(TrainingError, match="run of another network"):
        fit(str(trained_tiny), parts, recipe, out=tmp_path / "run", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(FileExistsError, match="folder with other files"):
        fit(tiny, parts, recipe, out=tmp_path / "other", resume=True)


def test_a_rate_that_diverges_stops_and_says_the_step(tiny, parts, tmp_path):
    with pytest.raises(TrainingError, match=r"at step \d+ \(epoch"):
        fit(tiny, parts, {"train": {"epochs": 3, "batch": 64, "rate": 1e18, "warmup": 0}}, out=tmp_path / "run")


def test_classes_that_do_not_fit_are_refused(tiny, parts, tmp_path):
    few = parts.train.labels < 5
    one = Data(parts.train.images[few], parts.train.labels[few], tuple("01234"))
    with pytest.raises(ValueError, match="classes differ"):
        Parts(one, parts.valid, None, NORMALIZE)
    with pytest.raises(ValueError, match="10] numbers, and there are 5 classes|10.*5 classes"):
        fit(tiny, Parts(one, one, None, NORMALIZE), {"train": {"epochs": 1}}, out=tmp_path / "run")


def other(**options):
    """A network that does not fit the digits."""
    return zoo.mobilenetv1(**{"width": 0.25, "resolution": 32, "classes": 10, **options})


@pytest.mark.parametrize("given, said", [
    ({"model": other()}, "the network does not fit the data: .*8, 8.* does not fit"),
    ({"recipe": {"distill": {"teacher": "T"}}}, "the teacher does not fit the data"),
    ({"recipe": {"distill": {"teacher": "self", "hints": {"a": "b"}}}}, "no tensor 'a'"),
    ({"recipe": {"distill": {"teacher": "self"}, "sparsify": {"sparsity": 0.5, "layers": ["nope"]}}}, "nope"),
    ({"recipe": {"augment": {"shift": 8}}}, "recipe.augment.shift: 8 leaves nothing of images of 8 x 8"),
    ({"recipe": {"channels": {"sparsity": 0.2}, "sparsify": {"sparsity": {"nope": 0.5}}}}, "no layer 'nope'"),
    ({"recipe": {"separable": {}, "sparsify": {"sparsity": 0.5, "layers": ["stem/nope"]}}}, "no .*convolution|'stem/nope'"),
    ({"recipe": {"factorize": {"ratio": 0.5, "schedule": [0.8]}, "sparsify": None, "distill": {"teacher": "OWN", "hints": {"nope": "nope"}}}}, "the student has no tensor 'nope'"),
    ({"recipe": {"factorize": {"ratio": 0.5}, "sparsify": {"sparsity": 0.5, "layers": ["nope/1"]}}}, "no layer 'nope/1'"),
    ({"recipe": {"channels": {"sparsity": 0.2}, "distill": {"teacher": "OWN", "hints": {"logits": "nope"}}}}, "the teacher has no tensor 'nope'"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_trained(tiny, parts, tmp_path, given, said):
    recipe = {"train": {"epochs": 1, "batch": 256}, **given.get("recipe", {})}
    if recipe.get("distill", {}).get("teacher") == "T":
        onnx.save(other(), tmp_path / "teacher.onnx")
        recipe["distill"]["teacher"] = str(tmp_path / "teacher.onnx")
    if recipe.get("distill", {}).get("teacher") == "OWN":
        onnx.save(tiny, tmp_path / "teacher.onnx")
        recipe["distill"]["teacher"] = str(tmp_path / "teacher.onnx")
    with pytest.raises(ValueError, match=said):
        fit(given.get("model", tiny), parts, recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_layers_that_a_stage_makes_may_be_named(tiny, parts):
    """Names that begin with a layer's: whether they come to be is known once the network is factorized."""
    layers = ["first.expand.conv/made-later", "head.conv"]
    check(
        tiny, parts, build(Recipe, {"factorize": {"ratio": 0.5}, "sparsify": {"sparsity": 0.5, "layers": layers}}, "")
    )
    check(
        tiny,
        parts,
        build(Recipe, {"factorize": {"ratio": 0.5}, "sparsify": {"sparsity": 0.5, "layers": layers[:1]}}, ""),
    )
