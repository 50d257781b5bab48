"""Pad against onnxruntime and numpy."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from oracle import check, one_node, ours, same
from pycompress.errors import ModelError

few = settings(max_examples=40, deadline=None, derandomize=True)


@few
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data(), st.sampled_from(["float32", "int8", "int64"]))
def test_constant(shape, data, dtype):
    x = np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)
    pads = [data.draw(st.integers(-2, 3)) for _ in range(2 * len(shape))]
    assume(all(d + a + b > 0 for d, a, b in zip(shape, pads, pads[len(shape) :])))
    assume(all(max(0, -a) + max(0, -b) < d for d, a, b in zip(shape, pads, pads[len(shape) :])))
    value = data.draw(st.sampled_from([None, np.array(-7).astype(dtype)]))
    check("Pad", {"x": x, "p": np.array(pads, np.int64), "v": value}, ("p",))


@few
@given(st.lists(st.integers(2, 5), min_size=1, max_size=4), st.data(), st.sampled_from(["reflect", "edge", "wrap"]))
def test_borders_from_the_image(shape, data, mode):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    pads = [[data.draw(st.integers(0, d - 1)) for d in shape] for _ in range(2)]
    model = one_node("Pad", {"x": x, "p": np.array(pads, np.int64).reshape(-1)}, ("p",), mode=mode)
    same(ours(model, {"x": x})[0], [np.pad(x, list(zip(*pads)), mode=mode)])


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_indices_are_of_the_border_only(mode):
    x = np.arange(2 * 300 * 40, dtype=np.float32).reshape(1, 2, 300, 40)
    pads = np.array([0, 0, 5, 1, 0, 0, 4, 1], np.int64)
    program = check("Pad", {"x": x, "p": pads}, ("p",), mode=mode)
    assert all(s.args["index"].size <= 5 for s in program.steps if s.kernel == "gather")


def test_axes_and_the_old_form():
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    for axes in ([1], [-1, 0]):
        pads = np.array([1] * len(axes) + [2] * len(axes), np.int64)
        check("Pad", {"x": x, "p": pads, "v": None, "a": np.array(axes, np.int64)}, ("p", "a"))
    check("Pad", {"x": x}, pads=[0, 1, 0, 2, 0, 3], value=1.5, opset=10)
    check("Pad", {"x": x}, pads=[0, 1, 0, 0, 0, 3], mode="reflect", opset=10)


@pytest.mark.parametrize(
    "pads,attributes,words",
    [
        ([1, 1], {}, "do not fit"),
        ([0, 0, -2, -1], {}, "take away"),
        ([0, 0, 0, 1], {"mode": "mirror"}, "'mode'"),
        ([0, 0, 0, 1], {"mode": "reflect"}, "too small"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(pads, attributes, words):
    x = np.zeros((1, 1), np.float32)
    with pytest.raises(ModelError, match=rf"node 'the_node' \(Pad\).*{words}"):
        ours(one_node("Pad", {"x": x, "p": np.array(pads, np.int64)}, ("p",), **attributes), {"x": x})
