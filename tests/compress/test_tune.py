import json

import numpy as np
import pytest

import pycompress
from prunable import images, small
from pycompress.compress import tune as module
from pycompress.compress.tuning import clock, measure, search


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(measure, "ROUNDS", 1)
    monkeypatch.setattr(search, "ROUNDS", 1)
    monkeypatch.setattr(clock, "REST", 0)


@pytest.fixture(scope="module")
def network():
    return small(), images(16)


@pytest.fixture(scope="module")
def tuned(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("tune") / "measured.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "ROUNDS", 1)
        patch.setattr(search, "ROUNDS", 1)
        patch.setattr(clock, "REST", 0)
        return pycompress.tune(*network, cache=path), path


def test_the_chosen_plan_is_what_is_written(tuned, network):
    made, _ = tuned
    assert isinstance(made, pycompress.Tuned)
    x = network[1][:1]
    got = pycompress.InferenceSession(made.plan).run(None, {"input": x})[0]
    if "bfloat16" not in made.forms.values():
        np.testing.assert_allclose(pycompress.InferenceSession(made.model).run(None, {"input": x})[0], got, atol=1e-6)
    assert made.model.ByteSize() == made.measured["bytes"]
    assert made.measured["snr"] >= made.references["int8"]["snr"] - 3


def test_errors_add_up_to_the_error_of_the_whole_model(tuned):
    made, _ = tuned
    table = pycompress.compress.tuning.table.Table.from_dict(made.table)
    predicted = table.uniform("int8").predicted
    assert abs(predicted.snr - made.references["int8"]["snr"]) < 2
    assert predicted.bytes == pytest.approx(made.references["int8"]["bytes"], rel=0.01)
    assert abs(made.predicted["snr"] - made.measured["snr"]) < 4


def test_the_same_measurements_give_the_same_result(tuned, network, monkeypatch):
    made, path = tuned
    monkeypatch.setattr(clock, "step_times", None)
    monkeypatch.setattr(measure.Injector, "error", None)
    again = pycompress.tune(*network, cache=path)
    assert again.to_dict() == made.to_dict()
    assert again.model.SerializeToString(deterministic=True) == made.model.SerializeToString(deterministic=True)
    json.dumps(made.to_dict())


def test_the_recipe_makes_the_same_model(tuned, network):
    made, _ = tuned
    model, samples = network
    size = (made.references["int8"]["bytes"] + made.references["float"]["bytes"]) / 2
    made = pycompress.tune(model, samples, size=size, forms=("float", "int8"))
    assert set(made.forms.values()) == {"float", "int8"}
    used = [x for i, x in enumerate(samples) if i % module.EVERY != module.EVERY - 1]
    for name, options in made.recipe.items():
        options = options | ({"calibration": used} if name == "quantize" else {})
        model = getattr(pycompress, name)(model, **options)
    x = {"input": samples}
    got, wanted, right = (pycompress.InferenceSession(m).run(None, x)[0] for m in (model, made.model, network[0]))
    nodes = [[(n.op_type, n.name) for n in m.graph.node] for m in (model, made.model)]
    assert nodes[0] == nodes[1]
    assert np.square(got - right).mean() < 2 * np.square(wanted - right).mean()  # other samples for the bias


def test_limits_are_kept(tuned, network):
    made, path = tuned
    small = pycompress.tune(*network, cache=path, size=0.9 * made.references["int8"]["bytes"])
    assert small.measured["bytes"] <= 0.9 * made.references["int8"]["bytes"]
    marks = []

    def evaluate(session):
        marks.append(float(session.run(None, {"input": network[1][:1]})[0].std()))
        return marks[-1]

    metric = pycompress.tune(*network, cache=path, evaluate=evaluate, max_drop=0.05)
    assert marks and metric.measured["drop"] <= 0.05


def test_the_size_of_int4_everywhere_can_be_had_where_the_search_finds_nothing(tuned, network, monkeypatch):
    least = json.loads(tuned[1].read_text())["values"]["bytes"]["int4"]

    def nothing(*_):
        raise pycompress.ModelError("nothing")

    monkeypatch.setattr("pycompress.compress.tuning.search.Tuner._searched", nothing)
    small = pycompress.tune(*network, cache=tuned[1], size=least)
    assert small.measured["bytes"] == least and "int4" in small.forms.values()
    with pytest.raises(pycompress.ModelError, match="nothing"):
        pycompress.tune(*network, cache=tuned[1], size=least - 1)


def test_sparse_and_low_rank_layers_are_measured_and_built(network):
    made = pycompress.tune(*network, forms=["lowrank", "sparse"], size=9500)
    rows = {row["node"]: row["forms"] for row in made.table["rows"]}
    assert rows["point"]["sparse"]["error"] > rows["point"]["int8"]["error"]
    assert "sparse" in rows["head"] and "lowrank" not in rows["deep"]
    table = pycompress.compress.tuning.table.Table.from_dict(made.table)
    forms = {name: "sparse" if "sparse" in own else "int8" for name, own in rows.items()}
    assert table.totals(forms).error > made.predicted["snr"] * 0 and made.measured["bytes"] <= 9500


def test_other_measurements_are_refused(tuned, network):
    model, samples = network
    with pytest.raises(ValueError, match="of another model"):
        pycompress.tune(model, samples[:8], cache=tuned[1])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"forms": ["int3"]}, "no form 'int3'"),
        ({"min_snr": "high"}, "min_snr"),
        ({"latency": -1.0}, "latency"),
        ({"threads": 0}, "threads"),
        ({"evaluate": len}, "max_drop"),
    ],
)
def test_bad_arguments_are_named(network, options, said):
    with pytest.raises(ValueError, match=said):
        pycompress.tune(*network, **options)


def test_too_few_samples_to_hold_one_back_are_warned_of(tuned, network):
    model, samples = network
    with pytest.warns(pycompress.CalibrationWarning, match="the 3 samples .* give at least 4"):
        pycompress.tune(model, samples[:3], forms=("float", "int8"))


def test_what_cannot_be_reached_says_what_can(tuned, network):
    with pytest.raises(pycompress.ModelError, match="the fastest takes"):
        pycompress.tune(*network, cache=tuned[1], latency=1e-9)


def test_a_quantized_model_is_refused(network):
    model, samples = network
    with pytest.raises(pycompress.ModelError, match="quantized already"):
        pycompress.tune(pycompress.quantize(model, samples[:4]), samples)
