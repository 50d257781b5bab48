"""Quantized networks on integer kernels: every code is what the contract says."""

import numpy as np
import pytest

import pycompress as pc
from pycompress import zoo
from qdq import check, quantize_static, small_network

INTEGER = {"fill", "qgemm", "qconv", "qdwconv", "qbinary", "qpool", "lut", "permute"}


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


@pytest.mark.parametrize("name", zoo.names())
def test_mobile_networks_run_on_integers_from_the_image_to_the_logits(name):
    rng = np.random.default_rng(3)
    model = zoo.build(name, width=0.5, resolution=32)
    given = images(rng, 2, (1, 3, 32, 32))
    model = pc.quantize(model, [{"input": x} for x in given])
    program, _, compared = check(model, {"input": given[0]})
    kernels = [s.kernel for s in program.steps]
    assert compared > 20 and kernels[0] == "qpixels" and set(kernels[1:]) <= INTEGER


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnet_lite0"])
def test_networks_quantized_by_onnxruntime_need_no_float_between_the_ends(name):
    rng = np.random.default_rng(4)
    given = images(rng, 2, (1, 3, 32, 32))
    model = quantize_static(zoo.build(name, width=0.5, resolution=32), given, per_channel=True)
    program, _, _ = check(model, {"input": given[0]})
    assert {s.kernel for s in program.steps[1:-1]} <= INTEGER
