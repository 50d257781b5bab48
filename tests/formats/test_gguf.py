"""GGUF files that are damaged raise ValueError, whatever the reader of the package gguf makes of them."""

import numpy as np
import pytest

from pycompress.layers import QuantizedLinear

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    writer = gguf.GGUFWriter(path, "test")
    W = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q4_0
    writer.add_tensor("fc", gguf.quants.quantize(W, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def load(path, data):
    path.write_bytes(data)
    return QuantizedLinear.from_gguf(path, "fc")


def test_a_file_cut_anywhere_raises_value_error(tmp_path, whole):
    for end in range(0, len(whole) - 32, 11):  # at the end lies padding
        with pytest.raises((ValueError, KeyError)):  # KeyError: the tensor is not among those that are left
            load(tmp_path / "cut.gguf", whole[:end])


@pytest.mark.parametrize("seed", range(100))
def test_damaged_files_raise_value_error_or_load(tmp_path, whole, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(whole)
    for _ in range(1 + seed % 3):
        data[rng.integers(min(len(data), 300))] = rng.integers(256)
    try:
        load(tmp_path / "damaged.gguf", bytes(data))
    except (ValueError, KeyError):
        pass


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        QuantizedLinear.from_gguf(tmp_path / "none.gguf", "fc")
