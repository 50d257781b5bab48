"""Images of every depth, mode and layout, and the options that say how they fit."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from pycompress.cli import images
from pycompress.cli.inputs import read_image
from pycompress.cli.output import clean


def passing(path, shape, dtype=TensorProto.FLOAT):
    """Write a model that hands its input through."""
    ports = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def blocks(mode="RGB"):
    grey = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, np.ones((16, 12), np.uint8))
    return Image.fromarray(grey).convert(mode)


def test_sixteen_bits_keep_their_range(tmp_path):
    Image.fromarray(np.asarray(blocks("L")).astype(np.uint16) * 257).save(tmp_path / "deep.png")
    blocks("L").save(tmp_path / "flat.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png", 32, 32), read_image(tmp_path / "flat.png", 32, 32))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_images_of_every_mode_have_the_channels_of_the_model(mode, tmp_path):
    blocks(mode).save(tmp_path / "a.tiff")
    for channels in (1, 3, 4):
        assert images.read(tmp_path / "a.tiff", 8, 8, channels).shape == (8, 8, channels)


def test_both_layouts_give_the_same_numbers(tmp_path, command):
    blocks().save(tmp_path / "a.png")
    words = (tmp_path / "a.png", "--mean", "0.5", "--std", "0.25", "--scale", "1/255", "--out", tmp_path / "y.npy")
    got = {}
    for word, shape in (("nchw", [1, 3, 8, 8]), ("nhwc", [1, 8, 8, 3])):
        passing(tmp_path / "m.onnx", shape)
        command("run", tmp_path / "m.onnx", *words)
        got[word] = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(got["nchw"], got["nhwc"].transpose(0, 3, 1, 2))
    expected = (read_image(tmp_path / "a.png", 8, 8)[None] / 255 - 0.5) / 0.25
    np.testing.assert_allclose(got["nhwc"], expected, atol=1e-5)


def test_an_image_is_cropped_stretched_or_padded(tmp_path):
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255  # the middle square
    Image.fromarray(pixels).save(tmp_path / "a.png")
    crop, stretch, pad = (
        images.read(tmp_path / "a.png", 20, 20, 3, images.Fit(resize=r, crop=1.0))[..., 0] > 128 for r in images.RESIZE
    )
    assert crop.all() and stretch.sum() == 20 * 10 and pad.sum() == 10 * 10


def test_a_folder_is_run_image_by_image(tmp_path, command):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        blocks().save(tmp_path / "photos" / f"{name}.png")
    passing(tmp_path / "m.onnx", [1, 8, 8, 3], TensorProto.UINT8)
    runs = command("run", tmp_path / "m.onnx", tmp_path / "photos", "--json")["runs"]
    assert [r["input"][-5:] for r in runs] == ["a.png", "b.png"]


def test_images_to_calibrate_on_are_named_one_by_one_or_by_their_folder(files, tmp_path, command, refused):
    (tmp_path / "photos").mkdir()
    for name in "ab":
        blocks().save(tmp_path / "photos" / f"{name}.png")
    words = ("compress", files / "net.onnx", tmp_path / "o.onnx", "--cast", "float16", "--mean", "127", "--std", "128")
    a, b, folder = (tmp_path / "photos" / name for name in ("a.png", "b.png", ""))
    counts = []
    for data in ([a], [a, b], [folder], [folder, a]):
        flags = [word for each in data for word in ("--calibration", each)]
        counts.append(command(*words, *flags, "--json")["verdicts"]["cast"]["samples"])
    assert counts == [1, 2, 2, 3]
    assert "no such calibration data" in refused(*words, "--calibration", a, "--calibration", tmp_path / "c.png")


def test_mean_and_std_that_do_not_fit_the_range_get_a_warning():
    assert "--scale 1/255" in images.doubtful((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert not images.doubtful((127,), (128,)) and not images.doubtful((0,), (255,))
    said = []
    images.fit({"mean": (0.485,), "std": (0.229,)}, said.append)
    images.fit({"mean": (0.485,), "std": (0.229,), "scale": 1 / 255}, said.append)
    assert len(said) == 1


def test_options_that_would_do_nothing_are_refused(tmp_path, refused):
    passing(tmp_path / "m.onnx", [1, 8, 8, 3], TensorProto.UINT8)
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 3), np.uint8))
    blocks().save(tmp_path / "a.png")
    assert "--crop is for images" in refused("run", tmp_path / "m.onnx", tmp_path / "x.npy", "--crop", "0.5")
    assert "would do nothing" in refused("run", tmp_path / "m.onnx", tmp_path / "a.png", "--mean", "1", "--std", "2")


def test_names_from_files_cannot_steer_the_terminal():
    hostile = "\x1b]0;title\x07 \x9b2J \u202egnp.exe \r"
    assert clean(hostile).isprintable() and "title" in clean(hostile)
    assert clean("Käse 猫\n") == "Käse 猫\n"
