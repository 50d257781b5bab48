"""Images at places computed at run time, against onnxruntime."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_an_image_on_any_grid(mode, padding, corners):
    rng = np.random.default_rng(0)
    how = dict(mode=mode, padding_mode=padding, align_corners=corners, opset=20)
    grid = rng.uniform(-1.6, 1.6, (2, 4, 6, 2)).astype(np.float32)
    check("GridSample", {"x": floats(rng, 2, 3, 5, 7), "g": grid}, atol=1e-4, **how)
    if mode != "cubic":
        grid = rng.uniform(-1.3, 1.3, (2, 3, 2, 4, 3)).astype(np.float32)
        check("GridSample", {"x": floats(rng, 2, 3, 4, 5, 6), "g": grid}, atol=1e-4, **how)


def test_names_of_modes_before_opset_20():
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 1, 2, 4, 5), "g": rng.uniform(-1, 1, (1, 3, 3, 2)).astype(np.float32)}
    for mode in ("bilinear", "nearest", "bicubic"):
        check("GridSample", inputs, mode=mode, opset=16, atol=1e-4)


def test_a_grid_of_anything_harms_nobody():
    x = floats(np.random.default_rng(0), 1, 2, 4, 5)
    grid = np.float32([np.nan, 0.3, -np.inf, np.inf, 0.1, -3e38, 1e20, -1e20, 3e38, np.nan, 0.5, 1]).reshape(1, 2, 3, 2)
    for padding in ("zeros", "border", "reflection"):
        for mode in ("nearest", "linear", "cubic"):
            for corners in (0, 1):
                how = dict(mode=mode, padding_mode=padding, align_corners=corners)
                check("GridSample", {"x": x, "g": grid}, opset=20, atol=1e-4, **how)


@pytest.mark.parametrize("aligned", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_boxes_of_images_become_small_images(aligned, ratio):
    rng = np.random.default_rng(0)
    low = rng.uniform(-3, 12, (6, 2))
    rois = np.concatenate([low, low + rng.uniform(0.1, 10, (6, 2))], 1).astype(np.float32)
    inputs = {"x": floats(rng, 2, 3, 8, 9), "r": rois, "b": np.array([0, 1, 0, 1, 1, 0])}
    how = dict(coordinate_transformation_mode=aligned, output_height=3, output_width=4, sampling_ratio=ratio, opset=16)
    check("RoiAlign", inputs, spatial_scale=0.75, atol=1e-4, **how)


@pytest.mark.parametrize("groups, parts", [(1, 1), (2, 1), (1, 2), (2, 4)])
@pytest.mark.parametrize("how", [{}, dict(pads=[1, 0, 1, 2], strides=[2, 1]), dict(dilations=[1, 2])])
def test_convolution_at_moved_places(groups, parts, how):
    rng = np.random.default_rng(0)
    (h, w), (kh, kw) = (7, 8), (3, 2)
    pads, strides, dilations = how.get("pads", [0] * 4), how.get("strides", [1, 1]), how.get("dilations", [1, 1])
    oh = (h + pads[0] + pads[2] - dilations[0] * (kh - 1) - 1) // strides[0] + 1
    ow = (w + pads[1] + pads[3] - dilations[1] * (kw - 1) - 1) // strides[1] + 1
    inputs = {"x": floats(rng, 2, 4, h, w), "w": floats(rng, 6, 4 // groups, kh, kw)}
    inputs |= {"o": floats(rng, 2, 2 * parts * kh * kw, oh, ow), "b": floats(rng, 6)}
    inputs["m"] = floats(rng, 2, parts * kh * kw, oh, ow)
    check("DeformConv", inputs, ("w", "b"), group=groups, offset_group=parts, opset=19, atol=1e-4, **how)


@pytest.mark.parametrize("op, shapes, how, words", [
    ("GridSample", [(1, 2, 4, 5), (1, 3, 3, 3)], {}, "grid"),
    ("GridSample", [(1, 2, 4, 5), (1, 3, 3, 2)], {"mode": "spline"}, "'mode'"),
    ("GridSample", [(1, 2, 4, 5, 6), (1, 3, 3, 3, 3)], {"mode": "cubic"}, "'mode'"),
    ("DeformConv", [(1, 4, 5, 5), (2, 4, 3, 3), (1, 18, 4, 3)], {}, "do not fit"),
    ("DeformConv", [(1, 4, 5, 5), (2, 4, 3, 3), (1, 18, 3, 3)], {"group": 3}, "do not fit"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(op, shapes, how, words):
    inputs = {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, opset=20, **how), inputs)


def test_numbers_of_samples_that_depend_on_the_boxes_are_refused():
    inputs = {"x": np.zeros((1, 1, 4, 4), np.float32), "r": np.zeros((1, 4), np.float32), "b": np.zeros(1, np.int64)}
    with pytest.raises(ModelError, match="attribute 'sampling_ratio'"):
        ours(one_node("RoiAlign", inputs, opset=16), inputs)
