import json
import re
import sys

import numpy as np
import onnx
import pytest

import pycompress
from pycompress.cli import main
from pycompress.cli.compress import change

IMAGES = ("--mean", "127", "--std", "128")


def quantized(path):
    return sum(n.op_type == "QuantizeLinear" for n in onnx.load(path).graph.node)


def test_quantize_on_arrays(files, tmp_path, command):
    samples = np.random.default_rng(0).standard_normal((6, 3, 48, 48), np.float32)
    np.savez(tmp_path / "c.npz", input=samples)
    out = tmp_path / "q.onnx"
    r = command("compress", files / "net.onnx", out, "--quantize", "--calibration", tmp_path / "c.npz", "--json")
    assert quantized(out) > 10
    assert r["bytes_after"] == out.stat().st_size < r["bytes_before"] / 2
    expected = pycompress.quantize(files / "net.onnx", samples)
    assert onnx.load(out).graph == expected.graph


def test_quantize_to_four_bits(files, tmp_path, command):
    samples = np.random.default_rng(0).standard_normal((4, 3, 48, 48), np.float32)
    np.save(tmp_path / "c.npy", samples)
    words = ("--quantize", "--weights", "4", "--group-size", "32", "--rounding", "gptq")
    command("compress", files / "net.onnx", tmp_path / "q.onnx", *words, "--calibration", tmp_path / "c.npy")
    expected = pycompress.quantize(files / "net.onnx", samples, weights=4, group_size=32, rounding="gptq")
    assert onnx.load(tmp_path / "q.onnx").graph == expected.graph


def test_recertify_a_quantized_model_with_and_without_data(files, tmp_path, command):
    rng = np.random.default_rng(0)
    data = [rng.standard_normal((1, 3, 48, 48)).astype("f4") for _ in range(2)]
    np.savez(tmp_path / "c.npz", input=np.concatenate(data))
    onnx.save(pycompress.quantize(files / "net.onnx", data, accumulate=0), tmp_path / "full.onnx")
    out = tmp_path / "r.onnx"
    r = command("compress", tmp_path / "full.onnx", out, "--recertify", "--accumulate", "4", "--json")
    assert r["steps"] == {"recertify": {"accumulate": 4}}
    told = {p.key: p.value for p in onnx.load(out).metadata_props}["pycompress.accumulate"]
    assert set(json.loads(told).values()) == {4}
    command("compress", tmp_path / "full.onnx", out, "--recertify", "--calibration", tmp_path / "c.npz")
    assert quantized(out) > 10


def test_a_file_that_grows_is_said_to_be_larger(files, tmp_path, command):
    text = command("compress", files / "net.onnx", tmp_path / "p.onnx", "--prune", "0.5", "--scope", "layer")
    assert re.search(r"\d times (smaller|larger)$", text.strip())
    assert change(300, 100) == "3.00 times smaller" and change(100, 120) == "1.20 times larger"


def test_prune_and_say_what_was_pruned_and_what_not(files, tmp_path, command):
    out = tmp_path / "p.onnx"
    words = ("--prune", "0.75", "--pattern", "1x4", "--scope", "layer")
    text = command("compress", files / "net.onnx", out, *words)
    assert "pruned: 75" in text and "left alone, depthwise: " in text and "left alone, first convolution: " in text
    assert onnx.load(out).graph == pycompress.prune(files / "net.onnx", 0.75, pattern="1x4", scope="layer").graph
    rows = command("info", out, "--json")["sparse_layers"]
    assert all(r["pattern"] == "1x4" for r in rows if r["outputs"] * r["inputs"] > 1000)


def test_prune_comes_before_quantize_and_its_zeros_stay(files, tmp_path, command):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((4, 3, 48, 48), np.float32))
    out = tmp_path / "q.onnx"
    words = ("--quantize", "--prune", "0.8", "--scope", "layer", "--calibration", tmp_path / "c.npy")
    assert list(command("compress", files / "net.onnx", out, *words, "--json")["steps"]) == ["prune", "quantize"]
    rows = command("info", out, "--json")["sparse_layers"]
    assert quantized(out) > 10 and sum(r["sparsity"] >= 0.79 for r in rows) > 10
    told = {p.key: p.value for p in onnx.load(out).metadata_props}["pycompress.prune"]
    assert json.loads(told)["selection"] == "reconstruction"


