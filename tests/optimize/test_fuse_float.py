"""Each rule of float fusion happens, and changes no result."""

import numpy as np
import pytest
from net import Net

from oracle import as_model, floats, one_node, ours

PRODUCTS = {
    "sgemm": {},
    "sconv": {"kernel": 3, "pads": [1, 1, 1, 1]},
    "dwconv": {"kernel": 3, "pads": [1, 1, 1, 1], "group": 6},
}


def product(net, kernel, x="x", **more):
    return net.conv(x, 6, 1 if kernel == "dwconv" else 6, **PRODUCTS[kernel], **more)


@pytest.mark.parametrize("kernel", PRODUCTS)
@pytest.mark.parametrize("act", ["Relu", "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh"])
def test_an_activation_joins_its_product(kernel, act):
    net = Net(2, 6, 5, 4)
    net.add(act, product(net, kernel))
    assert net.run(14) == [kernel]


def test_a_clip_joins_its_product_and_a_second_activation_does_not():
    net = Net(2, 6, 5, 4)
    net.add("Clip", net.conv("x", 7, 6), np.float32(0), np.float32(0.5))
    assert net.run() == ["sgemm"]
    net.add("Tanh", net.last)
    assert net.run() == ["sgemm", "unary"]


@pytest.mark.parametrize("kernel", PRODUCTS)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_sum_and_its_activation_join_the_product(kernel, swapped):
    net = Net(2, 6, 5, 4)
    start = net.conv("x", 6, 6)
    y = product(net, kernel, start)
    net.add("Add", *((start, y) if swapped else (y, start)))
    net.add("Relu", net.last)
    assert net.run() == ["sgemm", kernel]


def test_a_sum_does_not_join_where_the_product_is_read_again():
    net = Net(2, 6, 5, 4)
    start = net.conv("x", 6, 6)
    y = net.conv(start, 6, 6)
    net.add("Concat", net.add("Add", y, start), y, axis=1)
    assert "binary" in net.run()


@pytest.mark.parametrize("kernel", PRODUCTS)
@pytest.mark.parametrize("bias", [False, True])
def test_batch_normalization_folds_into_the_product(kernel, bias):
    net = Net(2, 6, 5, 4)
    y = product(net, kernel, bias=bias)
    r = net.rng
    net.add("BatchNormalization", y, floats(r, 6), floats(r, 6), floats(r, 6), abs(floats(r, 6)))
    net.add("Relu", net.last)
    assert net.run() == [kernel]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1), (4,), (1, 6, 5, 4), (2, 1, 1, 1)])
def test_constants_fold_into_the_product_where_they_are_one_per_channel(op, shape):
    net = Net(2, 6, 5, 4)
    net.add(op, net.conv("x", 6, 6), abs(floats(net.rng, *shape)) + np.float32(0.5))
    folds = shape in [(), (1,), (6, 1, 1), (1, 6, 1, 1)]
    assert net.run() == (["sgemm"] if folds else ["sgemm", "binary"])


def test_all_of_it_works_across_the_groups_of_a_convolution():
    net = Net(2, 6, 5, 4)
    start = net.conv("x", 8, 6)
    y = net.conv(start, 8, 4, 3, group=2, pads=[1, 1, 1, 1])
    y = net.add("Mul", y, floats(net.rng, 8, 1, 1))
    y = net.add("Relu", net.add("Add", y, start))
    assert net.run() == ["sgemm", "sconv"]


@pytest.mark.parametrize("op,attributes", [("Relu", {}), ("LeakyRelu", {"alpha": 0.3})])
@pytest.mark.parametrize("outputs,stride,kernel", [(5, 2, 2), (1, 3, 3), (4, 2, 3)])
def test_what_follows_a_transposed_convolution_joins_its_products(op, attributes, outputs, stride, kernel):
    net = Net(2, 3, 5, 4)
    extra = [1, 1] if kernel > stride else [0, 0]
    pads = [1] * 4 if kernel > stride else [0] * 4
    w = floats(net.rng, 3, outputs, kernel, kernel)
    net.add("ConvTranspose", "x", w, strides=[stride] * 2, output_padding=extra, pads=pads)
    net.add("Mul", net.last, floats(net.rng, outputs, 1, 1))
    net.add("Add", net.last, floats(net.rng, 1, outputs, 1, 1))
    net.add(op, net.last, **attributes)
    kernels = net.run()
    products = 1 if kernel == stride else 4
    assert len([k for k in kernels if k in ("sgemm", "sconv")]) == products and not {"unary", "binary", "dwconv"} & {
        *kernels
    }


