"""uint8 images in place of a float image input, channel-first or channel-last."""

import numpy as np
import pytest
from onnx import helper

import pycompress as pc
from oracle import as_model, floats, ort_outputs
from pycompress.errors import ModelError


def model(shape, last):
    """A convolution, behind the Transpose that converters write where channels are last."""
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, *shape), "w": floats(rng, 5, shape[3 if last else 1], 3, 3)}
    nodes = [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if last else []
    nodes.append(helper.make_node("Conv", ["t" if last else "x", "w"], ["y"], pads=[1, 1, 1, 1]))
    return as_model(nodes, inputs, ["y"], ("w",))


@pytest.mark.parametrize("layout", [None, "nhwc"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_either_layout(last, layout, channels):
    if layout and not last:
        return
    shape = (2, 9, 8, channels) if last else (2, channels, 9, 8)
    images = np.random.default_rng(1).integers(0, 256, (2, 9, 8, channels), dtype=np.uint8)
    mean, std = [10.0, 20, 30][:channels], [2.0, 4, 8][:channels]
    plan = pc.compile(model(shape, last), preprocess={"mean": mean, "std": std, "layout": layout})
    session = pc.InferenceSession(plan)
    assert session.get_inputs()[0].shape == [2, 9, 8, channels]
    x = ((images - np.float32(mean)) / np.float32(std)).astype(np.float32)
    (want,) = ort_outputs(model(shape, last), {"x": x if last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(session.run(None, {"x": images})[0], want, 1e-4, 1e-3)


def test_a_layout_that_is_none_is_refused():
    with pytest.raises(ValueError, match="layout must be"):
        pc.Preprocess(layout="hwc")
    with pytest.raises(ModelError, match="'x'.*does not fit"):
        pc.compile(model((1, 9, 8, 3), True), preprocess=pc.Preprocess(layout="nchw"), input_shapes=(1, 9, 8, 3))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"std": 1e-45}, "std = 1e-45 must be finite and positive"),  # its reciprocal is no float32
        ({"mean": "a"}, "mean must be a number"),
        ({"mean": [[1, 2, 3]]}, "one number or one per channel"),
        ({"mean": 1, "scale": 1}, "'scale' is none of mean, std and layout|'mean' is none"),
    ],
)
def test_impossible_numbers_and_unknown_words_are_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        pc.compile(model((1, 9, 8, 3), True), preprocess=given)