def test_factorize_and_say_the_ranks_and_what_was_left_alone(files, tmp_path, command):
    out = tmp_path / "f.onnx"
    text = command("compress", files / "net.onnx", out, "--rank", "12")
    assert "break-even" in text and "left alone, depthwise: " in text and "layers are factorized" in text
    assert onnx.load(out).graph == pycompress.factorize(files / "net.onnx", rank=12).graph
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((4, 3, 48, 48), np.float32))
    words = ("--quantize", "--factorize", "0.7", "--calibration", tmp_path / "c.npy")
    assert list(command("compress", files / "net.onnx", out, *words, "--json")["steps"]) == ["factorize", "quantize"]
    told = json.loads({p.key: p.value for p in onnx.load(out).metadata_props}["pycompress.factorize"])
    assert told["energy"] == 0.7 and told["reconstructed"] and told["layers"] and quantized(out) > 10


def test_quantize_on_a_folder_of_images(files, tmp_path, command):
    words = ("--quantize", "--calibration", files, "--samples", "2")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes((files / "cat.png").read_bytes())
    words = ("--quantize", "--calibration", tmp_path / "photos", *IMAGES)
    command("compress", files / "net.onnx", tmp_path / "q.onnx", *words)
    assert quantized(tmp_path / "q.onnx") > 10


def test_images_need_mean_and_std(files, tmp_path, refused):
    assert "--mean" in refused(
        "compress", files / "net.onnx", tmp_path / "q.onnx", "--quantize", "--calibration", "photos"
    )


def test_a_plan_is_compiled_where_out_says_so(files, tmp_path, command):
    (tmp_path / "names.txt").write_text("".join(f"name {i}\n" for i in range(10)))
    out = tmp_path / "net.plan.safetensors"
    command("compress", files / "net.onnx", out, *IMAGES, "--labels", tmp_path / "names.txt")
    session = pycompress.InferenceSession(out)
    assert session.get_inputs()[0].shape == [1, 48, 48, 3]
    assert session.labels[3] == "name 3"


def test_a_slim_plan_has_no_notes_and_computes_the_same(files, tmp_path, command):
    out = tmp_path / "slim.plan.safetensors"
    r = command("compress", files / "net.onnx", out, "--slim", "--json")
    assert r["bytes_after"] < (files / "net.plan.safetensors").stat().st_size
    feed = {"input": np.load(files / "x.npy")}
    answers = [pycompress.InferenceSession(path).run(None, feed)[0] for path in (out, files / "net.plan.safetensors")]
    assert answers[0].tobytes() == answers[1].tobytes()
    assert "pycompress.notes" not in pycompress.Plan.load(out).metadata


@pytest.mark.parametrize("kind", ["json", "toml", "yaml"])
def test_a_recipe_holds_the_steps(kind, files, tmp_path, command):
    if kind == "toml" and sys.version_info < (3, 11):
        pytest.skip("TOML came with Python 3.11")
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((4, 3, 48, 48), np.float32))
    options = {"calibration": "c.npy", "samples": 3, "method": "minmax"}
    if kind != "toml":
        yaml = pytest.importorskip("yaml") if kind == "yaml" else None
        text = (yaml.safe_dump if yaml else json.dumps)({"quantize": options, "prune": {"sparsity": 0.5}})
        (tmp_path / f"r.{kind}").write_text(text)
    else:
        lines = [f"{k} = {json.dumps(v)}" for k, v in options.items()]
        (tmp_path / "r.toml").write_text("[prune]\nsparsity = 0.5\n[quantize]\n" + "\n".join(lines))
    r = command("compress", files / "net.onnx", tmp_path / "q.onnx", "--recipe", tmp_path / f"r.{kind}", "--json")
    assert list(r["steps"]) == ["prune", "quantize"]
    assert quantized(tmp_path / "q.onnx") > 10


def test_steps_that_exceed_max_drop_are_repeated_with_gentler_options(files, tmp_path, command):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((8, 3, 48, 48), np.float32))
    tables = {"data": {"calibration": "c.npy"}, "prune": {"sparsity": 0.9, "reconstruct": False}, "cast": {}}
    (tmp_path / "r.json").write_text(json.dumps(tables))
    words = ("compress", files / "net.onnx", tmp_path / "o.onnx", "--recipe", tmp_path / "r.json")
    r = command(*words, "--max-drop", "0.001", "--json")
    pruned, half = r["verdicts"]["prune"], r["verdicts"]["cast"]
    assert pruned["outcome"] in ("promoted", "left out") and half["outcome"] == "kept"
    assert max(pruned["drop"], half["drop"]) <= 0.001
    assert "cast: kept" in command(*words, "--max-drop", "0.5")


