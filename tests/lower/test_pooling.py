"""Pools against onnxruntime."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError

few = settings(max_examples=40, deadline=None, derandomize=True)


def every_window_sees_the_image(size, k, stride, dilation, before, after, ceil):
    """Implementations differ on windows that lie in the padding altogether."""
    last = size + before + after - dilation * (k - 1) - 1
    if last < 0:
        return False
    starts = [i * stride - before for i in range((-(-last // stride) if ceil else last // stride) + 1)]
    return all(any(0 <= s + dilation * j < size for j in range(k)) for s in starts if s < size or not ceil)


@few
@given(st.integers(1, 3), st.data(), st.sampled_from(["MaxPool", "AveragePool"]))
def test_pool(rank, data, op):
    several = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    attributes = {"kernel_shape": kernel, "strides": data.draw(several), "ceil_mode": data.draw(st.integers(0, 1))}
    attributes["dilations"] = data.draw(several)
    if op == "AveragePool":
        attributes["count_include_pad"] = data.draw(st.integers(0, 1))
    pads = [data.draw(st.integers(0, k - 1)) for k in kernel * 2]
    attributes["pads"] = pads
    image = data.draw(st.lists(st.integers(1, 12), min_size=rank, max_size=rank))
    geometry = zip(image, kernel, attributes["strides"], attributes["dilations"], pads, pads[rank:])
    assume(all(every_window_sees_the_image(*one, attributes["ceil_mode"]) for one in geometry))
    x = floats(np.random.default_rng(0), 2, 3, *image)
    check(op, {"x": x}, opset=22, **attributes)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_pads_chosen_by_the_operator(op, auto):
    x = floats(np.random.default_rng(0), 1, 5, 9, 10)
    for stride in (1, 2, 3):
        check(op, {"x": x}, kernel_shape=[3, 2], strides=[stride, 2], auto_pad=auto)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("image", [(5,), (4, 3), (2, 3, 4)])
def test_a_window_larger_than_the_image_ends_outside_if_sizes_are_rounded_up(op, image):
    x, rank = floats(np.random.default_rng(0), 2, 3, *image), len(image)
    check(op, {"x": x}, kernel_shape=[64] * rank, strides=[64] * rank, ceil_mode=1)
    inputs = {"x": x}
    with pytest.raises(ModelError, match="does not fit"):
        ours(one_node(op, inputs, kernel_shape=[64] * rank, ceil_mode=1), inputs)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_max_of_integers(dtype):
    limits = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(limits.min, limits.max + 1, (2, 3, 7, 6)).astype(dtype)
    check("MaxPool", {"x": x}, kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("image", [(7,), (5, 6), (2, 3, 4)])
def test_global_pool(op, image):
    check(op, {"x": floats(np.random.default_rng(0), 2, 3, *image)})


@pytest.mark.parametrize(
    "op,shape,attributes,words",
    [
        ("MaxPool", (1, 2, 4, 4), {}, "'kernel_shape' is required"),
        ("MaxPool", (1, 2, 4, 4), {"kernel_shape": [3]}, "'kernel_shape'"),
        ("MaxPool", (1, 2, 4, 4), {"kernel_shape": [5, 3]}, "does not fit"),
        ("AveragePool", (1, 2, 4, 4), {"kernel_shape": [3, 3], "strides": [0, 1]}, "'strides'"),
        ("AveragePool", (1, 2, 4, 4), {"kernel_shape": [3, 3], "ceil_mode": 2}, "'ceil_mode'"),
        ("AveragePool", (1, 2, 4, 4, 4), {"kernel_shape": [3, 3, 5]}, "does not fit"),
        ("AveragePool", (1, 2, 4, 4, 4), {"kernel_shape": [3, 3]}, "'kernel_shape'"),
        ("LpPool", (1, 2, 4, 4), {"kernel_shape": [3, 3], "p": 0}, "'p'"),
        ("GlobalMaxPool", (1, 2), {}, "spatial"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, shape, attributes, words):
    x = np.zeros(shape, np.float32)
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, {"x": x}, **attributes), {"x": x})


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_pools_over_space_pad_themselves(auto):
    x = floats(np.random.default_rng(0), 1, 2, 5, 6, 7)
    check("MaxPool", {"x": x}, kernel_shape=[2, 3, 2], strides=[2, 2, 1], auto_pad=auto)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("image, attributes", [
    ((9,), dict(kernel_shape=[3], strides=[2], pads=[1, 1])),
    ((6, 7), dict(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])),
    ((6, 8), dict(kernel_shape=[2, 3], dilations=[2, 1])),
    ((4, 5, 6), dict(kernel_shape=[2, 2, 3])),
])  # fmt: skip
def test_norms_of_windows(p, image, attributes):
    check("LpPool", {"x": floats(np.random.default_rng(0), 2, 3, *image)}, p=p, **attributes)


def test_a_norm_counts_the_cells_of_the_last_window_that_ends_outside():
    x = np.ones((1, 1, 5), np.float32)
    (y,), _ = ours(one_node("LpPool", {"x": x}, p=1, kernel_shape=[3], strides=[2], ceil_mode=1, pads=[1, 1]), {"x": x})
    np.testing.assert_allclose(y.ravel(), [2, 3, 2], rtol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
def test_the_norm_of_a_whole_image(p):
    x = floats(np.random.default_rng(0), 2, 3, 4, 5)
    got = ours(one_node("GlobalLpPool", {"x": x}, p=p), {"x": x})[0][0]
    np.testing.assert_allclose(got, (abs(x) ** p).sum((2, 3), keepdims=True) ** (1 / p), rtol=1e-5)


@pytest.mark.parametrize("image, attributes", [
    ((9,), dict(kernel_shape=[3], strides=[2], pads=[1, 1])),
    ((6, 7), dict(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], ceil_mode=1)),
    ((6, 8), dict(kernel_shape=[2, 3], dilations=[2, 1], storage_order=1)),
    ((4, 5, 6), dict(kernel_shape=[2, 2, 3], pads=[1, 0, 0, 0, 1, 1])),
])  # fmt: skip
def test_the_places_of_maxima(image, attributes):
    x = np.round(floats(np.random.default_rng(0), 2, 3, *image))  # some are equal: the first counts
    check("MaxPool", {"x": x}, outputs=2, **attributes)


@pytest.mark.parametrize("shape", [None, (1, 2, 7, 8)])
def test_maxima_go_back_to_their_places(shape):
    x = np.abs(floats(np.random.default_rng(0), 1, 2, 3, 3)) + 1
    places = 2 * np.arange(3)[:, None] * 6 + 2 * np.arange(3) + np.array([0, 36]).reshape(1, 2, 1, 1)
    inputs = {"x": x, "i": places} | ({} if shape is None else {"s": np.array(shape)})
    model = one_node("MaxUnpool", inputs, ("s",), kernel_shape=[2, 2], strides=[2, 2])
    (y,), _ = ours(model, {n: v for n, v in inputs.items() if n != "s"})
    want = np.zeros(shape or (1, 2, 6, 6), np.float32)
    want[:, :, :6:2, :6:2] = x
    np.testing.assert_array_equal(y, want)