def test_a_constant_that_differs_along_lines_does_not_join_through_a_transposed_convolution():
    net = Net(1, 3, 5, 4)
    net.add("ConvTranspose", "x", floats(net.rng, 3, 2, 2, 2), strides=[2, 2])
    net.add("Mul", net.last, floats(net.rng, 8))
    assert "binary" in net.run()


def test_batches_of_a_matrix_product_are_no_groups():
    net = Net(2, 3, 4, seed=1)
    y = net.add("MatMul", "x", net.add("Transpose", "x", perm=[0, 2, 1]))
    net.add("Relu", net.add("Add", y, np.float32(0.5)))
    assert net.run() == ["spack", "sgemm", "spack", "sgemm", "binary"]


@pytest.mark.parametrize("form", range(8))
@pytest.mark.parametrize("after", ["sgemm", "dwconv", None])
def test_decomposed_activations_become_one(form, after):
    net = Net(2, 6, 5, 4)
    x = product(net, after) if after else "x"
    six, three, zero = np.float32(6), np.float32(3), np.float32(0)
    if form < 2:
        gate = net.add("Sigmoid", x) if form == 0 else net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        net.add("Mul", x, gate)
    else:
        gate = net.add("Clip", net.add("Add", *((x, three) if form % 2 else (three, x))), zero, six)
        if form in (2, 3):
            net.add("Mul", x, net.add("Div", gate, six))
        elif form in (4, 5):
            net.add("Div", net.add("Mul", x, gate), six)
        elif form == 6:
            net.add("Mul", net.add("Mul", gate, x), np.float32(1 / 6))
        else:
            net.add("Mul", net.add("Mul", gate, np.float32(1 / 6)), x)
    assert net.run() == ([after] if after and form in (0, 1) or after else ["unary"])


@pytest.mark.parametrize("order", ["last", "first", "gate"])
@pytest.mark.parametrize("divided", [True, False])
def test_a_decomposed_gelu_is_one_function(order, divided):
    net = Net(2, 6, 5, 4)
    x = net.conv("x", 6, 6, 3)
    if divided:
        net.add("Div", x, np.float32(np.sqrt(2)))
    else:
        net.add("Mul", x, np.float32(np.sqrt(0.5)))
    net.add("Erf", net.last)
    gate = net.add("Add", net.last, np.float32(1))
    if order == "last":
        net.add("Mul", net.add("Mul", x, gate), np.float32(0.5))
    elif order == "first":
        net.add("Mul", net.add("Mul", x, np.float32(0.5)), gate)
    else:
        net.add("Mul", net.add("Mul", np.float32(0.5), gate), x)
    assert net.run() == ["sconv", "unary"]


@pytest.mark.parametrize("half,one,root", [(0.25, 1, 2), (0.5, 2, 2), (0.5, 1, 3)])
def test_what_only_looks_like_gelu_stays(half, one, root):
    net = Net(2, 6, 5, 4)
    x = net.conv("x", 6, 6, 3)
    net.add("Erf", net.add("Div", x, np.float32(np.sqrt(root))))
    net.add("Mul", net.add("Mul", x, net.add("Add", net.last, np.float32(one))), np.float32(half))
    assert len(net.run()) > 2


def test_what_only_looks_like_an_activation_stays():
    net = Net(2, 6, 5, 4)
    x = net.conv("x", 6, 6)
    gate = net.add("Clip", net.add("Add", x, np.float32(3)), np.float32(0), np.float32(5))  # not 6
    net.add("Div", net.add("Mul", x, gate), np.float32(6))
    assert len(net.run()) > 1
    net = Net(2, 6, 5, 4)
    x, y = net.conv("x", 6, 6), net.conv("x", 6, 6)
    net.add("Mul", x, net.add("Sigmoid", y))
    assert net.run() == ["sgemm", "sgemm", "binary"]


@pytest.mark.parametrize("act", [None, "Relu"])
def test_scale_and_shift_without_a_product_is_one_pass(act):
    net = Net(2, 6, 5, 4)
    y = net.add("MaxPool", net.conv("x", 6, 6), kernel_shape=[2, 2])
    r = net.rng
    net.add("BatchNormalization", y, floats(r, 6), floats(r, 6), floats(r, 6), abs(floats(r, 6)))
    if act:
        net.add(act, net.last)
    assert net.run() == ["sgemm", "pool", "dwconv"]


