"""Checkpoints of compressed-tensors: what changes nothing is read, what is not supported is refused in words."""

import json
import struct

import numpy as np
import pytest

from pycompress.formats import compressed_tensors as ct
from pycompress.layers import QuantizedLinear
from pycompress.weights import Q4

N, K, GROUP = 16, 128, 32
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 16, (N, K)).astype(np.uint8)
SCALE = RNG.uniform(0.01, 0.1, (N, K // GROUP)).astype(np.float32)
ORDER = np.arange(K, dtype=np.int32) // GROUP


def parts(**more):
    return {"weight_packed": ct.pack(CODES), "weight_scale": SCALE, "weight_shape": np.array([N, K])} | more


def read(metadata=None, **more) -> Q4:
    return ct.compressed_tensors(parts(**more), metadata or {}, "the file")[0]


def refused(*words, metadata=None, **more):
    with pytest.raises(ValueError) as caught:
        read(metadata, **more)
    for word in ("the file", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("index", [ORDER, ORDER.astype(np.int64), np.full(K, -1, np.int32)])
def test_a_group_index_that_keeps_the_order_changes_nothing(index):
    np.testing.assert_array_equal(read(weight_g_idx=index).dense(), read().dense())


@pytest.mark.parametrize("index", [ORDER[::-1], np.zeros(K, np.int32), np.where(ORDER == 3, -1, ORDER)])
def test_a_group_index_out_of_order_is_refused(index):
    refused("weight_g_idx", "activation ordering", weight_g_idx=index)


@pytest.mark.parametrize("index", [ORDER[:-1], ORDER.astype(np.float32), ORDER[None]])
def test_a_group_index_of_another_form_is_refused(index):
    refused("weight_g_idx must be 128 integers", weight_g_idx=index)


def test_a_group_index_of_int8_weights_is_refused():
    tensors = {"weight": np.ones((N, K), np.int8), "weight_scale": SCALE[:, :1], "weight_g_idx": ORDER}
    with pytest.raises(ValueError, match="weight_g_idx is for 4-bit weights"):
        ct.compressed_tensors(tensors, {}, "the file")


def test_int8_zero_points_are_those_of_codes_from_minus_8():
    zero = RNG.integers(-8, 8, SCALE.shape).astype(np.int8)
    packed = np.ascontiguousarray(ct.pack((zero + 8).astype(np.uint8).T).T)
    np.testing.assert_array_equal(read(weight_zero_point=zero).zero, zero + 8)
    np.testing.assert_array_equal(read(weight_zero_point=zero).dense(), read(weight_zero_point=packed).dense())


def test_int8_zero_points_beyond_four_bits_are_refused():
    refused("from -8 to 7", weight_zero_point=np.full(SCALE.shape, 8, np.int8))


@pytest.mark.parametrize(
    "shape",
    [np.array([16.0, 128.0]), np.array([-1, 128]), np.array([16]), np.array([True, True]), np.array([[1, 2, 3]])],
)
def test_a_weight_shape_that_is_not_two_sizes_is_refused(shape):
    refused("weight_shape must be two sizes", weight_shape=shape)


def test_more_columns_than_kernels_take_are_refused_before_anything_is_made():
    refused("at most 65536 columns", weight_shape=np.array([0, 2**60]), weight_packed=np.zeros((0, 2**57), np.int32))


@pytest.mark.parametrize(
    "config",
    ["[" * 100000, "{", "[]", '{"config_groups": 5}', '{"config_groups": {"a": {"weights": {"group_size": 1e999}}}}'],
)
def test_metadata_of_another_form_says_nothing(config):
    np.testing.assert_array_equal(read({"quantization_config": config}).dense(), read().dense())


def test_a_tensor_of_float8_is_refused_by_name_and_type(tmp_path):
    header = {"l.weight": {"dtype": "F8_E4M3", "shape": [2, 4], "data_offsets": [0, 8]}}
    header |= {"l.weight_scale": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}
    text = json.dumps(header).encode()
    (tmp_path / "l.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(12))
    with pytest.raises(ValueError, match="l.safetensors: l.weight is stored as F8_E4M3, which is not supported"):
        QuantizedLinear.load(tmp_path / "l.safetensors", "l")
