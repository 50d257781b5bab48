"""EfficientNet-Lite0 with its ImageNet weights, on photos."""

from functools import cache

import numpy as np
import pytest

import pycompress as pc
from pycompress import zoo
from pycompress.zoo import photos

pytest.importorskip("onnxruntime")
IMAGES = {"mean": 127.0, "std": 128.0}


@cache
def network():
    return zoo.efficientnet_lite0(pretrained=True)


@cache
def crops(count):
    return np.stack(list(photos.crops(photos.EVALUATION, count, seed=3)))


def onnxruntime_session(model):
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_float_logits_equal_onnxruntime_s_on_32_crops():
    ort_outputs, ours = onnxruntime_session(network()), pc.InferenceSession(network())
    for crop in crops(32):
        feed = {"input": photos.preprocess(crop)}
        (want,) = ort_outputs.run(None, feed)
        (got,) = ours.run(None, feed)
        assert abs(got - want).max() <= 1e-3 * np.ptp(want)


def test_preprocess_in_the_plan_answers_as_preprocess_outside():
    plan = pc.compile(network(), preprocess=IMAGES, labels=zoo.labels())
    session = pc.InferenceSession(plan)
    (port,) = session.get_inputs()
    assert port.shape == [1, 224, 224, 3] and port.type == "tensor(uint8)"
    crop = crops(32)[5][None]
    (inside,) = session.run(None, {"input": crop})
    (outside,) = pc.InferenceSession(network()).run(None, {"input": photos.preprocess(crop)})
    np.testing.assert_allclose(inside, outside, atol=1e-4 * np.ptp(outside))


@pytest.mark.parametrize("name, label", [("chelsea", "Egyptian cat"), ("coffee", "espresso"), ("camera", "tripod")])
def test_it_names_what_a_photo_shows(name, label):
    plan = pc.compile(network(), preprocess=IMAGES, labels=zoo.labels())
    (logits,) = pc.InferenceSession(plan).run(None, {"input": photos.center(photos.photo(name), margin=1.0)[None]})
    assert plan.labels[int(logits.argmax())] == label
