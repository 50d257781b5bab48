"""DFT and STFT against NumPy's transforms, in float64."""

import numpy as np
import pytest

from oracle import check, floats, one_node, ours
from pycompress.errors import ModelError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def parts(z):
    return np.stack([z.real, z.imag], -1)


def whole(x):
    return x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0)


def dft(x, length=None, axis=None, opset=20, **attributes):
    inputs = {
        "x": x,
        "n": None if length is None else np.array(length),
        "axis": None if axis is None else np.array(axis),
    }
    if opset < 20:
        del inputs["axis"]
    return ours(one_node("DFT", inputs, ("n", "axis"), opset=opset, **attributes), {"x": x})[0][0]


@pytest.mark.parametrize("length", [None, 1, 4, 9, 12])
@pytest.mark.parametrize("axis", [1, 2, -3])
@pytest.mark.parametrize("last", [1, 2])
def test_a_transform_along_any_axis_of_any_length(rng, length, axis, last):
    x = floats(rng, 2, 6, 7, last)
    along = axis % 4
    np.testing.assert_allclose(dft(x, length, axis), parts(np.fft.fft(whole(x), length, along)), atol=1e-5)
    np.testing.assert_allclose(dft(x, length, axis, inverse=1), parts(np.fft.ifft(whole(x), length, along)), atol=1e-5)


@pytest.mark.parametrize("length", [None, 1, 5, 8])
def test_one_side(rng, length):
    x = floats(rng, 3, 6, 1)
    np.testing.assert_allclose(dft(x, length, onesided=1), parts(np.fft.rfft(x[..., 0], length)), atol=1e-5)
    z = floats(rng, 3, 4, 2)
    want = np.fft.irfft(whole(z), length)[..., None]
    np.testing.assert_allclose(dft(z, length, onesided=1, inverse=1), want, atol=1e-5)


@pytest.mark.parametrize("one_sided", [0, 1])
def test_the_axis_as_an_attribute(rng, one_sided):
    check("DFT", {"x": floats(rng, 2, 6, 1)}, opset=17, axis=1, onesided=one_sided, atol=1e-5)


def test_a_long_transform_is_exact_to_float32(rng):
    x = floats(rng, 1, 2000, 1)
    want = parts(np.fft.rfft(x[..., 0].astype("f8")))
    assert abs(dft(x, onesided=1) - want).max() < 1e-6 * abs(want).max() * np.sqrt(2000)


@pytest.mark.parametrize("shape", [(2, 30, 1), (2, 30), (1, 31, 2)])
@pytest.mark.parametrize("step, window", [(1, True), (3, False), (8, True)])
def test_frames(rng, shape, step, window):
    x, w = floats(rng, *shape), abs(floats(rng, 8)) if window else None
    z = whole(x if len(shape) == 3 else x[..., None])
    frames = np.stack([z[:, i : i + 8] for i in range(0, shape[1] - 7, step)], 1) * (1 if w is None else w)
    inputs = {"x": x, "step": np.array(step), "window": w, "length": np.array(8)}
    for constant in (("step", "window", "length"), ("step", "length")):
        given = {n: v for n, v in inputs.items() if n not in constant and v is not None}
        for one_sided in (0, 1) if z.dtype.kind == "f" else (0,):
            got = ours(one_node("STFT", inputs, constant, onesided=one_sided), given)[0][0]
            want = np.fft.rfft(frames) if one_sided else np.fft.fft(frames)
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, parts(want), atol=2e-5)


@pytest.mark.parametrize(
    "op, inputs, attributes, message",
    [
        ("DFT", {"x": (2, 6, 3)}, {}, "real or complex numbers along the last axis"),
        ("DFT", {"x": (2, 6, 2)}, {"onesided": 1}, "no one-sided result"),
        ("DFT", {"x": (2, 6, 1), "n": 0}, {}, "length 0"),
        ("DFT", {"x": (2, 6, 1), "n": None, "axis": 2}, {}, "another axis"),
        ("DFT", {"x": (1, 9000, 1)}, {}, "more than .* elements"),
        ("STFT", {"x": (2, 30, 2), "step": 4, "window": None, "length": 8}, {}, "no one-sided result"),
        ("STFT", {"x": (2, 30, 1), "step": 0, "window": None, "length": 8}, {}, "every 0"),
        ("STFT", {"x": (2, 30, 1), "step": 4, "window": (7,), "length": 8}, {}, "do not fit"),
        ("STFT", {"x": (2, 3, 1), "step": 4, "window": None, "length": 8}, {}, "do not fit 3 samples"),
    ],
)
def test_what_does_not_fit_is_refused(rng, op, inputs, attributes, message):
    made = {n: floats(rng, *v) if isinstance(v, tuple) else v if v is None else np.array(v) for n, v in inputs.items()}
    model = one_node(op, made, tuple(n for n in made if n != "x"), opset=20, **attributes)
    with pytest.raises(ModelError, match="the_node.*" + message):
        ours(model, {"x": made["x"]})
