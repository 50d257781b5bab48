"""Integer convolutions: of lines, of columns, of images whose padding is written out."""

import numpy as np
import pytest
from onnx import helper
from qlinear import check, codes, kernels, scale

from oracle import as_model, ort_outputs, ours


@pytest.mark.parametrize(
    "shape,kernel,product",
    [
        ((1, 1, 500), [64], True), ((1, 3, 1, 211), [1, 9], True), ((1, 2, 211, 1), [9, 1], True), ((1, 1, 1, 64), [1, 64], True),
        ((2, 1, 500), [64], False), ((1, 1, 3, 90), [1, 80], False), ((1, 4, 90), [9], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize(
    "options", [{}, {"strides": 3}, {"dilations": 2}, {"pads": 2}], ids=["", "strides", "dilations", "pads"]
)
def test_convolutions_of_lines_of_few_channels_are_products_of_overlapping_rows(
    shape, kernel, product, outputs, options
):
    if options.get("dilations") and shape[-1] in (64, 90):
        pytest.skip("no window fits")
    rng = np.random.default_rng(3)
    along = {key: [given if k > 1 else 1 - (key == "pads") for k in kernel] for key, given in options.items()}
    along |= {"pads": along["pads"] * 2} if "pads" in along else {}
    inputs = {"x": codes(rng, "uint8", *shape), "xs": scale(0.02), "xz": codes(rng, "uint8"),
              "w": codes(rng, "int8", outputs, shape[1], *kernel), "ws": scale(0.001), "wz": np.int8(0), "ys": scale(0.1),
              "yz": codes(rng, "uint8")}  # fmt: skip
    program = check("QLinearConv", inputs, ["x"], steps=1, kernel_shape=kernel, **along)
    found = {"qgemm", "qspmm", "qconv", "qdwconv"} & set(kernels(program))
    assert found == ({"qgemm"} if product and "dilations" not in options else {"qconv"})


@pytest.mark.parametrize("shape, kernel", [((3, 1, 500), [64]), ((2, 3, 211, 1), [9, 1]), ((2, 2, 1, 90), [1, 7])])
@pytest.mark.parametrize("stride, pads", [(2, 0), (4, 6), (5, 1)])
@pytest.mark.parametrize("zero", [0, 7])
def test_batches_of_lines_are_convolved_several_cells_at_a_time(shape, kernel, stride, pads, zero):
    rng = np.random.default_rng(4)
    given = {"strides": [stride if k > 1 else 1 for k in kernel], "pads": [pads * (k > 1) for k in kernel] * 2}
    inputs = {"x": codes(rng, "uint8", *shape), "xs": scale(0.02), "xz": codes(rng, "uint8"),
              "w": codes(rng, "int8", 5, shape[1], *kernel), "ws": scale(0.001), "wz": np.int8(zero), "ys": scale(0.1),
              "yz": codes(rng, "uint8")}  # fmt: skip
    program = check("QLinearConv", inputs, ["x"], steps=1, kernel_shape=kernel, **given)
    (conv,) = [step for step in program.steps if step.kernel == "qconv"]
    assert conv.args["x"].shape[3] == (shape[1] if zero else stride * shape[1])


def convolved(rng, shape, outputs, kernel, groups=1, **options):
    """The program of a convolution; its results are onnxruntime's."""
    inputs = {"x": codes(rng, "uint8", *shape), "xs": scale(0.02), "xz": codes(rng, "uint8"),
              "w": codes(rng, "int8", outputs, shape[1] // groups, *kernel), "ws": scale(0.001), "wz": np.int8(0),
              "ys": scale(0.1), "yz": codes(rng, "uint8")}  # fmt: skip
    return check("QLinearConv", inputs, ["x"], steps=1, kernel_shape=kernel, group=groups, **options)


@pytest.mark.parametrize("groups, kernel", [(1, "qconv"), (32, "qdwconv")])
@pytest.mark.parametrize("strides, pads", [(1, [3, 2]), (2, [0, 4])])
def test_a_column_of_pixels_is_a_row_of_them(groups, kernel, strides, pads):
    options = {"strides": [strides, 1], "pads": [pads[0], 0, pads[1], 0]}
    program = convolved(np.random.default_rng(5), (2, 32, 41, 1), 32, [7, 1], groups, **options)
    (step,) = [step for step in program.steps if step.kernel == kernel]
    assert step.args["x"].shape[1] == step.args["out"].shape[1] == step.args["kh"] == step.args["sh"] == 1
    assert step.args["kw"] == 7 and step.args["sw"] == strides


def test_a_column_that_is_padded_to_an_image_is_none():
    program = convolved(np.random.default_rng(6), (1, 32, 20, 1), 16, [3, 1], pads=[1, 1, 1, 2])
    (step,) = [step for step in program.steps if step.kernel == "qconv"]
    assert step.args["kh"] == 3 and step.args["out"].shape[1:3] == (20, 4)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "size, kernel, options, written",
    [
        ((7, 7), [3, 3], {"pads": [1] * 4}, True), ((9, 8), [5, 5], {"pads": [2, 1, 2, 3]}, True),
        ((1, 30), [1, 24], {"pads": [0, 12, 0, 11]}, True), ((10, 10), [3, 3], {"pads": [3] * 4, "dilations": [3, 3]}, True),
        ((8, 8), [4, 4], {"pads": [2, 2, 1, 1], "strides": [1, 2]}, True), ((100, 100), [3, 3], {"pads": [1] * 4}, False),
        ((9, 9), [3, 3], {}, False), ((12, 12), [2, 2], {"pads": [0, 0, 1, 1], "strides": [2, 2]}, False),
    ],
)  # fmt: skip
def test_padding_is_written_out_where_most_windows_meet_it(size, kernel, options, written, batch, groups):
    program = convolved(np.random.default_rng(7), (batch, 64, *size), 16, kernel, groups, **options)
    convs = [step for step in program.steps if step.kernel == "qconv"]
    assert convs and all((step.args["pt"], step.args["pl"]) == (0, 0) for step in convs) == (
        written or "pads" not in options or not any(options["pads"][:2])
    )
    assert ("fill" in kernels(program)) == written


def test_padding_stays_where_its_code_is_known_at_run_time_only():
    rng = np.random.default_rng(8)
    inputs = {"x": rng.standard_normal((1, 64, 7, 7), np.float32), "w": codes(rng, "int8", 16, 64, 3, 3)}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["codes", "scale", "zero"]),
        helper.make_node("ConvInteger", ["codes", "w", "zero"], ["y"], pads=[1] * 4),
    ]
    model = as_model(nodes, inputs, ["y"], ["w"], opset=17)
    (got,), program = ours(model, {"x": inputs["x"]})
    np.testing.assert_array_equal(got, ort_outputs(model, {"x": inputs["x"]})[0])
    assert "qconv" in kernels(program) and "fill" not in kernels(program)