@pytest.mark.parametrize("kernel", ["sconv", "dwconv"])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 2, 3, 1), (0, 1, 0, 0)])
def test_zeros_around_an_image_become_pads_of_the_convolution(kernel, pads):
    net = Net(2, 6, 5, 4)
    top, left, bottom, right = pads
    y = net.add("Pad", net.conv("x", 6, 6), np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    net.conv(
        y, 6, 1 if kernel == "dwconv" else 6, 3, group=6 if kernel == "dwconv" else 1, pads=[1, 0, 0, 1], strides=[2, 1]
    )
    assert net.run() == ["sgemm", kernel]


@pytest.mark.parametrize(
    "value,pads", [(1, (0, 0, 1, 1, 0, 0, 1, 1)), (0, (0, 1, 1, 1, 0, 1, 1, 1)), (0, (1, 0, 1, 1, 0, 0, 1, 1))]
)
def test_other_pads_stay(value, pads):
    net = Net(2, 6, 5, 4)
    y = net.add("Pad", net.conv("x", 6, 6), np.array(pads, np.int64), np.float32(value))
    net.conv(y, 6, 6 + pads[1] + pads[5], 3)
    assert sorted(net.run()) == ["fill", "sconv", "sgemm"]


def test_joined_results_are_written_in_place():
    net = Net(1, 6, 8, 8)
    start = net.conv("x", 16, 6)
    one = net.add("Relu", net.conv(start, 8, 16))
    two = net.add("Relu", net.conv(start, 24, 16, 3, pads=[1, 1, 1, 1]))
    three = net.add("MaxPool", start, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    net.conv(net.add("Concat", one, two, three, axis=1), 5, 48)
    model = as_model(net.nodes, net.inputs, [net.last], tuple(net.constants), 13)
    _, program = ours(model, {"x": net.inputs["x"]})
    copies = [s for s in program.steps if s.kernel == "permute"]
    assert net.run() == ["sgemm", "sgemm", "sconv", "pool", "sgemm"]
    assert [s.op for s in copies] == ["Conv", ""]  # the input and the output change their order, nothing else


def test_squeeze_and_excite_is_three_small_steps_and_a_product():
    net = Net(1, 6, 8, 8)
    x = net.conv("x", 32, 6)
    gate = net.add("Relu", net.conv(net.add("GlobalAveragePool", x), 8, 32))
    gate = net.add("Sigmoid", net.conv(gate, 32, 8))
    net.add("Mul", x, gate)
    assert net.run() == ["sgemm", "reduce", "sgemm", "sgemm", "binary"]


def test_fusion_shares_constants_with_nobody():
    w = floats(np.random.default_rng(0), 6, 6, 1, 1)
    net = Net(2, 6, 5, 4)
    shared = net.const(w)
    y = net.add("Mul", net.add("Conv", "x", shared), np.float32(2))
    net.add("Add", net.add("Conv", y, shared), y)
    net.run()
    np.testing.assert_array_equal(net.inputs[shared], w)


def test_a_step_of_two_results_stays_in_front_of_what_reads_one_of_them():
    x = np.arange(84, dtype=np.int8).reshape(3, 7, 4)
    model = one_node("TopK", {"x": x, "k": np.array([2])}, ("k",), outputs=2, axis=0)
    (values, index), program = ours(model, {"x": x})  # int8 values are converted for the output, positions are not
    assert [step.kernel for step in program.steps] == ["lut", "topk", "lut", "permute"]
    np.testing.assert_array_equal(values, x[:0:-1])
    np.testing.assert_array_equal(index[:, 0, 0], [2, 1])


AFTER_WHERE = {
    "a residual sum": lambda net, w: net.add("Add", net.add("MatMul", "x", floats(net.rng, 6, 6)), w),
    "a residual sum of scaled values": lambda net, w: net.add(
        "Add", net.add("Add", net.add("Mul", "x", 0.3), floats(net.rng, 6)), w
    ),
    "scale and shift": lambda net, w: net.add("Add", net.add("Mul", w, floats(net.rng, 6)), floats(net.rng, 6)),
    "swish": lambda net, w: net.add("Mul", w, net.add("Sigmoid", w)),
    "hardswish": lambda net, w: net.add("Div", net.add("Mul", w, net.add("Clip", net.add("Add", w, 3), 0, 6)), 6),
    "gelu": lambda net, w: net.add(
        "Mul", net.add("Mul", w, net.add("Add", net.add("Erf", net.add("Div", w, 2**0.5)), 1)), 0.5
    ),
}


@pytest.mark.parametrize("name", AFTER_WHERE)
def test_what_where_chose_is_read_as_floats(name):
    """The kernel ``where`` moves bits, so its result lies in a buffer of unsigned integers."""
    net = Net(5, 6)
    AFTER_WHERE[name](net, net.add("Where", net.add("Greater", "x", 0), "x", -0.7))
    assert len(net.run()) <= 4