def test_the_summary_names_only_what_was_done(files, tmp_path, command):
    np.save(tmp_path / "c.npy", np.random.default_rng(0).standard_normal((8, 3, 48, 48), np.float32))
    words = ("compress", files / "net.onnx", tmp_path / "o.onnx", "--calibration", tmp_path / "c.npy", "--quantize")
    said = command(*words, "--max-drop", "1e-9").splitlines()
    assert said[-1].startswith(f"{tmp_path / 'o.onnx'}: unchanged; ")


@pytest.mark.parametrize(
    "recipe,said",
    [
        ({"prune": {"sparsity": 1.8}}, "recipe.prune.sparsity: must be in [0, 1)"),
        ({"prune": {}}, "recipe.prune.sparsity: pattern 'unstructured' needs one"),
        ({"prune": {"sparsity": 0.5, "model": "m"}}, "recipe.prune.model: unknown key"),
        ({"factorize": {}}, "give one of energy, rank and ratio"),
        ({"distil": {}}, "recipe.distil: unknown key"),
        (
            {"quantize": {"calibration": "photos", "exlude": []}},
            "recipe.quantize.exlude: unknown key; did you mean exclude?",
        ),
        ({"quantize": {}}, "calibration"),
        ({"quantize": {"calibration": "photos", "samples": -1}}, "samples"),
        ([1], "table"),
        ({"cast": {}, "max_drop": -1}, "recipe.max_drop: must be a number"),
        ({"cast": {}, "exceeded": "stop"}, "recipe.exceeded: has no effect without max_drop"),
        ({"cast": {"max_drop": 0.1}}, "recipe.cast.max_drop: has no effect without max_drop"),
        ({"cast": {}, "max_drop": 0.1}, "without --calibration the answers cannot be compared"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_name(recipe, said, files, tmp_path, refused):
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    assert said in refused("compress", files / "net.onnx", tmp_path / "q.onnx", "--recipe", tmp_path / "r.json")
    assert not (tmp_path / "q.onnx").exists()


def test_flags_that_cannot_be_followed_are_refused(files, tmp_path, refused):
    net, out = files / "net.onnx", tmp_path / "q.onnx"
    assert "give one of them" in refused("compress", net, out, "--factorize", "0.5", "--rank", "8")
    assert "energy must be in (0, 1]" in refused("compress", net, out, "--factorize", "1.5")
    assert "--pattern and --scope are for --prune" in refused("compress", net, out, "--quantize", "--pattern", "1x4")
    assert "pattern must be" in refused("compress", net, out, "--prune", "0.5", "--pattern", "3x3")
    assert "nothing to do" in refused("compress", net, out)
    assert "are for --quantize" in refused("compress", net, out, "--prune", "0.5", "--weights", "4")
    assert "quantized already" in refused("compress", net, out, "--quantize", "--recertify")
    assert "--calibration is for" in refused("compress", net, out, "--calibration", "photos")
    assert "nothing to certify" in refused("compress", net, out, "--recertify")
    assert "OUT must end" in refused("compress", net, tmp_path / "q.bin", "--quantize")
    assert "no such calibration" in refused("compress", net, out, "--quantize", "--calibration", tmp_path / "none")
    assert "plan cannot be compressed" in refused("compress", files / "net.plan.safetensors", out, "--quantize")
    assert "no such folder" in refused("compress", net, tmp_path / "none" / "q.onnx", "--quantize")


def test_cast_halves_the_file_and_runs(files, tmp_path, command):
    out, plan = tmp_path / "half.onnx", tmp_path / "half.plan.safetensors"
    r = command("compress", files / "net.onnx", out, "--cast", "float16", "--json")
    assert r["steps"] == {"cast": {"dtype": "float16"}} and r["bytes_after"] < 0.7 * r["bytes_before"]
    assert onnx.load(out).graph == pycompress.cast(files / "net.onnx").graph
    assert "constants are bfloat16" in command("compress", files / "net.onnx", plan, "--cast", "bfloat16")
    x = np.random.default_rng(0).standard_normal((1, 3, 48, 48), np.float32)
    (y,), (expected,) = (pycompress.InferenceSession(p).run(None, {"input": x}) for p in (plan, files / "net.onnx"))
    np.testing.assert_allclose(y, expected, rtol=0, atol=0.05 * abs(expected).max())


def test_what_cannot_end_is_refused_before_the_work(files, tmp_path, refused, monkeypatch):
    def begun(*_):
        raise AssertionError("a step began")

    monkeypatch.setattr("pycompress.cli.steps.take", begun)
    data = ("--calibration", files / "x.npy")
    for flag in (("--prune", "0.5"), ("--factorize", "0.9"), ("--quantize", *data)):
        assert "quantized already" in refused("compress", files / "int8.onnx", tmp_path / "q.onnx", *flag)
    (tmp_path / "few.txt").write_text("cat\ndog\n")
    words = (files / "net.onnx", tmp_path / "p.plan.safetensors", "--quantize", *data)
    assert "2 class names" in refused("compress", *words, "--labels", tmp_path / "few.txt")
    assert not list(tmp_path.glob("p.*"))


def test_out_is_never_what_is_read(files, tmp_path, refused):
    before = (files / "net.onnx").read_bytes()
    (tmp_path / "link.onnx").symlink_to(files / "net.onnx")
    for out in (files / "net.onnx", tmp_path / "link.onnx"):
        assert "is what is read" in refused("compress", files / "net.onnx", out, "--cast", "float16")
    assert (files / "net.onnx").read_bytes() == before


@pytest.mark.parametrize(
    "idle,flags",
    [
        ("samples", ("--prune", "0.5", "--samples", "3")),
        ("mean", ("--prune", "0.5", "--mean", "1")),
        ("--resize", ("--cast", "float16", "--resize", "pad")),
        ("--accumulate", ("--cast", "float16", "--accumulate", "4")),
        ("--target is for --quantize", ("--cast", "float16", "--target", "vnni")),
        (
            "target 'vnni' means accumulate=0",
            ("--quantize", "--target", "vnni", "--accumulate", "8", "--calibration", "photos"),
        ),
        ("--labels", ("--cast", "float16", "--labels", __file__)),
        ("--costs", ("--cast", "float16", "--costs", __file__)),
        ("--slim", ("--cast", "float16", "--slim")),
        ("--rounding", ("--quantize", "--calibration", "photos", "--rounding", "gptq")),
        ("--group-size", ("--quantize", "--calibration", "photos", "--group-size", "32")),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(idle, flags, files, tmp_path, refused):
    assert idle in refused("compress", files / "net.onnx", tmp_path / "o.onnx", *flags)


def test_a_plan_of_products_rounded_to_bfloat16(files, tmp_path, command, refused):
    plan = tmp_path / "b.plan.safetensors"
    command("compress", files / "net.onnx", plan, "--float-products", "bfloat16")
    session = pycompress.InferenceSession(plan)
    reasons = [r["reason"] for r in session.explain() if r["kernel"] in ("bgemm", "bconv")]
    assert reasons and all("rounded to bfloat16, as asked" in reason for reason in reasons)
    assert command("info", plan, "--json")["provenance"]["float_products"] == "bfloat16"
    command("compress", files / "net.onnx", plan, "--float-products", "float32")
    assert not {"bgemm", "bconv"} & {r["kernel"] for r in pycompress.InferenceSession(plan).explain()}
    assert "--float-products is for plans" in refused(
        "compress", files / "net.onnx", tmp_path / "b.onnx", "--cast", "float16", "--float-products", "bfloat16"
    )


def test_a_recipe_says_what_the_products_of_a_plan_are(files, tmp_path, command, refused, capsys):
    recipe = tmp_path / "r.json"
    recipe.write_text('{"cast": {"dtype": "bfloat16"}, "float_products": "bfloat16"}')
    plan = tmp_path / "b.plan.safetensors"
    command("compress", files / "net.onnx", plan, "--recipe", recipe)
    assert command("info", plan, "--json")["provenance"]["float_products"] == "bfloat16"
    assert main(["compress", str(files / "net.onnx"), str(tmp_path / "b.onnx"), "--recipe", str(recipe)]) == 0
    assert "is for plans" in capsys.readouterr().err
    said = refused("compress", files / "net.onnx", plan, "--recipe", recipe, "--float-products", "float32")
    assert "give one of them" in said


def test_other_float_products_are_refused_with_those_that_are_not(files, tmp_path, capsys):
    from pycompress.cli import main

    with pytest.raises(SystemExit):
        main(["compress", str(files / "net.onnx"), str(tmp_path / "b.plan.safetensors"), "--float-products", "int8"])
    said = capsys.readouterr().err
    assert "float32" in said and "bfloat16" in said
