"""Resize and Upsample against onnxruntime, and against onnx's reference where that has more to say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from oracle import check, floats, one_node, ours, same
from pycompress.errors import ModelError

few = settings(max_examples=40, deadline=None, derandomize=True)
COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def reference(inputs, constants, **attributes):
    """Compare with onnx's own evaluator."""
    model = one_node("Resize", inputs, constants, **attributes)
    feed = {n: x for n, x in inputs.items() if x is not None and n not in constants}
    same(ours(model, feed)[0], ReferenceEvaluator(model).run(None, feed), 1e-4, 1e-4)


@few
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 12),
    st.sampled_from(COORDINATES),
    st.data(),
)
def test_sizes(h, w, oh, ow, coordinates, data):
    x = floats(np.random.default_rng(0), 2, 3, h, w)
    inputs = {"x": x, "roi": None, "scales": None, "sizes": np.array([2, 3, oh, ow], np.int64)}
    mode = data.draw(st.sampled_from(["nearest", "linear", "cubic"]))
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = data.draw(st.sampled_from(NEAREST))
    else:
        attributes["antialias"] = data.draw(st.integers(0, 1))
    if mode == "cubic":
        attributes["exclude_outside"] = data.draw(st.integers(0, 1))
        attributes["cubic_coeff_a"] = data.draw(st.sampled_from([-0.75, -0.5]))
    if mode == "nearest" and coordinates != "half_pixel_symmetric":  # where ties depend on the rounding of scales
        check("Resize", inputs, ("sizes",), opset=19, **attributes)
    elif mode != "nearest":
        reference(inputs, ("sizes",), opset=19, **attributes)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("scales", [(2, 2), (1, 3), (0.5, 2), (1.7, 0.6)])
def test_scales(mode, scales):
    x = floats(np.random.default_rng(0), 1, 3, 7, 5)
    inputs = {"x": x, "roi": None, "scales": np.array([1, 1, *scales], np.float32)}
    for constants in (("scales",), ()):
        check("Resize", inputs, constants, mode=mode, opset=13, atol=1e-4)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(2, 2), (3, 1)])
def test_old_forms(mode, scales):
    x = floats(np.random.default_rng(0), 1, 3, 7, 5)
    s = np.array([1, 1, *scales], np.float32)
    check("Upsample", {"x": x}, scales=s.tolist(), mode=mode, opset=7)
    check("Upsample", {"x": x, "s": s}, ("s",), mode=mode, opset=9)
    check("Resize", {"x": x, "s": s}, ("s",), mode=mode, opset=10)


def test_axes_policies_and_crops():
    x = floats(np.random.default_rng(0), 1, 2, 6, 4)
    axes = {"axes": [2, 3], "opset": 19}
    inputs = {"x": x, "roi": None, "scales": np.array([1.5, 0.5], np.float32)}
    check("Resize", inputs, ("scales",), mode="linear", **axes)
    for policy in ("not_larger", "not_smaller"):
        inputs = {"x": x, "roi": None, "scales": None, "sizes": np.array([9, 3], np.int64)}
        reference(inputs, ("sizes",), mode="linear", keep_aspect_ratio_policy=policy, **axes)
    roi = np.array([0.1, -0.2, 0.9, 1.3], np.float32)
    inputs = {"x": x, "roi": roi, "scales": None, "sizes": np.array([5, 7], np.int64)}
    for mode in ("nearest", "linear", "cubic"):
        reference(
            inputs, ("sizes", "roi"), mode=mode, coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=3.0, **axes,
        )  # fmt: skip


def test_nearest_moves_integers_too():
    x = np.arange(24).reshape(1, 2, 3, 4).astype(np.int8)
    check("Resize", {"x": x, "roi": None, "scales": np.array([1, 1, 2, 2], np.float32)}, ("scales",), opset=13)


@pytest.mark.parametrize(
    "scales,sizes,attributes,words",
    [
        (None, None, {}, "either scales or sizes"),
        ([1, 1], None, {}, "scales"),
        ([1, 1, -1, 1], None, {}, "scales"),
        (None, [1, 1, 0, 1], {}, "sizes"),
        ([1, 1, 2, 2], None, {"mode": "area"}, "'mode'"),
        ([1, 1, 2, 2], None, {"coordinate_transformation_mode": "round"}, "'coordinate_transformation_mode'"),
        ([1, 1, 2, 2], None, {"antialias": 1}, "'antialias'"),
        ([1, 1, 2, 2], None, {"coordinate_transformation_mode": "tf_crop_and_resize"}, "roi"),
        ([2], None, {"axes": [7]}, "'axes'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(scales, sizes, attributes, words):
    inputs = {"x": np.zeros((1, 1, 2, 2), np.float32), "roi": None}
    inputs["scales"] = None if scales is None else np.array(scales, np.float32)
    inputs["sizes"] = None if sizes is None else np.array(sizes, np.int64)
    with pytest.raises(ModelError, match=rf"node 'the_node' \(Resize\).*{words}"):
        ours(one_node("Resize", inputs, ("scales", "sizes"), **attributes), {"x": inputs["x"]})
