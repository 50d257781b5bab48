import numpy as np
import pytest

from pycompress.compress.calibration.histogram import BINS, Histogram


def filled(*parts):
    h = Histogram()
    for x in parts:
        x = np.asarray(x, np.float32)
        h.add(x, float(x.min()), float(x.max()))
    return h


def test_growing_ranges_count_as_if_the_width_had_been_known():
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal(1000).astype("f4") * s for s in (1e-3, 1, 0.1, 300)]
    h = filled(*parts)
    x = np.concatenate(parts)
    assert h.counts.sum() == 4000 and len(h.counts) <= BINS
    index = np.floor(x / np.float32(h.width)).astype(int) - h.first
    np.testing.assert_array_equal(h.counts, np.bincount(index, minlength=len(h.counts)))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_ranges_hold_at_any_magnitude(scale):
    x = np.random.default_rng(0).standard_normal(5000) * scale
    low, high = filled(x).mse()
    assert -6 * scale < low < -2 * scale and 2 * scale < high < 6 * scale


def test_one_sided_data_have_one_sided_ranges():
    x = np.random.default_rng(0).exponential(1, 10000)
    low, high = filled(x).mse()
    assert low == 0 and 3 < high < 1.001 * x.max()
    low, high = filled(-x).mse()
    assert high == 0 and -1.001 * x.max() < low < -3


def test_outliers_are_clipped_by_mse_and_percentile_but_not_by_minmax():
    x = np.append(np.random.default_rng(0).standard_normal(400000), 40)
    h = filled(x)
    assert h.minmax()[1] == 40
    assert 5 < h.mse()[1] < 38
    assert h.percentile(99.9)[1] < 5


def test_mse_is_not_worse_than_other_ranges():
    x = np.random.default_rng(0).laplace(size=20000).astype("f4")

    def error(low, high):
        step = (high - low) / 255
        zero = np.round(-low / step)
        return np.square((np.clip(np.round(x / step) + zero, 0, 255) - zero) * step - x).mean()

    h = filled(x)
    best = error(*h.mse())
    assert best <= 1.1 * min(error(h.low * s, h.high * s) for s in np.linspace(0.2, 1, 50))


def test_constants_and_zeros_have_a_range():
    assert filled(np.zeros(10)).mse() == (0, 0)
    low, high = filled(np.full(10, 5.0)).mse()
    assert low == 0 and 4.5 < high <= 5


def test_subnormal_values_are_counted():
    h = Histogram()
    x = np.array([1e-45, 1e-40, 0, -1e-42], np.float32)
    h.add(x, x.min(), x.max())
    assert h.counts.sum() == len(x)


def test_entropy_keeps_a_distribution_that_fits_and_clips_a_long_tail():
    rng = np.random.default_rng(0)
    low, high = filled(rng.uniform(0, 1, 50000)).entropy()
    assert low == 0 and high > 0.9
    x = np.append(np.abs(rng.standard_normal(200000)), 60)
    assert 3 < filled(x).entropy()[1] < 30
    low, high = filled(np.append(rng.standard_normal(50000), 20)).entropy(symmetric=True)
    assert low == -high and high < 20
    assert filled(np.zeros(4)).entropy() == (0, 0)
