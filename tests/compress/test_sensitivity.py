import json

import numpy as np
import pytest

import pycompress
from prunable import images, small
from pycompress.compress import sensitivity as module


@pytest.fixture(scope="module")
def network():
    return small(), images(8)


def error(model, changed, samples):
    wanted, got = (pycompress.InferenceSession(m) for m in (model, changed))
    a, b = (np.concatenate([s.run(None, {"input": x[None]})[0] for x in samples]) for s in (got, wanted))
    return np.sqrt(np.square(a - b).mean() / b.var())


def test_pruning_alone_is_the_error_of_the_model_with_one_layer_pruned(network):
    model, x = network
    rows = pycompress.sensitivity(model, x, (0.6,), samples=3)
    row = rows[1]
    pruned = pycompress.prune(model, {row["node"]: 0.6})
    assert row["errors"][0.6] == pytest.approx(error(model, pruned, x[:3]), rel=1e-3)


def test_cumulative_is_the_error_of_the_model_with_all_layers_up_to_here(network):
    model, x = network
    rows = pycompress.sensitivity(model, x, (0.6,), samples=3)
    some = pycompress.prune(model, {row["node"]: 0.6 for row in rows[:2]})
    assert rows[1]["cumulative"][0.6] == pytest.approx(error(model, some, x[:3]), rel=1e-3)
    assert rows[0]["cumulative"][0.6] == pytest.approx(rows[0]["errors"][0.6])


def test_quantizing_tells_weights_from_activations(network):
    rows = pycompress.sensitivity(*network, of="quantize")
    tensors, layers = ([r for r in rows if r["kind"] == kind] for kind in ("tensor", "weights"))
    assert len(layers) == 5 and rows[0]["node"] == "input" and tensors[0]["weights"] == 0
    assert np.mean([r["errors"][4] > r["errors"][8] for r in layers if 4 in r["errors"]]) > 0.9
    assert not any(4 in r["errors"] for r in layers if r["node"] == "deep")
    added = sum(r["errors"][8] ** 2 for r in rows) ** 0.5
    assert 0.5 < added / rows[-1]["cumulative"][8] < 2  # errors are nearly independent


def test_factorizing_leaves_out_what_would_not_become_cheaper(network):
    rows = pycompress.sensitivity(*network, of="factorize", energies=(0.9, 0.5))
    assert rows and all(set(r["errors"]) <= {0.9, 0.5} for r in rows)
    assert all(r["errors"][0.5] >= r["errors"].get(0.9, 0) for r in rows)


def test_a_file_of_errors_is_read_again(network, tmp_path, monkeypatch):
    path = tmp_path / "errors.json"
    rows = pycompress.sensitivity(*network, of="quantize", cache=path)
    monkeypatch.setattr(module, "Injector", None)
    assert pycompress.sensitivity(*network, of="quantize", cache=path) == rows
    with pytest.raises(ValueError, match="of another model"):
        pycompress.sensitivity(*network, of="prune", cache=path)
    path.write_text(json.dumps({"other": 1}))
    with pytest.raises(ValueError, match="no measurements"):
        pycompress.sensitivity(*network, of="quantize", cache=path)


@pytest.mark.parametrize(
    "options, said", [({"of": "binarize"}, "of must be"), ({"bits": (3,)}, "bits"), ({"energies": (2,)}, "energies")]
)
def test_bad_arguments_are_named(network, options, said):
    with pytest.raises(ValueError, match=said):
        pycompress.sensitivity(*network, **options)
