import numpy as np
import pytest

from pycompress.cli.compare import Difference


def test_a_model_equals_itself_in_every_tensor(files, command):
    r = command("compare", files / "net.onnx", files / "net.onnx", "--json")
    assert len(r["tensors"]) > 50
    assert all(e["max"] == 0 for e in [*r["tensors"].values(), *r["outputs"].values()])
    assert r["outputs"]["logits"]["top1"] == 1


def test_the_quantized_model_is_close(files, command):
    r = command("compare", files / "net.onnx", files / "int8.onnx", "--samples", 2, "--json")
    assert r["samples"] == 2
    assert 0 < r["outputs"]["logits"]["max_of_range"] < 0.5
    assert r["outputs"]["logits"]["cosine"] > 0.9
    assert r["tensors"]
    assert "SQNR" in command("compare", files / "net.onnx", files / "int8.onnx")


def test_of_plans_only_the_outputs_are_compared(files, command):
    words = ("compare", files / "net.onnx", files / "net.plan.safetensors", "--input", files / "x.npy", "--json")
    r = command(*words)
    assert r["tensors"] == {} and r["outputs"]["logits"]["max_of_range"] < 1e-5


def test_models_of_different_inputs_are_refused(files, refused):
    assert "inputs differ" in refused("compare", files / "net.onnx", files / "images.plan.safetensors")


def test_options_of_random_inputs_do_not_stand_beside_files(files, refused):
    words = (files / "net.onnx", files / "int8.onnx", "--input", files / "x.npy")
    assert "--samples is for random inputs" in refused("compare", *words, "--samples", 2)
    assert "--seed is for random inputs" in refused("compare", *words, "--seed", 2)
    assert "--mean is for images" in refused("compare", *words, "--mean", "127")
    assert "--mean is for images" in refused("compare", *words[:2], "--mean", "127")


def test_models_are_compared_on_an_image(files, command):
    words = (files / "net.onnx", files / "int8.onnx", "--input", files / "cat.png", "--mean", "127", "--std", "128")
    assert command("compare", *words, "--json")["outputs"]["logits"]["cosine"] > 0.9


def test_differences_add_up_over_samples():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 5, 7))
    whole, parts = Difference(), Difference()
    whole.add(a, b)
    for i in range(5):
        parts.add(a[i : i + 1], b[i : i + 1])
    assert whole.figures() == pytest.approx(parts.figures())
    assert whole.top1() == parts.top1() == np.mean(a.argmax(1) == b.argmax(1))
    figures = whole.figures()
    assert figures["max"] == np.abs(a - b).max()
    assert figures["max_of_range"] == pytest.approx(np.abs(a - b).max() / np.ptp(a))
    assert figures["sqnr_db"] == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))
