"""Quantized input images with four bytes a pixel and their padding: the same codes, and only where one convolution reads them."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import pycompress as pc
from interpret import interpret
from pycompress.lower import load, lower
from pycompress.optimize import optimize
from qdq import Builder, check


def network(c=3, size=(9, 8), nhwc=False, dtype=np.uint8, readers=1, weights_zero=0, k=3, **given):
    """A quantized input of `c` channels, convolved; with `readers` 2, another convolution reads the codes."""
    rng = np.random.default_rng(c)
    g = Builder(rng)
    x = g.quantize("x", 0.03, dtype(99)) if nhwc == "codes" else "x"
    x = g.op("Transpose", x, perm=[0, 3, 1, 2]) if nhwc else x
    x = g.quantize(x, 0.03, dtype(99))
    ends = []
    for _ in range(readers):
        w = g.codes(rng.integers(-99, 99, (8, c, k, k), np.int8), 0.01, np.int8(weights_zero))
        ends.append(g.quantize(g.op("Conv", x, w, kernel_shape=[k, k], **given), 0.1, np.uint8(120)))
    y = ends[0] if readers == 1 else g.op("Add", *ends)
    return g.model((*size, c) if nhwc else (c, *size), y), (*size, c) if nhwc else (c, *size)


def kernels(program):
    return [step.kernel for step in program.steps]


CASES = [
    {}, dict(pads=[1] * 4), dict(pads=[0, 0, 1, 1], strides=[2, 2]), dict(c=1, pads=[2, 1, 0, 3]), dict(c=2, k=2),
    dict(c=4, pads=[1] * 4, dilations=[2, 2]), dict(dtype=np.int8, pads=[1] * 4), dict(size=(1, 5), pads=[1] * 4),
    dict(size=(5, 1), pads=[1] * 4), dict(size=(1, 1), pads=[1] * 4), dict(size=(8, 9), k=2, strides=[3, 3]),
]  # fmt: skip


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("given", CASES, ids=str)
def test_an_image_is_quantized_into_pixels_with_its_padding(given, batch):
    model, shape = network(**given)
    x = np.random.default_rng(0).standard_normal((batch, *shape), np.float32) * 3
    program, _, _ = check(model, {"x": x})
    assert kernels(program)[:2] == ["qpixels", "qconv"]
    assert program.steps[1].args["pt"] == program.steps[1].args["pl"] == 0
    (want,), _ = interpret(model, {"x": x})
    for nhwc in (True, "codes"):  # what is transposed: floats, or codes, which are then quantized again
        channels_last, _ = network(**given, nhwc=nhwc)
        (got,), program = interpret(channels_last, {"x": x.transpose(0, 2, 3, 1)})
        np.testing.assert_array_equal(got, want)
        assert kernels(program)[:2] == ["qpixels", "qconv"]


def optimized(model, shape):
    program = lower(load(model), {"x": shape})
    optimize(program)
    return kernels(program)


@pytest.mark.parametrize("given", [
    dict(c=5), dict(readers=2), dict(weights_zero=3), dict(size=(2, 2), pads=[300] * 4),
], ids=str)  # fmt: skip
def test_other_images_stay_as_they_are(given):
    model, shape = network(**given)
    assert "qpixels" not in optimized(model, (1, *shape))


def test_codes_that_are_an_output_stay_as_they_are():
    model, shape = network()
    codes = next(node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear")
    model.graph.output.append(helper.make_tensor_value_info(codes, TensorProto.UINT8, None))
    assert "qpixels" not in optimized(model, (1, *shape))


def test_a_saved_plan_gives_the_same_on_any_number_of_threads(tmp_path):
    model, shape = network(size=(40, 37), pads=[1] * 4, strides=[2, 2])
    x = np.random.default_rng(0).standard_normal((2, *shape), np.float32) * 3
    (want,), _ = interpret(model, {"x": x}, isa="scalar")
    pc.compile(model, input_shapes={"x": x.shape}).save(tmp_path / "p.plan.safetensors")
    for threads in (1, 2, 3):
        session = pc.InferenceSession(tmp_path / "p.plan.safetensors", pc.SessionOptions(threads))
        assert session.explain()[0]["kernel"] == "qpixels"
        for _ in range(2):
            np.testing.assert_array_equal(session.run(None, {"x": x})[0], want)
