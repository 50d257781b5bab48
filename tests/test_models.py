"""Whole networks: against onnxruntime, on every thread count and instruction set."""

from functools import cache

import numpy as np
import pytest

import pycompress as pc
from interpret import interpret
from pycompress import native, zoo
from pycompress.lower.values import root
from pycompress.optimize.dataflow import writes

NETWORKS = zoo.names()
SIDE = 64


@cache
def network(name):
    return zoo.build(name, width=0.5, resolution=SIDE)


@cache
def images(count=1, side=SIDE):
    return np.random.default_rng(1).standard_normal((count, 3, side, side), np.float32)


@cache
def quantized(name):
    return pc.quantize(network(name), [{"input": x[None]} for x in images(4)])


def by_onnxruntime(model, feed):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def session(model, threads=1):
    options = pc.SessionOptions(intra_op_num_threads=threads)
    return pc.InferenceSession(model, options)


@pytest.mark.parametrize("name", NETWORKS)
def test_float_agrees_with_onnxruntime(name):
    feed = {"input": images()}
    (want,) = by_onnxruntime(network(name), feed)
    (got,) = session(network(name)).run(None, feed)
    assert abs(got - want).max() <= 1e-3 * np.ptp(want)


@pytest.mark.parametrize("name", NETWORKS)
def test_products_run_on_kernels_with_everything_fused(name):
    rows = session(network(name)).explain()
    kernels = {row["kernel"] for row in rows}
    assert not {"unary"} & kernels or "v3" in name or "b0" in name
    assert sum(row["op"] == "BatchNormalization" for row in rows) == 0


@pytest.mark.parametrize("form", [network, quantized])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_number_of_threads_gives_the_same_bytes(name, form):
    feed = {"input": images()}
    plan = pc.compile(form(name))
    (one,) = session(plan).run(None, feed)
    for threads in (2, 3):
        (many,) = session(plan, threads).run(None, feed)
        assert one.tobytes() == many.tobytes()


@pytest.mark.parametrize("name", NETWORKS)
def test_integer_tensors_are_the_same_on_every_isa(name):
    """Each step that writes integers, on the same inputs: scalar and every other ISA, byte for byte."""
    _, program = interpret(quantized(name), {"input": images()}, isa="scalar")
    compared = 0
    for step in program.steps:
        kernel = getattr(native, step.kernel)
        (out,) = writes(step)[:1]
        if out.dtype.kind not in "ui" or len(kernel.impls()) == 1:
            continue
        want = root(out).copy()
        for isa in kernel.impls():
            fresh = out.copy()
            kernel(**(step.args | {"out": out}), isa=isa)
            assert (root(out) == want).all(), f"{step.node}: {step.kernel} on {isa}"
            assert (fresh == out).all()
        compared += 1
    assert compared > 10


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv2", "efficientnet_lite0"])
def test_int8_networks_run_on_integer_kernels_from_the_image_to_the_logits(name):
    rows = session(quantized(name)).explain()
    products = [row for row in rows if row["op"] in ("Conv", "Gemm", "MatMul") and row["kernel"] != "permute"]
    assert products and all(row["kernel"].startswith("q") for row in products)
    assert sum(row["kernel"] == "dequantize" for row in rows) <= 1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_plan_answers_as_the_model_does(name, tmp_path):
    feed = {"input": images()}
    for form in (network(name), quantized(name)):
        pc.compile(form).save(tmp_path / "net.plan.safetensors")
        (saved,) = session(tmp_path / "net.plan.safetensors").run(None, feed)
        (direct,) = session(form).run(None, feed)
        assert saved.tobytes() == direct.tobytes()
