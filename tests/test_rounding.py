import numpy as np
import pytest

from pycompress import kernels
from pycompress.rounding import round_weights

qgemm = kernels.module("qgemm")
depths = pytest.mark.parametrize("T", [0, 1, 2, 4, 8])


def relative_error(w, q, scale):
    return np.sqrt(np.square(q * scale[:, None] - w).mean() / np.square(w).mean())


@depths
@pytest.mark.parametrize("k, segments", [(1, 1), (27, 9), (96, 1), (130, 1), (9 * 24, 9)])
def test_rounded_weights_meet_the_bounds(T, k, segments):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, k)) * rng.uniform(1e-3, 10, (40, 1))
    q, scale = round_weights(w, T, segments)
    assert q.dtype == np.int8 and scale.dtype == np.float32
    assert qgemm.fits(q, T, segments).all()
    assert relative_error(w, q, scale) < 0.03


@depths
def test_the_hardest_weights_meet_the_bounds(T):
    w = np.concatenate([np.ones((1, 64)), -np.ones((1, 64)), np.zeros((1, 64)), np.full((1, 64), 1e-20)])
    q, scale = round_weights(w, T)
    assert qgemm.fits(q, T).all() and np.isfinite(scale).all() and (scale > 0).all()
    np.testing.assert_allclose((q * scale[:, None])[:2], w[:2], rtol=0.03)


def test_a_wider_window_costs_precision_and_not_much():
    w = np.random.default_rng(0).standard_normal((64, 384))
    errors = [relative_error(w, *round_weights(w, T)) for T in (0, 1, 2, 4, 8)]
    assert errors == sorted(errors)
    assert errors[2] < 1.4 * errors[0]


def test_weights_that_matter_are_rounded_with_more_care():
    w = np.random.default_rng(0).standard_normal((64, 64))
    h = np.where(np.arange(64) % 4 == 0, 1000.0, 1.0)
    even, careful = (round_weights(w, 8, 1, x) for x in (None, h))

    def error(q, scale):
        return (np.square(q * scale[:, None] - w) @ h).sum()

    assert error(*careful) < error(*even)


def test_scales_have_their_lower_bound():
    _, scale = round_weights(np.eye(4), 2, min_scale=np.full(4, 0.5))
    assert (scale >= 0.5).all()


def correlated(rng, k):
    x = rng.standard_normal((400, k)) + 2 * rng.standard_normal((400, 1))
    return x.T @ x / 400


@depths
@pytest.mark.parametrize("k", [9, 70])
def test_errors_cancel_where_inputs_are_alike(T, k):
    rng = np.random.default_rng(0)
    w, c = rng.standard_normal((30, k)), correlated(rng, k)

    def error(q, scale):
        d = q * scale[:, None] - w
        return np.einsum("nk,kj,nj->n", d, c, d)

    plain, aware = round_weights(w, T, 1, c.diagonal()), round_weights(w, T, 1, c)
    assert qgemm.fits(aware[0], T).all()
    assert (error(*aware) <= error(*plain) * 1.01).mean() > 0.9
    assert error(*aware).sum() < 0.6 * error(*plain).sum()


def test_each_row_may_have_its_own_covariance():
    rng = np.random.default_rng(0)
    w, c = rng.standard_normal((4, 9)), np.stack([correlated(rng, 9) for _ in range(4)])
    together = round_weights(w, 0, 9, c)
    for i in range(4):
        q, scale = round_weights(w[i : i + 1], 0, 9, c[i])
        np.testing.assert_array_equal(q[0], together[0][i])


@pytest.mark.parametrize("T", [0, 1, 3, 7])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 5), (2, 3), (1, 7)])
def test_depthwise_weights_meet_the_bounds_of_their_kernel(T, kernel):
    rng, taps = np.random.default_rng(0), kernel[0] * kernel[1]
    w = rng.standard_normal((40, taps))
    each = np.stack([correlated(rng, taps) for _ in range(40)])
    q, scale = round_weights(w, T, taps, each, depthwise=kernel)
    assert kernels.module("qdwconv").fits(q, T, kernel).all()
    assert relative_error(w, q, scale) < 0.03


@depths
def test_zeros_that_were_put_there_stay(T):
    rng = np.random.default_rng(0)
    w, c = rng.standard_normal((30, 70)), correlated(rng, 70)
    w[rng.random(w.shape) < 0.5] = 0
    q, _ = round_weights(w, T, 1, c)
    assert not q[w == 0].any() and qgemm.fits(q, T).all()
    few = rng.standard_normal((30, 70))
    few[:, 0] = 0
    assert round_weights(few, T, 1, c)[0][:, 0].any()
