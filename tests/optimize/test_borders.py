"""Long windows of lines get an image with its padding: the same answers."""

import numpy as np
import pytest

import pycompress as pc
from oracle import check, floats, one_node

LONG = [  # channels and length, kernel, attributes
    ((1, 1024), 512, dict(pads=[254, 254], strides=[4])),
    ((64, 64), 64, dict(pads=[31, 32])),
    ((64, 70), 32, dict(pads=[0, 31], dilations=[2])),
    ((64, 70), 32, dict(pads=[40, 0])),
    ((40, 50), 40, dict(auto_pad="SAME_LOWER")),
]


def kernels(program):
    return [step.kernel for step in program.steps if step.kernel != "permute" or "padding" in step.reason]


def checked(image, kernel, given):
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 2, *image), "w": floats(rng, 20, image[0], *kernel) / 8, "b": floats(rng, 20)}
    return check("Conv", inputs, ("w", "b"), rtol=1e-4, atol=1e-4, **given)


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("image, kernel, given", LONG, ids=str)
def test_long_windows_read_an_image_with_its_padding(image, kernel, given, column):
    if column:
        given = {name: value if name == "auto_pad" else [v for x in value for v in (x, int(name != "pads"))]
                 for name, value in given.items()}  # fmt: skip
    program = checked((*image, 1) if column else image, (kernel, 1) if column else (kernel,), given)
    assert kernels(program)[-2:] == ["permute", "sconv"] and "fill" in kernels(program)
    assert program.steps[-1].kernel == "permute" or program.steps[-1].args["pl"] == 0


def test_short_windows_are_copied_where_they_reach_beyond_the_image():
    assert kernels(checked((16, 300), (9,), dict(pads=[4, 4]))) == ["sconv"]


def test_a_plan_of_turned_and_padded_convolutions_runs():
    rng = np.random.default_rng(1)
    inputs = {"x": floats(rng, 3, 8, 200, 1), "w": floats(rng, 33, 8, 100, 1)}
    model = one_node("Conv", inputs, ("w",), pads=[50, 0, 49, 0])
    (got,) = pc.InferenceSession(model).run(None, {"x": inputs["x"]})
    padded = np.pad(inputs["x"][..., 0], ((0, 0), (0, 0), (50, 49)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 100, 2)
    want = np.einsum("bcik,nck->bni", windows, inputs["w"][..., 0], dtype=np.float64)
    np.testing.assert_allclose(got[..., 0], want, 1e-4, 1e-3)
