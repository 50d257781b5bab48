import numpy as np
import onnx
import pytest

import pycompress
from pycompress import zoo
from pycompress.cli import main
from pycompress.compress.calibration.datafree import recorded, synthesized
from pycompress.compress.calibration.engine import runner
from pycompress.compress.calibration.observe import up_to
from pycompress.compress.model.prepare import prepare


def network():
    return zoo.mobilenetv2(width=0.35, resolution=32, classes=10, batch=None)


def test_on_the_noise_each_layer_has_the_recorded_mean_and_deviation():
    model, found = network(), recorded(network())
    own, noise = synthesized(prepare(model), found)
    names = list(found)
    run = runner(up_to(own, names))
    got = [np.concatenate(x) for x in zip(*(run(names, sample) for sample in noise))]
    for name, y in zip(names, got):
        beta, gamma = found[name]
        np.testing.assert_allclose(y.mean((0, 2, 3)), beta, atol=2e-2 * gamma.max())
        np.testing.assert_allclose(y.std((0, 2, 3)), gamma, rtol=2e-2)


def test_a_network_is_quantized_without_samples():
    model = network()
    quantized = pycompress.quantize(model, "data-free")
    x = np.random.default_rng(0).standard_normal((4, 3, 32, 32)).astype("f4")
    a, b = (pycompress.InferenceSession(m).run(None, {"input": x})[0] for m in (model, quantized))
    assert np.square(a - b).sum() < 0.1 * np.square(a).sum()
    assert pycompress.verdict(quantized).snr is None  # noise tells nothing of answers


def test_statistics_behind_identities_are_found():
    model = network()
    for i, node in enumerate([n for n in model.graph.node if n.op_type == "BatchNormalization"]):
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [node.input[1]], [f"gamma.{i}"]))
        node.input[1] = f"gamma.{i}"
    found, wanted = recorded(model), recorded(network())
    assert found.keys() == wanted.keys() and all(np.array_equal(found[n], wanted[n]) for n in found)


def test_what_has_no_statistics_is_refused():
    folded = prepare(network())
    with pytest.raises(ValueError, match="BatchNormalization.*the model has none"):
        pycompress.quantize(folded, "data-free")
    with pytest.raises(ValueError, match="no samples to fit 4-bit weights to"):
        pycompress.quantize(network(), "data-free", weights=4)


def test_the_command_line_takes_it_for_quantize_alone(tmp_path, capsys):
    given, out = str(tmp_path / "given.onnx"), tmp_path / "made.onnx"
    onnx.save(zoo.mobilenetv1(width=0.25, resolution=32, classes=4), given)
    asked = ["compress", given, str(out), "--quantize", "--calibration", "data-free"]
    assert main([*asked, "--prune", "0.5"]) != 0
    assert "data-free is for quantize alone" in capsys.readouterr().err
    assert main(asked) == 0
    assert out.stat().st_size < (tmp_path / "given.onnx").stat().st_size / 2
