import numpy as np
import onnx
import pytest

import pycompress
from pycompress.cli.inputs import read_image


def answer(files, name, x):
    return pycompress.InferenceSession(files / name).run(None, {"input": x})[0]


@pytest.mark.parametrize("name", ["net.onnx", "net.plan.safetensors"])
def test_outputs_are_written_as_they_are(name, files, tmp_path, command):
    command("run", files / name, files / "x.npy", "--out", tmp_path / "y.npy", "--threads", 1)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), answer(files, name, np.load(files / "x.npy")))
    command("run", files / name, f"input={files / 'x.npy'}", "--out", tmp_path / "y.npz")
    assert np.load(tmp_path / "y.npz").files == ["logits"]


def test_npz_names_the_inputs(files, tmp_path, command):
    np.savez(tmp_path / "x.npz", input=np.load(files / "x.npy"))
    r = command("run", files / "net.onnx", tmp_path / "x.npz", "--json")
    assert r["outputs"]["logits"]["shape"] == [1, 10]


def test_an_image_becomes_class_names(files, command):
    r = command("run", files / "images.plan.safetensors", files / "cat.png", "--json", "--top", 3)
    image = read_image(files / "cat.png", 48, 48)
    logits = answer(files, "images.plan.safetensors", image[None])[0]
    top = r["outputs"]["logits"]["top"][0]
    assert [t["class"] for t in top] == list(np.argsort(-logits)[:3])
    assert top[0]["name"] == f"class {logits.argmax()}"
    assert "class " in command("run", files / "images.plan.safetensors", files / "cat.png")


def test_the_middle_of_an_image_keeps_its_proportions(tmp_path):
    from PIL import Image

    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255  # the middle square
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", 20, 20, 1.0) > 200).all()
    assert read_image(tmp_path / "a.png", 20, 40, 1.0)[:, :8].max() < 50


def test_an_image_without_preprocessing_is_refused(files, refused):
    assert "preprocesses" in refused("run", files / "net.onnx", files / "cat.png")


def test_what_does_not_fit_is_refused(files, tmp_path, refused):
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 7, 7), np.float32))
    assert "(1, 3, 7, 7)" in refused("run", files / "net.plan.safetensors", tmp_path / "x.npy")
    (tmp_path / "x.txt").write_text("hello")
    assert "not an image" in refused("run", files / "images.plan.safetensors", tmp_path / "x.txt")
    assert "no such input" in refused("run", files / "net.onnx", tmp_path / "none.npy")
    (tmp_path / "bad.npy").write_bytes(b"nonsense")
    assert "not a .npy" in refused("run", files / "net.onnx", tmp_path / "bad.npy")
    assert "--out" in refused("run", files / "net.onnx", files / "x.npy", "--out", tmp_path / "y.txt")


def test_the_best_classes_of_a_model_without_names_are_numbers(files, command, refused):
    words = ("run", files / "net.onnx", files / "x.npy")
    assert "top" not in command(*words, "--json")["outputs"]["logits"]
    (best,) = command(*words, "--json", "--top", 2)["outputs"]["logits"]["top"]
    logits = answer(files, "net.onnx", np.load(files / "x.npy"))[0]
    assert [c["class"] for c in best] == list(np.argsort(-logits)[:2]) and best[0]["name"] is None


def test_what_cannot_be_written_or_ranked_is_refused_before_the_run(files, tmp_path, refused, monkeypatch):
    def ran(*_):
        raise AssertionError("it ran")

    monkeypatch.setattr("pycompress.cli.run._run", ran)
    words = ("run", files / "net.onnx", files / "x.npy")
    assert "no such folder" in refused(*words, "--out", tmp_path / "none" / "y.npy")
    assert "is what is read" in refused(*words, "--out", files / "x.npy")
    assert "--crop is for images" in refused(*words, "--crop", "0.5")
    assert "declared as 1x3x48x48" in refused(*words, "--shape", "1x3x50x50")
    model = onnx.load(files / "net.onnx")
    del model.graph.output[:]
    for name in ("features", "again"):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, [1, 3, 48, 48]))
        model.graph.node.append(onnx.helper.make_node("Identity", ["input"], [name]))
    onnx.save(model, tmp_path / "two.onnx")
    words = ("run", tmp_path / "two.onnx", files / "x.npy")
    assert "write 2 outputs to a .npz" in refused(*words, "--out", tmp_path / "y.npy")
    assert "--top is for the scores of classes" in refused(*words, "--top", "3")


def test_a_pickled_array_is_never_loaded(files, tmp_path, refused):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    assert "not a .npy" in refused("run", files / "net.onnx", tmp_path / "x.npy")
