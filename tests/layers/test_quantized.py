"""QuantizedLinear: what it computes, what it reads and writes, and what it refuses."""

import copy
import threading

import numpy as np
import pytest

from pycompress.formats import compressed_tensors as ct
from pycompress.layers import QuantizedLinear
from pycompress.rounding import round_groups
from pycompress.weights import Q4, Q8

RANGE = (-4.0, 4.5)
KINDS = {
    "8 bits": dict(bits=8),
    "8 bits, static": dict(bits=8, activations="static", input_range=RANGE),
    "4 bits": dict(bits=4),
    "4 bits, static": dict(bits=4, activations="static", input_range=RANGE),
    "4 bits, groups of 64, asymmetric": dict(bits=4, group_size=64, symmetric=False),
    "4 bits per channel": dict(bits=4, group_size=0),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def made(kind, n=50, k=70, bias=True):
    rng = np.random.default_rng(n * 71 + k)
    W = rng.standard_normal((n, k)).astype(np.float32)
    return QuantizedLinear.from_dense(W, rng.standard_normal(n).astype(np.float32) if bias else None, **KINDS[kind])


def inputs(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape, np.float32)


def rounded(x, kind):
    """The input as the layer sees it, and half a step of its codes."""
    if "static" in kind:
        low, high = np.full((len(x), 1), RANGE[0]), np.full((len(x), 1), RANGE[1])
    else:
        low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    scale = np.float32((high - low) / 255)
    zero = np.rint(-np.float32(low) / scale)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero).astype(np.float64) * scale


@kinds
@pytest.mark.parametrize("n, k", [(50, 70), (1, 1), (16, 32), (33, 96), (17, 300)])
@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_it_is_the_product_of_the_rounded_weights_and_the_rounded_input(kind, n, k, m):
    layer, x = made(kind, n, k), inputs(m, k)
    want = rounded(x, kind) @ layer.dense().T.astype(np.float64) + layer.bias
    reach = np.abs(rounded(x, kind)) @ np.abs(layer.dense().T) + np.abs(layer.bias)
    np.testing.assert_array_less(np.abs(layer(x) - want), reach * 1e-5 + 1e-6)


@kinds
def test_weights_are_near_the_given_ones(kind):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((64, 256)).astype(np.float32)
    error = QuantizedLinear.from_dense(W, **KINDS[kind]).dense() - W
    assert 10 * np.log10(np.square(W).mean() / np.square(error).mean()) > (38 if "8 bits" in kind else 19)


@kinds
def test_leading_dimensions_out_and_threads(kind):
    layer, x = made(kind, 40, 1000), inputs(3, 5, 1000)
    y = layer(x)
    assert y.shape == (3, 5, 40)
    out = np.empty_like(y)
    assert layer(x, out, num_threads=2) is out
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(layer(x[1, 2]), y[1, 2])
    assert layer(x[:0]).shape == (0, 5, 40)
    results = [None] * 4
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, layer(x))) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert all(np.array_equal(r, y) for r in results)


@kinds
def test_every_isa_gives_the_same_bytes(kind, monkeypatch):
    layer, x = made(kind, 40, 200), inputs(9, 200)
    y = layer(x)
    for module in ("layers.quantized", "sparse"):
        monkeypatch.setattr(f"pycompress.{module}.call_mask", lambda: 0)
    np.testing.assert_array_equal(layer(x), y)


@kinds
@pytest.mark.parametrize("name", ["", "model.layers.0.fc"])
def test_saved_and_loaded_it_is_the_same(kind, name, tmp_path):
    layer, x = made(kind, 24, 96), inputs(3, 96)
    layer.save(tmp_path / "l.safetensors", name)
    again = QuantizedLinear.load(tmp_path / "l.safetensors", name)
    assert repr(again) == repr(layer)
    np.testing.assert_array_equal(again.dense(), layer.dense())
    np.testing.assert_allclose(
        again(x), layer(x), rtol=0 if "static" not in kind else 1e-5, atol=1e-5 * ("static" in kind)
    )


def test_a_short_last_group_comes_back(tmp_path):
    layer = made("4 bits", 5, 40)
    layer.save(tmp_path / "l.safetensors")
    np.testing.assert_array_equal(QuantizedLinear.load(tmp_path / "l.safetensors").dense(), layer.dense())


def test_four_bits_take_half_of_eight():
    assert made("4 bits", 256, 1024).nbytes < 0.6 * made("8 bits", 256, 1024).nbytes


def test_codes_are_packed_as_compressed_tensors_does():
    codes = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9]], np.uint8)
    packed = ct.pack(codes)
    assert packed.tolist() == [[int("87654321", 16) - (1 << 32), 9]]
    np.testing.assert_array_equal(ct.unpack(packed, 9), codes)


def parts(**change):
    weights = round_groups(inputs(16, 64), 32, symmetric=False)
    tensors, metadata = ct.as_compressed_tensors(weights, None, None)
    return {name: x for name, x in (tensors | change).items() if x is not None}, metadata


