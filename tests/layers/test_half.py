"""HalfLinear: what it computes, what it reads and writes, and what it refuses."""

import threading

import numpy as np
import pytest
from ml_dtypes import bfloat16

from pycompress.layers import HalfLinear
from pycompress.weights import Half

kinds = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])


def made(dtype="float16", n=50, k=70, bias=True):
    rng = np.random.default_rng(n * 71 + k)
    W = rng.standard_normal((n, k)).astype(np.float32)
    return HalfLinear.from_dense(W, rng.standard_normal(n).astype(np.float32) if bias else None, dtype)


def inputs(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


@kinds
@pytest.mark.parametrize("n, k", [(50, 70), (1, 1), (16, 32), (33, 96), (17, 300)])
@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_it_is_the_product_with_the_rounded_weights(dtype, n, k, m):
    layer, x = made(dtype, n, k), inputs(m, k)
    want = x.astype(np.float64) @ layer.dense().T + layer.bias
    reach = np.abs(x).astype(np.float64) @ np.abs(layer.dense().T) + np.abs(layer.bias)
    assert (np.abs(layer(x) - want) <= (k + 2) * 2.0**-24 * reach).all()


@kinds
def test_weights_are_rounded_to_the_nearest(dtype):
    W = inputs(30, 20)
    assert HalfLinear.from_dense(W, dtype=dtype).dense().tobytes() == W.astype(dtype).astype(np.float32).tobytes()


@kinds
def test_any_leading_dimensions_and_threads_give_the_same(dtype):
    layer, x = made(dtype, 200, 130), inputs(2, 3, 130)
    y = layer(x)
    assert y.shape == (2, 3, 200) and layer(x[0, 0]).shape == (200,) and layer(x[:0]).shape == (0, 3, 200)
    assert layer(x, num_threads=2).tobytes() == layer(x, num_threads=1).tobytes() == y.tobytes()
    assert layer(x[:, ::2]).tobytes() == layer(np.ascontiguousarray(x[:, ::2])).tobytes()
    out = np.empty((2, 3, 200), np.float32)
    assert layer(x, out) is out and out.tobytes() == y.tobytes()


@kinds
def test_a_saved_layer_is_the_same(dtype, tmp_path):
    for bias in (True, False):
        layer = made(dtype, bias=bias)
        layer.save(tmp_path / "l.safetensors", "model.up")
        again = HalfLinear.load(tmp_path / "l.safetensors", "model.up")
        assert again.dtype == dtype and again(inputs(3, 70)).tobytes() == layer(inputs(3, 70)).tobytes()
        assert (again.bias is None) == (not bias)


def test_files_of_torch_are_read(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    for dtype in (torch.float16, torch.bfloat16):
        linear = torch.nn.Linear(70, 50).to(dtype)
        save_file({f"up.{k}": v.detach().clone() for k, v in linear.state_dict().items()}, tmp_path / "t.safetensors")
        layer = HalfLinear.load(tmp_path / "t.safetensors", "up")
        np.testing.assert_array_equal(layer.dense(), linear.weight.detach().float().numpy())
        np.testing.assert_array_equal(layer.bias, linear.bias.detach().float().numpy())


def test_files_that_hold_something_else_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file(
        {"a.weight": inputs(5, 6), "b.weight": inputs(5, 6).astype(np.float16), "b.scale": inputs(5)}, tmp_path / "f"
    )
    with pytest.raises(KeyError, match="no module 'c'"):
        HalfLinear.load(tmp_path / "f", "c")
    with pytest.raises(ValueError, match="matrix of float16 or bfloat16, got float32"):
        HalfLinear.load(tmp_path / "f", "a")
    with pytest.raises(ValueError, match="must be weight and bias, has scale, weight"):
        HalfLinear.load(tmp_path / "f", "b")


def test_it_takes_half_the_bytes():
    layer = made(n=64, k=100)
    assert layer.nbytes == 64 * 100 * 2 + 64 * 4 and layer.shape == (64, 100)
    assert repr(layer) == "HalfLinear(64 x 100, float16)"


def test_what_was_given_may_change_afterwards():
    W, bias, x = inputs(20, 30), inputs(20), inputs(4, 30)
    layer = HalfLinear.from_dense(W, bias)
    half = Half(W.astype(bfloat16))
    other = HalfLinear(half)
    before, other_before = layer(x), other(x)
    W[:], bias[:], half.w[:] = 0, 0, 0
    layer.bias[:] = 7
    assert layer(x).tobytes() == before.tobytes() and other(x).tobytes() == other_before.tobytes()


def test_calls_from_several_threads():
    layer, x = made(n=300, k=200), inputs(5, 200)
    want, wrong = layer(x).tobytes(), []

    def work():
        wrong.extend(i for i in range(50) if layer(x).tobytes() != want)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: HalfLinear.from_dense(inputs(3)), "must be a matrix"),
        (lambda: HalfLinear.from_dense(np.full((2, 2), np.nan)), "must be finite"),
        (lambda: HalfLinear.from_dense(np.full((2, 2), 70000.0)), "up to 7e\\+04 are beyond the range of float16"),
        (lambda: HalfLinear.from_dense(inputs(3, 3), dtype="float32"), "dtype must be float16 or bfloat16"),
        (lambda: HalfLinear.from_dense(inputs(3, 3), inputs(4)), "bias must have shape"),
        (lambda: HalfLinear(Half(inputs(3, 3))), "matrix of float16 or bfloat16"),
        (lambda: made()(inputs(3, 69)), "must have 70 columns"),
        (lambda: made()(inputs(3, 70).astype(np.float64)), "must be a float32 array"),
        (lambda: made()(inputs(3, 70), np.empty((3, 51), np.float32)), "out must be"),
        (lambda: made()(inputs(3, 70), num_threads=0), "num_threads"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_most_weights_below_the_range_are_refused():
    with pytest.raises(ValueError, match="beyond the range of float16"):
        HalfLinear.from_dense(np.full((3, 4), 1e-9, np.float32))


@pytest.mark.parametrize("n, k", [(0, 5), (5, 0)])
def test_no_rows_or_columns(n, k):
    assert HalfLinear.from_dense(np.zeros((n, k), np.float32)).dense().shape == (n, k)
