import json
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from prunable import answer, conv, images, network, small
from pycompress.compress.calibration.observe import Statistics
from pycompress.compress.verdict import EXACT, METADATA, conclude, snr

DATA = list(images(16)[:, None])


def deep(seed=0):
    """Small enough for every pass, with something for each."""
    rng = np.random.default_rng(seed)
    sizes = {"a": (16, 3, 1, 1), "b": (32, 16, 1, 1), "c": (16, 32, 1, 1), "d": (10, 16)}
    nodes = [
        conv("input", "one", "a", strides=[4, 4]),
        helper.make_node("Relu", ["one"], ["r"]),
        conv("r", "two", "b"),
        helper.make_node("Relu", ["two"], ["s"]),
        conv("s", "three", "c"),
        helper.make_node("GlobalAveragePool", ["three"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "d"], ["output"], name="head", transB=1),
    ]
    weights = {k: rng.standard_normal(s) / np.sqrt(np.prod(s[1:])) for k, s in sizes.items()}
    return network(nodes, [1, 3, 32, 32], [1, 10], **weights)


PASSES = {
    "prune": lambda m, x, **k: pc.prune(m, 0.3, calibration=x, **k),
    "prune channels": lambda m, x, **k: pc.prune(m, 0.3, pattern="channel", calibration=x, **k),
    "factorize": lambda m, x, **k: pc.factorize(m, rank=4, calibration=x, **k),
    "quantize": lambda m, x, **k: pc.quantize(m, x, **k),
    "quantize 4": lambda m, x, **k: pc.quantize(m, x, weights=4, **k),
    "recertify": lambda m, x, **k: pc.recertify(pc.quantize(m, x, accumulate=0), x, **k),
    "cast": lambda m, x, **k: pc.cast(m, calibration=x, **k),
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pc.VerdictWarning)
        yield


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_is_judged_by_samples_that_it_did_not_see(name):
    model = deep()
    result = PASSES[name](model, DATA)
    given = pc.verdict(result)
    assert given.step == name.split()[0] and given.held_back
    if name in ("cast", "recertify"):
        assert given.snr > 20
        return
    held = DATA[7::8]
    assert given.samples == len(held) == 2 and given.held_back
    wanted, got = ([answer(m, x) for x in held] for m in (model, result))
    assert given.snr == pytest.approx(snr(wanted, got), abs=1.0)
    assert given.agreement == np.mean([a.argmax() == b.argmax() for a, b in zip(wanted, got)])
    assert given.outputs == {"output": given.snr} and not given.dead
    assert given.bytes_before == model.ByteSize() and abs(given.bytes_after - result.ByteSize()) < 2000
    assert "dB" in str(given) and "held back" in str(given)


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_refuses_what_falls_short_of_min_snr(name):
    with pytest.raises(pc.ModelError, match=r"the signal-to-noise ratio of the outputs is .* dB, min_snr asks for 299"):
        PASSES[name](deep(), DATA, min_snr=299.0)
    assert pc.verdict(PASSES[name](deep(), DATA, min_snr=-50)).snr > -50


def test_without_samples_nothing_is_said_of_the_answers_and_min_snr_is_refused():
    for name, function in {
        "prune": lambda **k: pc.prune(deep(), 0.5, **k),
        "cast": lambda **k: pc.cast(deep(), **k),
    }.items():
        given = pc.verdict(function())
        assert given.snr is None and given.agreement is None and given.samples == 0 and given.step == name
        assert "not measured" in str(given)
        with pytest.raises(ValueError, match="min_snr needs calibration"):
            function(min_snr=10)
    with pytest.raises(ValueError, match="min_snr must be a number of decibels"):
        pc.quantize(deep(), DATA, min_snr="10")


def test_few_samples_judge_what_was_calibrated_on_them_and_the_verdict_says_so():
    given = pc.verdict(pc.quantize(deep(), DATA[:3]))
    assert given.samples == 3 and not given.held_back and "that it was calibrated on" in str(given)


