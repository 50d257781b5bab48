"""Quantized networks on integer kernels: every code is what the contract says."""

import numpy as np
import pytest

from qdq import check, quantize_static, small_network

INTEGER = {"qgemm", "qconv", "qdwconv", "qbinary", "qpool", "lut", "permute"}


def images(rng, count, shape=(2, 3, 20, 20)):
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("types", ["u8s8", "u8u8", "s8s8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_every_code_is_what_the_contract_says(form, types, per_channel, reduce_range):
    from onnxruntime.quantization import QuantFormat, QuantType

    kind = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    rng = np.random.default_rng(1)
    options = {
        "quant_format": QuantFormat[form], "activation_type": kind[types[:2]], "weight_type": kind[types[2:]],
        "per_channel": per_channel, "reduce_range": reduce_range,
    }  # fmt: skip
    model = quantize_static(small_network(rng), images(rng, 3), **options)
    program, _, compared = check(model, {"x": images(rng, 1)[0]})
    assert compared >= 13
    middle = [s.kernel for s in program.steps[1:-1]]
    assert set(middle) <= INTEGER, middle


def test_codes_do_not_depend_on_the_isa():
    rng = np.random.default_rng(2)
    model = quantize_static(small_network(rng), images(rng, 2))
    check(model, {"x": images(rng, 1)[0]}, isa="scalar")
