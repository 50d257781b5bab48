"""Branches over one image that are summed become one convolution, where they may, and change no result."""

import numpy as np
import pytest
from net import Net
from onnx import helper

from oracle import as_model, floats, ort_outputs, ours, same

CHANNELS = 6
BRANCHES = {
    "3x3": {"kernel": 3, "pads": [1, 1, 1, 1]},
    "5x5": {"kernel": 5, "pads": [2, 2, 2, 2]},
    "1x1": {},
    "1x1, no bias": {"bias": False},
    "depthwise 3x3": {"kernel": 3, "pads": [1, 1, 1, 1], "group": CHANNELS},
    "depthwise 1x1": {"group": CHANNELS},
    "3x3, far apart": {"kernel": 3, "pads": [2, 2, 2, 2], "dilations": [2, 2]},
}
MERGED = {
    ("3x3", "1x1"): "sconv", ("1x1", "3x3"): "sconv", ("3x3", "3x3"): "sconv", ("5x5", "3x3"): "sconv",
    ("3x3", "1x1, no bias"): "sconv", ("1x1", "1x1"): "sgemm", ("3x3", "scale"): "sconv", ("scale", "1x1"): "sgemm",
    ("depthwise 3x3", "depthwise 1x1"): "dwconv", ("depthwise 3x3", "scale"): "dwconv", ("1x1", "depthwise 1x1"): "sgemm",
    ("3x3", "1x1", "scale"): "sconv", ("3x3", "5x5", "1x1"): "sconv", ("depthwise 3x3", "depthwise 3x3", "scale"): "dwconv",
    ("3x3, far apart", "1x1"): "sconv",
}  # fmt: skip
APART = [("depthwise 3x3", "1x1"), ("5x5", "3x3, far apart")]


def branch(net, kind, x, **more):
    if kind == "scale":
        stats = [floats(net.rng, CHANNELS) for _ in range(3)]
        return net.add("BatchNormalization", x, *stats, np.abs(floats(net.rng, CHANNELS)) + np.float32(0.5))
    options = {**BRANCHES[kind], **more}
    return net.conv(x, CHANNELS, CHANNELS // options.get("group", 1), **options)


def summed(net, kinds, x, **more):
    total = branch(net, kinds[0], x, **more)
    for kind in kinds[1:]:
        total = net.add("Add", total, branch(net, kind, x, **more))
    return total


@pytest.mark.parametrize("kinds", MERGED, ids=" + ".join)
def test_sums_of_branches_are_one_convolution(kinds):
    net = Net(2, CHANNELS, 9, 8)
    net.add("Relu", summed(net, kinds, net.add("Relu", net.conv("x", CHANNELS, CHANNELS))))
    assert net.run() == ["sgemm", MERGED[kinds]]


def test_strides_and_what_is_added_besides():
    net = Net(1, CHANNELS, 9, 8)
    first = summed(net, ("3x3", "1x1"), "x", strides=[2, 2])
    shortcut = net.add("MaxPool", "x", kernel_shape=[1, 1], strides=[2, 2])
    net.add("Relu", net.add("Add", first, shortcut))
    assert net.run() == ["pool", "sconv"]


def test_sums_of_sums():
    net = Net(1, CHANNELS, 9, 8)
    x = net.conv("x", CHANNELS, CHANNELS)
    net.add("Add", summed(net, ("3x3", "1x1"), x), summed(net, ("3x3", "scale"), x))
    assert net.run() == ["sgemm", "sconv"]


def test_copies_of_the_input_are_one_image():
    net = Net(2, 3, 9, 8)
    one = net.conv("x", CHANNELS, 3, kernel=3, pads=[1, 1, 1, 1])
    net.add("Add", one, net.conv("x", CHANNELS, 3))
    assert net.run() == ["sconv"]


@pytest.mark.parametrize("kinds", APART, ids=" + ".join)
def test_what_would_be_more_work_stays_apart(kinds):
    net = Net(1, CHANNELS, 9, 8)
    summed(net, kinds, "x")
    assert len(net.run()) == 2


def test_branches_of_which_one_is_read_elsewhere_stay_apart():
    net = Net(1, CHANNELS, 9, 8)
    one = net.conv("x", CHANNELS, CHANNELS)
    both = net.add("Add", one, net.conv("x", CHANNELS, CHANNELS, kernel=3, pads=[1, 1, 1, 1]))
    net.add("Mul", both, one)
    assert net.run()[:2] == ["sgemm", "sconv"]


def test_other_images_and_activations_in_between_stay_apart():
    net = Net(1, CHANNELS, 9, 8)
    one = net.conv(net.add("Relu", "x"), CHANNELS, CHANNELS)
    net.add("Add", one, net.conv("x", CHANNELS, CHANNELS))
    assert net.run().count("sgemm") == 2
    net = Net(1, CHANNELS, 9, 8)
    one = net.add("Relu", net.conv("x", CHANNELS, CHANNELS))
    net.add("Add", one, net.conv("x", CHANNELS, CHANNELS))
    assert net.run() == ["sgemm", "sgemm"]


def test_windows_that_begin_elsewhere_stay_apart():
    net = Net(1, CHANNELS, 9, 8)
    one = net.conv("x", CHANNELS, CHANNELS, kernel=3, pads=[0, 0, 2, 2])
    net.add("Add", one, net.conv("x", CHANNELS, CHANNELS, kernel=3, pads=[2, 2, 0, 0]))
    assert net.run() == ["sconv", "sconv"]
    net = Net(1, CHANNELS, 9, 8)  # the pixel itself is the first cell of this window
    one = net.conv("x", CHANNELS, CHANNELS, kernel=3, pads=[0, 0, 2, 2])
    net.add("Add", one, net.conv("x", CHANNELS, CHANNELS))
    assert net.run() == ["sconv"]


def test_depthwise_branches_each_with_its_batch_norm_are_one_convolution():
    net = Net(1, CHANNELS, 9, 8)
    x = net.conv("x", CHANNELS, CHANNELS)
    made = [branch(net, "scale", branch(net, kind, x)) for kind in ("depthwise 3x3", "depthwise 1x1")]
    net.add("Relu", net.add("Add", net.add("Add", *made), branch(net, "scale", x)))
    assert net.run() == ["sgemm", "dwconv"]


@pytest.mark.parametrize("kernels", [(3, 3), (3, 1), (1, 3)])
def test_weights_that_are_inputs_stay_apart(kernels):
    rng = np.random.default_rng(0)
    feed = {"x": floats(rng, 1, 4, 5, 5)} | {n: floats(rng, 4, 1, k, k) for n, k in zip("wv", kernels)}
    nodes = [
        helper.make_node("Conv", ["x", n], [n + "y"], group=4, pads=[k // 2] * 4, strides=[2, 2])
        for n, k in zip("wv", kernels)
    ]
    nodes.append(helper.make_node("Add", ["wy", "vy"], ["y"]))
    model = as_model(nodes, feed, ["y"])
    same(ours(model, feed)[0], ort_outputs(model, feed), 1e-5, 1e-5)