@pytest.mark.parametrize(
    "change, what",
    [
        (dict(weight_shape=None), "weight_shape"),
        (dict(weight_shape=np.array([16, 63, 1])), "weight_shape"),
        (dict(weight_shape=np.array([16, 128])), "weight_packed"),
        (dict(weight_packed=np.zeros((16, 8), np.int64)), "weight_packed"),
        (dict(weight_scale=None), "weight_scale"),
        (dict(weight_scale=np.ones((15, 2), np.float32)), "weight_scale"),
        (dict(weight_scale=np.ones((16, 5), np.float32)), "groups"),
        (dict(weight_zero_point=np.zeros((16, 2), np.int32)), "weight_zero_point"),
        (dict(weight_g_idx=np.zeros(64, np.int32)), "weight_g_idx"),
        (dict(weight=np.zeros((16, 64), np.int8)), "either weight or weight_packed"),
        (dict(input_scale=np.ones(2, np.float32)), "input_scale"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(change, what):
    with pytest.raises(ValueError, match=f"the file: .*{what}"):
        ct.compressed_tensors(*parts(**change), "the file")


def test_a_missing_module_is_named(tmp_path):
    made("8 bits").save(tmp_path / "l.safetensors", "fc")
    with pytest.raises(KeyError, match=r"no module 'other'; it has 'fc'"):
        QuantizedLinear.load(tmp_path / "l.safetensors", "other")


def test_gguf(tmp_path):
    gguf = pytest.importorskip("gguf")
    W = inputs(6, 64)
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "test")
    writer.add_tensor(
        "fc", gguf.quants.quantize(W, gguf.GGMLQuantizationType.Q4_0), raw_dtype=gguf.GGMLQuantizationType.Q4_0
    )
    writer.add_tensor("other", W)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    want = gguf.quants.dequantize(
        gguf.quants.quantize(W, gguf.GGMLQuantizationType.Q4_0), gguf.GGMLQuantizationType.Q4_0
    )
    layer = QuantizedLinear.from_gguf(tmp_path / "m.gguf", "fc")
    np.testing.assert_array_equal(layer.dense(), want)
    with pytest.raises(ValueError, match="other must be a Q4_0 matrix, is F32"):
        QuantizedLinear.from_gguf(tmp_path / "m.gguf", "other")
    with pytest.raises(KeyError, match="no tensor 'fd'; it has 'fc', 'other'"):
        QuantizedLinear.from_gguf(tmp_path / "m.gguf", "fd")


@pytest.mark.parametrize(
    "given, what",
    [
        (dict(bits=3), "bits"),
        (dict(bits=8, group_size=32), "one scale per row"),
        (dict(bits=4, group_size=48), "group_size"),
        (dict(activations="static"), "input_range"),
        (dict(input_range=(0, 1)), "input_range"),
        (dict(activations="static", input_range=(1, 0)), "input_range"),
        (dict(activations="static", input_range=(0, np.inf)), "input_range"),
        (dict(activations="static", input_range=(1, 2, 3)), "input_range"),
        (dict(activations="static", input_range=5), "input_range"),
        (dict(activations="static", input_range=(-1e300, 1e300)), "input_range"),
        (dict(bits=4, group_size=32.0), "group_size"),
        (dict(activations="none"), "activations"),
        (dict(bias=np.zeros(3)), "bias"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(given, what):
    with pytest.raises(ValueError, match=f"QuantizedLinear: .*{what}"):
        QuantizedLinear.from_dense(np.ones((4, 8)), **given)


@pytest.mark.parametrize("W", [np.ones(3), np.full((2, 2), np.nan), np.ones((2, 2, 2))])
def test_weights_that_are_no_finite_matrix_are_refused(W):
    with pytest.raises(ValueError, match="QuantizedLinear: W must be"):
        QuantizedLinear.from_dense(W)


def test_calls_that_do_not_fit_are_refused():
    layer = made("8 bits")
    with pytest.raises(TypeError, match="float32"):
        layer(np.zeros((2, 70)))
    with pytest.raises(ValueError, match="70 columns"):
        layer(inputs(2, 71))
    with pytest.raises(ValueError, match="out"):
        layer(inputs(2, 70), np.zeros((2, 51), np.float32))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_scales_beyond_float16_are_float32(scale):
    W = inputs(4, 64) * np.float32(scale)
    error = round_groups(W, 32).dense() - W
    assert np.square(error).sum() < 0.02 * np.square(W).sum()


def test_weights_given_as_stored():
    w = Q8(np.array([[1, -2], [3, 4]], np.int8), np.array([0.5, 2], np.float32), np.array([1, 0], np.int32))
    np.testing.assert_array_equal(QuantizedLinear(w).dense(), [[0, -1.5], [6, 8]])
    np.testing.assert_allclose(QuantizedLinear(w)(np.array([[255, 0]], np.float32)), [[0, 255 * 6]])
    four = Q4(np.array([[0, 15]], np.uint8), np.array([[2]], np.float32), np.array([[7]], np.uint8), 2)
    np.testing.assert_array_equal(QuantizedLinear(four).dense(), [[-14, 16]])


@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("n, k", [(0, 5), (5, 0), (17, 1)])
def test_no_rows_or_columns(bits, n, k, tmp_path):
    layer = QuantizedLinear.from_dense(np.ones((n, k)), bits=bits)
    layer.save(tmp_path / "l.safetensors")
    np.testing.assert_allclose(QuantizedLinear.load(tmp_path / "l.safetensors").dense(), np.ones((n, k)), rtol=0.01)


@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("size", (1e-20, 1e20))
def test_weights_of_any_size_keep_their_precision(bits, size):
    W = inputs(4, 64) * np.float32(size)
    error = (QuantizedLinear.from_dense(W, bits=bits).dense() - W) / np.float32(size)
    assert np.square(error).sum() < 0.02 * np.square(W / np.float32(size)).sum()


def test_a_copy_of_a_layer_is_the_same():
    layer, x = made("8 bits"), inputs(3, 70)
    y = layer(x)
    np.testing.assert_array_equal(copy.deepcopy(layer)(x), y)


def test_an_ambiguous_group_size_is_refused():
    weights = round_groups(inputs(4, 192), 128)
    tensors, _ = ct.as_compressed_tensors(weights, None, None)
    with pytest.raises(ValueError, match=r"2 groups of 192 columns could be of \[96, 128, 160\]"):
        ct.compressed_tensors({k: x for k, x in tensors.items() if x is not None}, {}, "the file")


@pytest.mark.parametrize("zero", [np.full((4, 1), 200), np.full((4, 1), 0.5), np.zeros((3, 1), np.int8)])
def test_zero_points_that_do_not_fit_are_refused(zero):
    tensors = {
        "weight": np.ones((4, 8), np.int8),
        "weight_scale": np.ones((4, 1), np.float32),
        "weight_zero_point": zero,
    }
    with pytest.raises(ValueError, match="weight_zero_point must"):
        ct.compressed_tensors(tensors, {}, "the file")


def test_a_file_that_is_cut_off_is_named(tmp_path):
    made("8 bits").save(tmp_path / "l.safetensors")
    data = (tmp_path / "l.safetensors").read_bytes()
    (tmp_path / "l.safetensors").write_bytes(data[:-5])
    with pytest.raises(ValueError, match="l.safetensors: no safetensors file"):
        QuantizedLinear.load(tmp_path / "l.safetensors")


@pytest.mark.parametrize("symmetric", (True, False))
@pytest.mark.parametrize("covariance", (None, np.eye(128, dtype=np.float32) + np.float32(0.5)))
def test_each_row_keeps_its_precision_beside_rows_of_any_other_size(symmetric, covariance):
    W = inputs(73, 128) * np.float32(10.0) ** np.arange(-36, 37, dtype=np.float32)[:, None]
    q = round_groups(W, 32, symmetric, covariance)
    error = np.linalg.norm(q.dense() - W.astype(np.float64), axis=1) / np.linalg.norm(W.astype(np.float64), axis=1)
    assert error.max() < 0.15


@pytest.mark.parametrize("size", (1e-9, 1e-5, 1e-4, 1, 1e4, 3e5))
def test_a_group_far_below_the_others_keeps_its_precision(size):
    W = inputs(4, 64)
    W[:, 32:] *= np.float32(size)
    error = (round_groups(W, 32).dense() - W)[:, 32:] / np.float32(size)
    assert np.square(error).sum() < 0.02 * np.square(W[:, 32:] / np.float32(size)).sum()


def test_ordinary_weights_keep_float16_scales():
    for W in (inputs(8, 64), inputs(8, 64) * np.float32(1e-3), inputs(8, 64) * (np.arange(64) < 32)):
        scale = round_groups(W, 32).scale
        np.testing.assert_array_equal(scale.astype(np.float16).astype(np.float32), scale)


@pytest.mark.parametrize("kind", (np.float16, np.float32))
@pytest.mark.parametrize("symmetric", (True, False))
@pytest.mark.parametrize("k", (64, 1024, 4096, 100))
def test_a_row_of_zeros_gives_the_bias_to_the_bit(kind, symmetric, k):
    rng = np.random.default_rng(k)
    scale = rng.uniform(0.01, 0.05, (19, -(-k // 32))).astype(kind).astype(np.float32)
    zero = np.full(scale.shape, 8, np.uint8) if symmetric else rng.integers(0, 16, scale.shape).astype(np.uint8)
    bias = rng.standard_normal(19).astype(np.float32)
    layer = QuantizedLinear(Q4(rng.integers(0, 16, (19, k)).astype(np.uint8), scale, zero, 32), bias)
    x = np.stack([np.zeros(k, np.float32), inputs(1, k)[0]])
    np.testing.assert_array_equal(layer(x)[0], bias)
