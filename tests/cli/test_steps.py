"""Chains of steps are refused as a whole before the first begins."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress
from pycompress.cli import steps


@pytest.fixture(autouse=True)
def data(tmp_path):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((4, 3, 48, 48), np.float32))
    return tmp_path / "c.npy"


@pytest.fixture
def unbegun(refused, monkeypatch):
    """Refuses a command before any step begins."""

    def begun(*_):
        raise AssertionError("a step began")

    monkeypatch.setattr(steps, "take", begun)
    return refused


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--quantize", "--cast", "float16"), "quantize leaves no float32 weights"),
        (("--prune", "0.5", "--quantize", "--cast", "float16"), "quantize leaves no float32 weights"),
        (("--prune", "1.5", "--quantize"), "sparsity must be in [0, 1)"),
        (("--prune", "0.5", "--factorize", "2"), "energy must be in (0, 1]"),
        (("--prune", "0.5", "--pattern", "2:4", "--scope", "layer"), "scope has no effect"),
        (("--prune", "0.5", "--min-snr", "nan"), "min_snr must be a number"),
        (("--prune", "0.5", "--mean", "127", "--std", "128"), "mean has no effect on the calibration data"),
        (("--prune", "0.5", "--resize", "pad"), "resize has no effect on the calibration data"),
        (("--prune", "0.5", "--shape", "1x3x50x50"), "input 'input' is declared as 1x3x48x48"),
        (("--prune", "0.5", "--shape", "1x3x48x48", "--shape", "1x3x48x48"), "has a shape already"),
    ],
)
def test_no_step_begins_where_one_cannot_end(flags, said, files, tmp_path, unbegun):
    words = ("compress", files / "net.onnx", tmp_path / "o.onnx", "--calibration", tmp_path / "c.npy")
    assert said in unbegun(*words, *flags)


@pytest.mark.parametrize(
    "recipe, said",
    [
        ({"prune": {"sparsity": 0.5}, "quantize": {"calibration": "photos"}}, "need --mean and --std"),
        (
            {"prune": {"sparsity": 0.5}, "quantize": {"calibration": "c.npy", "method": "best"}},
            "recipe.quantize.method: must be one of",
        ),
        ({"prune": {"sparsity": 0.5}, "quantize": {"calibration": "c.npy", "exclude": ["no"]}}, "has no node 'no'"),
        ({"prune": {"sparsity": 0.5}, "quantize": {"calibration": "c.npy", "symmetric": "no"}}, "true or false"),
        (
            {"prune": {"sparsity": 0.5}, "quantize": {"calibration": "c.npy", "share": 0.2}},
            "recipe.quantize.share: is for weights of 4",
        ),
        (
            {"quantize": {"calibration": "c.npy", "weights": 4, "share": 0.2}},
            'recipe.quantize.share: is for weights = "mixed"',
        ),
        ({"quantize": {"calibration": "c.npy", "percentile": 99}}, "recipe.quantize.percentile: is for method"),
        ({"prune": {"sparsity": {"no": 0.5}}}, "has no node 'no'"),
        ({"prune": {"sparsity": 0.5, "exclude": "stem"}}, "recipe.prune.exclude: must be names of nodes"),
        ({"prune": {"pattern": "channel"}}, "recipe.prune.sparsity: must be in [0, 1) for channels"),
        ({"prune": {"sparsity": 0.5, "pattern": ["1x4"]}}, "recipe.prune.pattern: must be"),
        ({"prune": {"sparsity": 0.5, "reconstruct": 1}}, "recipe.prune.reconstruct: must be true or false"),
        ({"factorize": {"rank": {"no": 4.5}}}, "recipe.factorize.rank: must name nodes"),
        ({"factorize": {"rank": 4, "input_shapes": 3}}, "recipe.factorize.input_shapes: must be a shape"),
        ({"quantize": {"calibration": 3}}, "calibration must name a file or folder"),
    ],
)
def test_no_step_of_a_recipe_begins_where_one_cannot_end(recipe, said, files, tmp_path, unbegun):
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    assert said in unbegun("compress", files / "net.onnx", tmp_path / "o.onnx", "--recipe", tmp_path / "r.json")


@pytest.mark.parametrize("flag", [("--prune", "0"), ("--group-size", "0"), ("--samples", "3"), ("--mean", "1")])
def test_a_recipe_stands_alone(flag, files, tmp_path, unbegun):
    (tmp_path / "r.json").write_text(json.dumps({"cast": {"dtype": "float16"}}))
    words = (files / "net.onnx", tmp_path / "o.onnx", "--recipe", tmp_path / "r.json")
    assert f"{flag[0]} belongs into the recipe" in unbegun("compress", *words, *flag)


def test_what_judges_steps_is_refused_where_there_are_none(files, tmp_path, unbegun):
    words = (files / "net.onnx", tmp_path / "p.plan.safetensors")
    assert "there are none" in unbegun("compress", *words, "--min-snr", "10")
    assert "--samples is for" in unbegun("compress", *words, "--samples", "10")
    words = (files / "net.onnx", tmp_path / "o.onnx", "--cast", "float16")
    assert "--shape is for" in unbegun("compress", *words, "--shape", "1x3x48x48")
    assert "needs --calibration" in unbegun("compress", *words, "--min-snr", "10")


def test_cast_is_judged_on_calibration_data_of_its_own(files, tmp_path, data, command):
    words = (files / "net.onnx", tmp_path / "o.onnx", "--cast", "float16", "--calibration", data, "--min-snr", "20")
    assert command("compress", *words, "--json")["verdicts"]["cast"]["snr"] > 20


def test_cast_may_follow_a_quantize_that_leaves_weights_float(files, tmp_path, command):
    options = {"calibration": "c.npy", "samples": 2, "exclude": ["classifier"]}
    (tmp_path / "r.json").write_text(json.dumps({"quantize": options, "cast": {"dtype": "float16"}}))
    r = command("compress", files / "net.onnx", tmp_path / "o.onnx", "--recipe", tmp_path / "r.json", "--json")
    assert list(r["steps"]) == ["quantize", "cast"]


def open_model(path):
    """A convolution on images of any size."""
    w = numpy_helper.from_array(np.random.default_rng(0).standard_normal((32, 3, 1, 1)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], "conv")]
    nodes += [helper.make_node("GlobalAveragePool", ["c"], ["y"], "pool")]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])]
    ports += [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32, 1, 1])]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_sizes_that_a_model_leaves_open_come_from_arrays_or_from_shape(tmp_path, files, data, command, refused):
    net, out = open_model(tmp_path / "open.onnx"), tmp_path / "o.onnx"
    command("compress", net, out, "--quantize", "--calibration", data)
    command("run", net, files / "x.npy")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes((files / "cat.png").read_bytes())
    images = ("--quantize", "--calibration", tmp_path / "photos", "--mean", "127", "--std", "128")
    assert "give one with --shape" in refused("compress", net, out, *images)
    command("compress", net, out, *images, "--shape", "1x3x32x32")
    assert "the size of its images is not known; give --shape" in refused("compress", net, out, "--factorize", "0.5")
    command("compress", net, out, "--factorize", "0.5", "--shape", "1x3x32x32")


def test_fractions_do_not_become_integers(tmp_path, refused):
    ports = [helper.make_tensor_value_info(n, TensorProto.UINT8, [1, 4]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    np.save(tmp_path / "f.npy", np.zeros((3, 4), np.float32))
    words = (tmp_path / "m.onnx", tmp_path / "o.onnx", "--prune", "0.5", "--calibration", tmp_path / "f.npy")
    assert "input 'x' is uint8, the array float32" in refused("compress", *words)


def test_every_pass_checks_its_options_before_it_reads_a_model():
    from pycompress.compress.model.graph import OPTIONS_ONLY, OptionsAreFine

    fine = {
        "prune": {"sparsity": 0.5},
        "factorize": {"rank": 4},
        "quantize": {"calibration": "data"},
        "recertify": {},
        "cast": {},
    }
    for name, options in fine.items():
        with pytest.raises(OptionsAreFine):
            getattr(pycompress, name)(OPTIONS_ONLY, **options)
        with pytest.raises(ValueError, match="min_snr"):
            getattr(pycompress, name)(OPTIONS_ONLY, **options, min_snr="high")
