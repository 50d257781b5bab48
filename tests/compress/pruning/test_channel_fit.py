"""What is left is fitted anew when channels go."""

import numpy as np
import pytest

from channelled import RNG, SIZE, agree, conv, image, network, node, ort_outputs, ours
from pycompress import zoo
from pycompress.compress.pruning.channels import prune_channels


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_copies_go_without_loss_once_what_reads_them_is_refitted(scope, kernel):
    w0, b0 = RNG(0).standard_normal((8, 3, 1, 1)).astype(np.float32), np.linspace(-1, 1, 8, dtype=np.float32)
    nodes = [conv("input", "x", "w0", "b0"), node("Relu", "x", "y"), conv("y", "z", "w1", pads=[kernel // 2] * 4)]
    nodes += [node("GlobalAveragePool", "z", "output")]
    model = network(nodes, w0=np.concatenate([w0, w0 * 2]), b0=np.concatenate([b0, b0 * 2]), w1=(5, 16, kernel, kernel))
    samples = [image(1, 3, 16, 16, seed=i)["input"] for i in range(16)]
    feed = image(1, 3, 16, 16, seed=99)
    wanted = ort_outputs(model, feed)[0]
    fitted, plain = (
        ort_outputs(prune_channels(model, 0.5, scope=scope, exclude=(), calibration=c), feed)[0]
        for c in (samples, None)
    )
    assert np.abs(fitted - wanted).max() < 0.01 * np.abs(wanted).max() < np.abs(plain - wanted).max()


def test_channels_that_never_change_go_into_the_bias():
    w0, b0 = RNG(0).standard_normal((16, 3, 1, 1)).astype(np.float32), np.full(16, 3, np.float32)
    w0[::2] = 0
    nodes = [conv("input", "x", "w0", "b0"), node("Sigmoid", "x", "y"), conv("y", "output", "w1")]
    model = network(nodes, w0=w0, b0=b0, w1=(5, 16, 1, 1))
    samples = [image(1, 3, 16, 16, seed=i)["input"] for i in range(64)]
    pruned = prune_channels(model, 0.5, exclude=(), calibration=samples)
    agree(ort_outputs(model, image(1, 3, 16, 16)), ort_outputs(pruned, image(1, 3, 16, 16)))


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv3_small", "efficientnet_b0"])
def test_calibrated_networks_answer_better_than_those_pruned_by_weights_alone(name):
    model = zoo.build(name, width=0.35, resolution=SIZE, classes=20)
    samples = [image(seed=i)["input"] for i in range(8)]
    feed = image(seed=99)
    wanted = ort_outputs(model, feed)[0]
    error = {}
    for scope in ("global", "layer"):
        for given in (samples, None):
            pruned = prune_channels(model, 0.2, scope=scope, calibration=given)
            got = ort_outputs(pruned, feed)[0]
            agree([got], ours(pruned, feed))
            error[scope, given is None] = np.square(got - wanted).mean()
    assert error["layer", False] < error["layer", True] and error["global", False] < error["global", True]
