import numpy as np
import pytest

from pycompress import zoo
from pycompress.compress.calibration.augment import ENOUGH, Augmented, is_image
from pycompress.compress.calibration.engine import runner
from pycompress.compress.calibration.observe import up_to
from pycompress.compress.calibration.spool import Spool
from pycompress.compress.calibration.walk import Walk
from pycompress.compress.model.layers import read_layer, weighted_nodes, write
from pycompress.compress.model.prepare import prepare


def test_a_spool_gives_back_what_it_was_given():
    rng, spool = np.random.default_rng(0), Spool()
    given = [{"x": rng.standard_normal((2, i)), "n": np.array(i), "t": np.zeros((3, 0), "i1")} for i in range(4)]
    for sample in given:
        spool.append(sample)
    assert len(spool) == 4
    for _ in range(2):
        for a, b in zip(given, spool):
            assert a.keys() == b.keys()
            for name in a:
                assert a[name].dtype == b[name].dtype
                np.testing.assert_array_equal(a[name], b[name])


def test_a_walk_sees_what_the_models_compute_while_one_is_changed():
    model = prepare(zoo.mobilenetv2(width=0.35, resolution=32, classes=10))
    rng, samples = np.random.default_rng(0), Spool()
    for _ in range(2):
        samples.append({"input": rng.standard_normal((1, 3, 32, 32)).astype("f4")})
    walk = Walk(model, samples, samples[0])
    for i, node in enumerate(weighted_nodes(model)):
        layer, tensor = read_layer(model, node), node.input[0]
        if i % 5 == 0:
            for sample, pair in zip(samples, walk.inputs(node.name)):
                for one, got in zip((walk.whole, model), pair):
                    wanted = sample[tensor] if tensor in sample else runner(up_to(one, [tensor]))(None, sample)[0]
                    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
        write(model, layer, layer.w * 1.01, layer.bias)
    assert walk._trails[0]._at > len(model.graph.node) // 2  # it did not begin anew for each layer


def spooled(shape, count=3):
    rng, spool = np.random.default_rng(1), Spool()
    for _ in range(count):
        spool.append({"x": rng.uniform(-1, 2, shape).astype("f4")})
    return spool


def test_changed_images_come_after_the_given_ones_and_stay_within_their_values():
    given = spooled((1, 3, 12, 10))
    more = Augmented.of(given)
    first, second = list(more), list(more)
    assert len(first) == len(more) == ENOUGH
    for a, b in zip(given, first):
        np.testing.assert_array_equal(a["x"], b["x"])
    low, high = min(s["x"].min() for s in given), max(s["x"].max() for s in given)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a["x"], b["x"])
        assert a["x"].shape == (1, 3, 12, 10) and a["x"].dtype == np.float32
        assert low <= a["x"].min() and a["x"].max() <= high
    assert len({s["x"].tobytes() for s in first}) == ENOUGH


@pytest.mark.parametrize("shape", [(1, 12), (1, 5, 16, 16), (1, 3, 4, 16)])
def test_what_is_no_image_is_left_alone(shape):
    given = spooled(shape)
    assert not is_image(given[0]) and Augmented.of(given) is given
