"""LowRankLinear: what it computes, keeps and refuses."""

import copy
import threading

import numpy as np
import pytest

from pycompress.layers import LowRankLinear

N, K, R = 40, 33, 7


def weights(seed=0):
    rng = np.random.default_rng(seed)
    values = 0.8 ** np.arange(min(N, K))
    left, right = np.linalg.qr(rng.standard_normal((N, N)))[0], np.linalg.qr(rng.standard_normal((K, K)))[0]
    return ((left[:, :K] * values) @ right).astype(np.float32), values


def inputs(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


@pytest.mark.parametrize("bias", (False, True))
@pytest.mark.parametrize("shape", [(K,), (1, K), (47, K), (48, K), (3, 5, 20, K), (0, K), (200, K)])
def test_it_is_the_product_of_its_weights(shape, bias):
    W, _ = weights()
    layer = LowRankLinear.from_dense(W, np.arange(N) if bias else None, rank=R)
    x, out = inputs(*shape), np.full((*shape[:-1], N), np.nan, np.float32)
    assert layer(x, out) is out
    np.testing.assert_allclose(out, x @ layer.dense().T + np.arange(N) * bias, atol=1e-4)
    for threads in (1, 2, 3):
        assert layer(x, num_threads=threads).tobytes() == out.tobytes()
    np.testing.assert_array_equal(layer(np.asfortranarray(x)), out)


@pytest.mark.parametrize("rank", (1, R, K))
def test_the_rank_s_best_approximation(rank):
    W, values = weights()
    layer = LowRankLinear.from_dense(W, rank=rank)
    error = np.linalg.norm(layer.dense() - W)
    np.testing.assert_allclose(error, np.linalg.norm(values[rank:]), atol=1e-5)
    assert layer.rank == rank and layer.shape == (N, K)
    U, V = layer.factors()
    np.testing.assert_allclose(np.linalg.norm(U, axis=1), np.linalg.norm(V, axis=0), rtol=1e-4)


@pytest.mark.parametrize("energy", (1e-9, 0.5, 0.9, 0.99, 1.0))
def test_the_minimum_rank_of_an_energy(energy):
    W, values = weights()
    kept = np.cumsum(np.linalg.svd(W.astype(np.float64), compute_uv=False) ** 2)
    rank = LowRankLinear.from_dense(W, energy=energy).rank
    assert kept[rank - 1] >= energy * kept[-1] and (rank == 1 or kept[rank - 2] < energy * kept[-1])
    assert LowRankLinear.from_dense(np.zeros((4, 3)), energy=energy).rank == 1


def test_bytes_are_those_of_the_factors():
    layer = LowRankLinear(np.ones((16, 64)), np.ones((32, 16)), np.ones(32))
    assert layer.nbytes == 4 * (16 * 64 + 32 * 16 + 32)
    assert repr(layer) == "LowRankLinear(32 x 64, rank 16)"


@pytest.mark.parametrize("name", ("", "model.fc"))
@pytest.mark.parametrize("bias", (None, np.arange(N)))
def test_a_file_gives_the_same_layer(tmp_path, name, bias):
    pytest.importorskip("safetensors")
    layer = LowRankLinear.from_dense(weights()[0], bias, rank=R)
    layer.save(tmp_path / "a.safetensors", name)
    again, x = LowRankLinear.load(tmp_path / "a.safetensors", name), inputs(50, K)
    assert again(x).tobytes() == layer(x).tobytes() and (again.bias is None) == (bias is None)
    with pytest.raises(KeyError, match="no module 'other'"):
        LowRankLinear.load(tmp_path / "a.safetensors", "other")


def test_other_files_are_refused(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"weight": np.zeros((3, 3), np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="needs weight_u and weight_v, has weight"):
        LowRankLinear.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("given,message", [
    (dict(), "either rank or energy"), (dict(rank=2, energy=0.5), "either rank or energy"),
    (dict(rank=0), "from 1 to 33"), (dict(rank=34), "from 1 to 33"), (dict(rank=True), "from 1 to 33"),
    (dict(rank=2.0), "from 1 to 33"), (dict(energy=0), "energy must be"), (dict(energy=1.1), "energy must be"),
    (dict(energy=float("nan")), "energy must be"), (dict(rank=2, bias=np.zeros(3)), "bias must have shape"),
])  # fmt: skip
def test_ranks_and_energies_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        LowRankLinear.from_dense(weights()[0], **given)


def test_weights_that_are_none_are_refused():
    for W in (np.zeros(3), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="W must be"):
            LowRankLinear.from_dense(W, rank=1)
    with pytest.raises(ValueError, match="do not multiply"):
        LowRankLinear(np.zeros((3, 4)), np.zeros((5, 2)))


def test_inputs_that_do_not_fit_are_refused():
    layer = LowRankLinear.from_dense(weights()[0], rank=R)
    with pytest.raises(TypeError, match="float32"):
        layer(np.zeros((2, K)))
    with pytest.raises(ValueError, match="columns"):
        layer(inputs(2, K + 1))
    with pytest.raises(ValueError, match="out must be"):
        layer(inputs(2, K), np.zeros((3, N), np.float32))


def test_what_it_was_made_of_is_not_kept():
    U, V, bias = np.ones((2, 3)), np.ones((4, 2)), np.ones(4, np.float32)
    layer, x = LowRankLinear(U, V, bias), inputs(5, 3)
    want = layer(x)
    for y in (U, V, bias, layer.bias, *layer.factors()):
        y[:] = 7
    np.testing.assert_array_equal(layer(x), want)


def test_threads_may_share_it():
    layer, x = LowRankLinear.from_dense(weights()[0], rank=R), inputs(300, K)
    want, got = layer(x).tobytes(), []
    threads = [threading.Thread(target=lambda: got.append(layer(x, num_threads=2).tobytes())) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [want] * 6


def test_a_copy_of_a_layer_is_the_same():
    layer = LowRankLinear.from_dense(np.random.default_rng(0).standard_normal((20, 30)), rank=4)
    x = np.random.default_rng(1).standard_normal((50, 30), np.float32)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x), layer(x))