def test_the_model_has_the_verdicts_of_all_passes():
    result = pc.cast(pc.prune(deep(), 0.3, calibration=DATA))
    told = json.loads({p.key: p.value for p in result.metadata_props}[METADATA])
    assert told["step"] == "cast" and [x["step"] for x in told["earlier"]] == ["prune"]
    assert pc.verdict(result.SerializeToString()).step == "cast" and pc.verdict(deep()) is None


def test_a_pass_that_changes_nothing_is_exact():
    assert pc.verdict(pc.prune(deep(), 0.0, calibration=DATA, reconstruct=False)).snr == EXACT


def changed(model, name, value):
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for t in other.graph.initializer:
        if t.name == name:
            t.CopyFrom(numpy_helper.from_array(np.full(tuple(t.dims), value, np.float32), name))
    return other


def judged(model, other):
    held = [{"input": x} for x in DATA[:4]]
    return conclude("test", model, other, 1, Statistics(held=held), ["output"])


def test_little_left_of_the_answers_is_a_warning_where_the_pass_was_called():
    model = deep()
    with pytest.warns(pc.VerdictWarning, match=r"the outputs changed a lot: .* is -?[0-9.]+ dB") as caught:
        judged(model, changed(model, "c", 0.1))
    assert caught[0].filename == __file__


def test_layers_that_died_are_named():
    model = deep()
    with pytest.warns(pc.VerdictWarning, match="layers died: 'two'"):
        given = judged(model, changed(model, "b", 0))
    assert given.dead == {
        "two": "all its weights are zero",
        "three": "its output never changes",
        "head": "its output never changes",
    }
    given = judged(model, changed(model, "a", 0))
    assert set(given.dead) == {"one", "two", "three", "head"}
    assert not judged(model, model).dead


def test_what_is_not_finite_is_refused_by_node():
    model = deep()
    with pytest.raises(pc.ModelError, match=r"node 'two' \(Conv\): its constant 'b' would not be finite"):
        judged(model, changed(model, "b", np.nan))
    with pytest.raises(pc.ModelError, match="output 'output' would not be finite"):
        judged(model, changed(changed(model, "b", 3e38), "c", 3e38))


@pytest.mark.parametrize("shape, classes", [((4, 10), True), ((4, 1), False), ((1, 5, 8, 8), False)])
def test_agreement_is_for_outputs_that_look_like_scores(shape, classes):
    rng = np.random.default_rng(0)
    x = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    held = [{"input": rng.standard_normal(shape, np.float32)}]
    assert (conclude("test", model, model, 1, Statistics(held=held), ["output"]).agreement == 1) == classes


def test_several_outputs_are_judged_one_by_one_and_the_worst_counts():
    model = deep()
    model.graph.output.append(helper.make_tensor_value_info("three", TensorProto.FLOAT, None))
    given = pc.verdict(pc.quantize(model, DATA))
    assert set(given.outputs) == {"output", "three"} and given.snr == min(given.outputs.values())


def test_whatever_samples_say_prune_answers_no_worse_than_magnitude_alone():
    model = small()
    for sparsity in (0.5, 0.9):
        fitted = pc.verdict(pc.prune(model, sparsity, calibration=DATA))
        held = DATA[7::8]
        plain = pc.prune(model, sparsity)
        assert fitted.snr >= snr([answer(model, x) for x in held], [answer(plain, x) for x in held]) - 0.3


def test_answers_that_are_known_are_not_computed_again():
    model, held = deep(), [{"input": DATA[0]}]
    wanted = [[answer(model, DATA[0]) * 2]]
    told = conclude("test", model, changed(model, "none", 0), 1, Statistics(held=held, wanted=wanted), ["output"])
    np.testing.assert_allclose(told.snr, 20 * np.log10(2), atol=0.01)
