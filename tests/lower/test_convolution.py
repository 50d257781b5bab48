"""Conv and ConvTranspose against onnxruntime."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from oracle import as_model, check, floats, one_node, ort_outputs, ours, same
from pycompress.errors import ModelError

few = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def windows(draw, rank):
    """Attributes of a window over `rank` dimensions: (kernel, attributes)."""
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel = draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
    attributes = {"strides": draw(each), "dilations": draw(each)}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto == "NOTSET":
        attributes["pads"] = draw(st.lists(st.integers(0, 4), min_size=2 * rank, max_size=2 * rank))
    else:
        attributes["auto_pad"] = auto
        if auto != "VALID":
            attributes["dilations"] = [1] * rank  # onnxruntime rejects others
    return kernel, attributes


def fits(image, kernel, attributes):
    """Whether at least one window fits into the padded image."""
    if attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return True
    pads = attributes.get("pads", [0] * 2 * len(kernel))
    both = [a + b for a, b in zip(pads, pads[len(kernel) :])]
    return all(s + p >= d * (k - 1) + 1 for s, p, d, k in zip(image, both, attributes["dilations"], kernel))


@few
@given(
    st.integers(1, 2), st.data(), st.sampled_from([(1, 3, 5), (1, 1, 1), (2, 2, 3), (5, 1, 1), (4, 1, 3)]),
    st.integers(1, 2), st.booleans(), st.booleans(),
)  # fmt: skip
def test_conv(rank, data, channels, batch, bias, constant):
    groups, ins, outs = channels
    kernel, attributes = data.draw(windows(rank))
    image = data.draw(st.lists(st.integers(1, 12), min_size=rank, max_size=rank))
    assume(fits(image, kernel, attributes))
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, batch, groups * ins, *image), "w": floats(rng, groups * outs, ins, *kernel)}
    inputs["b"] = floats(rng, groups * outs) if bias else None
    check("Conv", inputs, ("w", "b") if constant else (), group=groups, atol=1e-4, **attributes)


def test_one_by_one_is_a_matrix_product_and_depthwise_has_its_kernel():
    rng = np.random.default_rng(0)
    x = floats(rng, 2, 6, 5, 4)
    program = check("Conv", {"x": x, "w": floats(rng, 9, 6, 1, 1)}, ("w",))
    assert [s.kernel for s in program.steps if s.kernel != "permute"] == ["sgemm"]
    program = check("Conv", {"x": x, "w": floats(rng, 6, 1, 3, 3)}, ("w",), group=6)
    assert [s.kernel for s in program.steps if s.kernel != "permute"] == ["dwconv"]
    program = check("Conv", {"x": x, "w": floats(rng, 18, 1, 3, 3)}, ("w",), group=6)  # a depth multiplier of 3
    assert [s.kernel for s in program.steps if s.kernel != "permute"] == ["dwconv"]


@pytest.mark.parametrize("groups,size,steps", [(8, 2, 1), (6, 3, 2), (16, 4, 4), (5, 4, 5), (4, 5, 4)])
def test_groups_of_few_outputs_are_computed_together(groups, size, steps):
    rng = np.random.default_rng(0)
    inputs = {
        "x": floats(rng, 2, 2 * groups, 5, 4),
        "w": floats(rng, groups * size, 2, 3, 3),
        "b": floats(rng, groups * size),
    }
    program = check("Conv", inputs, ("w", "b"), group=groups, pads=[1, 1, 1, 1], atol=1e-4)
    assert sum(s.kernel == "sconv" for s in program.steps) == steps
    check("Conv", inputs, (), group=groups, pads=[1, 1, 1, 1], atol=1e-4)


@pytest.mark.parametrize("shape,kernel,attributes", [
    ((1, 1, 900), (17, 1, 64), {"strides": [10]}),
    ((2, 1, 40), (1, 1, 7), {"pads": [3, 3], "dilations": [2]}),
    ((2, 1, 9, 8), (20, 1, 3, 3), {"pads": [1, 1, 1, 1]}),
])  # fmt: skip
def test_one_input_channel_is_not_copied_for_each_output(shape, kernel, attributes):
    rng = np.random.default_rng(0)
    program = check("Conv", {"x": floats(rng, *shape), "w": floats(rng, *kernel)}, ("w",), atol=1e-4, **attributes)
    steps = [s for s in program.steps if s.kernel != "permute"]
    assert [s.kernel for s in steps] == ["sconv"] and steps[0].args["x"].size == np.prod(shape)


def test_a_transposed_convolution_multiplies_no_zeros_between_pixels():
    rng = np.random.default_rng(0)
    x = floats(rng, 1, 6, 5, 4)
    cases = {  # kernel, stride: products
        (2, 2): 1, (3, 3): 1, (4, 2): 4, (3, 2): 4, (1, 2): 1,
    }  # fmt: skip
    for (kernel, stride), products in cases.items():
        w, attributes = floats(rng, 6, 3, kernel, kernel), {"strides": [stride] * 2}
        if kernel > stride:
            attributes |= {"pads": [1] * 4, "output_padding": [kernel % 2] * 2}
        program = check("ConvTranspose", {"x": x, "w": w}, ("w",), opset=19, **attributes)
        steps = [s for s in program.steps if s.kernel in ("sgemm", "sconv", "dwconv")]
        taps = sum(s.args["w"].shape[1] * s.args["out"].shape[-1] for s in steps) // (6 * 3)
        assert (len(steps), taps) == (products, kernel * kernel)


def test_a_depthwise_convolution_of_one_cell_folds_into_the_product_before_it():
    rng = np.random.default_rng(0)
    inputs = {
        "x": floats(rng, 1, 3, 9, 8),
        "w": floats(rng, 6, 3, 3, 3),
        "v": floats(rng, 6, 1, 1, 1),
        "b": floats(rng, 6),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["t", "v", "b"], ["u"], group=6),
        helper.make_node("Relu", ["u"], ["y"]),
    ]
    model = as_model(nodes, inputs, ["y"], ("w", "v", "b"))
    got, program = ours(model, {"x": inputs["x"]})
    same(got, ort_outputs(model, {"x": inputs["x"]}), 1e-4, 1e-4)
    assert [s.kernel for s in program.steps if s.kernel != "permute"] == ["sconv"]


@few
@given(
    st.integers(1, 2), st.data(), st.sampled_from([(1, 3, 5), (1, 1, 1), (2, 2, 3), (4, 1, 1)]), st.booleans(), st.booleans()
)  # fmt: skip
def test_conv_transpose(rank, data, channels, bias, constant):
    groups, ins, outs = channels
    several = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides, dilations = data.draw(several), data.draw(several), data.draw(several)
    image = data.draw(st.lists(st.integers(1, 6), min_size=rank, max_size=rank))
    extra = [data.draw(st.integers(0, s - 1)) for s in strides]
    full = [s * (i - 1) + e + (k - 1) * d + 1 for s, i, e, k, d in zip(strides, image, extra, kernel, dilations)]
    attributes = {"strides": strides, "dilations": dilations, "output_padding": extra}
    how = data.draw(st.sampled_from(["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if how == "pads":
        attributes["pads"] = data.draw(st.lists(st.integers(0, 4), min_size=2 * rank, max_size=2 * rank))
        assume(all(f > a + b for f, a, b in zip(full, attributes["pads"], attributes["pads"][rank:])))
    elif how == "output_shape":
        attributes["output_shape"] = [data.draw(st.integers(1, f)) for f in full]
    else:
        attributes["auto_pad"] = how
        assume(how == "VALID" or all(f >= i * s for f, i, s in zip(full, image, strides)))
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 2, groups * ins, *image), "w": floats(rng, groups * ins, outs, *kernel)}
    inputs["b"] = floats(rng, groups * outs) if bias else None
    check("ConvTranspose", inputs, ("w", "b") if constant else (), group=groups, atol=1e-4, opset=19, **attributes)


@pytest.mark.parametrize(
    "op,shapes,attributes,words",
    [
        ("Conv", [(1, 4, 5, 5), (2, 3, 3, 3)], {}, "'group' = 1"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"strides": [0, 1]}, "'strides'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"strides": [1]}, "'strides'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"pads": [0, 0, -1, 0]}, "'pads'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"auto_pad": "SOME"}, "'auto_pad'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"kernel_shape": [2, 3]}, "'kernel_shape'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3)], {"colour": 3}, "'colour'"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 6, 3)], {}, "does not fit"),
        ("Conv", [(1, 4, 5, 5), (2, 4, 3, 3), (3,)], {}, "bias"),
        ("Conv", [(1, 4, 5, 5, 5, 5), (2, 4, 3, 3, 3, 3)], {}, "1 to 3 spatial"),
        ("ConvTranspose", [(1, 4, 5, 5), (3, 2, 3, 3)], {}, "'group'"),
        ("ConvTranspose", [(1, 4, 5, 5), (4, 2, 3, 3)], {"output_shape": [3]}, "'output_shape'"),
        ("ConvTranspose", [(1, 4, 1, 1), (4, 2, 3, 3)], {"pads": [2, 2, 2, 2]}, "extents"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(op, shapes, attributes, words):
    inputs = {n: np.zeros(s, np.float32) for n, s in zip("xwb", shapes)}
    with pytest.raises(ModelError, match=rf"node 'the_node' \({op}\).*{words}"):
        ours(one_node(op, inputs, ("w", "b"), **attributes), {"x": inputs["x"]})


COLUMNS = [
    ((1, 40), (3, 1), dict(pads=[1, 0, 1, 0])),
    ((3, 40), (5, 1), dict(pads=[4, 0, 0, 0], strides=[3, 1], dilations=[2, 1])),
    ((2, 17), (17, 1), dict(strides=[1, 2])),
    ((16, 9), (2, 1), dict(pads=[0, 0, 3, 0])),
]


def column(image, kernel, attributes):
    """The one sconv of a convolution over [2, *image]."""
    rng = np.random.default_rng(0)
    inputs = {"x": floats(rng, 2, *image), "w": floats(rng, 20, image[0], *kernel) / 8, "b": floats(rng, 20)}
    program = check("Conv", inputs, ("w", "b"), rtol=1e-4, atol=1e-4, **attributes)
    (conv,) = [step for step in program.steps if step.kernel == "sconv"]
    return conv


@pytest.mark.parametrize("image, kernel, attributes", COLUMNS, ids=str)
def test_a_column_is_turned(image, kernel, attributes):
    conv = column((*image, 1), kernel, attributes)
    assert conv.args["kh"] == 1 and conv.args["kw"] == kernel[0] and conv.args["x"].shape[1] == 1


def test_what_is_wider_than_a_pixel_is_not_turned():
    for image, kernel, pads in [((3, 9, 2), (3, 1), 0), ((3, 9, 1), (3, 3), 1), ((3, 9, 1), (3, 1), 1)]:
        assert column(image, kernel, dict(pads=[1, pads, 1, pads])).args["kh"] == 3
