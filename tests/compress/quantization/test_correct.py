import json

import numpy as np
import pytest

from pycompress import CalibrationWarning, InferenceSession, quantize, zoo
from pycompress.compress.model import graph as g
from pycompress.compress.quantization.correct import METADATA, agreed


def network():
    return zoo.mobilenetv1(width=0.25, resolution=32, classes=10, batch=None)


def test_halves_that_agree_are_believed_and_noise_is_not():
    rng = np.random.default_rng(0)
    noise, mean = rng.standard_normal((32, 200)), rng.standard_normal(200)
    assert agreed(noise) < 0.35
    assert 0.9 < agreed(noise + 5 * mean) <= 1
    alike = np.concatenate([noise[:16] - mean, noise[16:] + mean])  # those that are alike follow each other
    assert agreed(alike) == 0
    assert agreed(np.zeros((32, 3))) == 0


def test_what_clipped_ranges_shift_is_put_back_on_other_samples_too():
    rng = np.random.default_rng(1)
    model = network()
    samples, other = (rng.standard_normal((n, 3, 32, 32)).astype("f4") for n in (40, 24))
    wanted = InferenceSession(model).run(None, {"input": other})[0]
    clipped = {"method": "percentile", "percentile": 98, "judge": False}
    made = {how: quantize(model, samples, bias_correction=how, **clipped) for how in (True, "sequential")}
    off = {how: InferenceSession(m).run(None, {"input": other})[0] - wanted for how, m in made.items()}
    told = json.loads(g.metadata(made["sequential"])[METADATA])
    assert told["taken"] and told["layers"] > 10
    assert np.square(off["sequential"]).sum() < 0.7 * np.square(off[True]).sum()


def test_few_samples_leave_the_model_as_it_was():
    model = network()
    samples = np.random.default_rng(0).standard_normal((12, 3, 32, 32)).astype("f4")
    a = quantize(model, samples, judge=False)
    with pytest.warns(CalibrationWarning, match="needs 24 samples .* stay as they are"):
        b = quantize(model, samples, bias_correction="sequential", judge=False)
    assert a.SerializeToString() == b.SerializeToString()


def test_what_it_may_be_is_told():
    with pytest.raises(ValueError, match="bias_correction must be"):
        quantize(network(), np.zeros((1, 3, 32, 32), "f4"), bias_correction="never")
