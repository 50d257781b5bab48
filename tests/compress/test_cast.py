"""cast: half the file, the same network in any runtime, and products that read 16 bits."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from half_models import network
from pycompress.zoo import mobilenetv2


def image(size=6):
    return np.random.default_rng(1).standard_normal((1, 3, size, size)).astype(np.float32)


def run(model, x):
    return pc.InferenceSession(model).run(None, {"x": x})[0]


def told(model):
    return json.loads({p.key: p.value for p in model.metadata_props}["pycompress.cast"])


def weights(model):
    """What each Cast in the model makes of which type."""
    types = {t.name: t.data_type for t in model.graph.initializer}
    return {n.output[0]: types[n.input[0]] for n in model.graph.node if n.op_type == "Cast"}


def wide(rng=None):
    """The small network with layers wide enough to be cast."""
    return network(rng, channels=64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_stored_at_16_bits_and_cast_to_float(dtype):
    model = wide()
    cast = pc.cast(model, dtype)
    assert set(weights(cast).values()) == {{"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[dtype]}
    assert told(cast)["dtype"] == dtype and told(cast)["weights"] == sorted(weights(cast))
    assert [p.type.tensor_type.elem_type for p in (*cast.graph.input, *cast.graph.output)] == [TensorProto.FLOAT] * 2
    assert all(t.data_type == TensorProto.FLOAT for t in cast.graph.initializer if len(t.dims) < 2)  # biases
    x = image()
    expected, y = run(model, x), run(cast, x)
    np.testing.assert_allclose(y, expected, rtol=0, atol=(2e-3 if dtype == "float16" else 2e-2) * abs(expected).max())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_runtimes_open_it(dtype):
    cast, x = pc.cast(wide(), dtype), image()
    (ort_outputs,) = onnxruntime.InferenceSession(cast.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(run(cast, x), ort_outputs, rtol=1e-4, atol=1e-5 * abs(ort_outputs).max())


def test_products_read_the_16_bits():
    cast = pc.cast(wide())
    session = pc.InferenceSession(cast)
    kernels = {row["node"]: row["kernel"] for row in session.explain()}
    assert kernels["gemm"] == kernels["matmul"] == kernels["point"] == "hgemm"
    x, floats = image(), onnx.ModelProto.FromString(cast.SerializeToString())
    del floats.graph.node[: len(weights(cast))]  # the same numbers in float32
    for t in floats.graph.initializer:
        if t.data_type == TensorProto.FLOAT16:
            t.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name.removesuffix(".float16"))
            )
    assert session.run(None, {"x": x})[0].tobytes() == run(floats, x).tobytes()


def test_file_and_plan_of_a_network_halve():
    model = mobilenetv2()
    cast = pc.cast(model)
    assert len(cast.SerializeToString()) < 0.52 * len(model.SerializeToString())
    plan = pc.compile(cast)
    assert plan.nbytes < 0.55 * pc.compile(model).nbytes
    x = image(224)
    (expected,) = pc.InferenceSession(model).run(None, {"input": x})
    (y,) = pc.InferenceSession(plan).run(None, {"input": x})
    assert np.linalg.norm(y - expected) < 0.01 * np.linalg.norm(expected)


def test_weights_beyond_float16_stay_and_are_named():
    model = wide()
    for t in model.graph.initializer:
        if t.name == "w3":
            w = numpy_helper.to_array(t).copy()
            w[0, 0], w[1, :3] = 70000, 1e-9
            t.CopyFrom(numpy_helper.from_array(w, "w3"))
    cast = pc.cast(model)
    assert "w3" not in weights(cast) and told(cast)["left"] == {"w3": "a weight of 7e+04 is beyond float16"}
    assert "w3" in weights(pc.cast(model, "bfloat16"))
    for t in model.graph.initializer:
        if t.name == "w3":
            w[0, 0] = 65504
            t.CopyFrom(numpy_helper.from_array(w, "w3"))
    assert told(pc.cast(model))["flushed"] == 3


def test_what_is_excluded_or_read_by_others_stays():
    model = wide()
    cast = pc.cast(model, exclude=["gemm"])
    assert told(cast)["left"] == {"w3": "gemm is excluded"}
    model.graph.node.append(helper.make_node("Mul", ["w4", "w4"], ["z"], name="square"))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [6, 50]))
    assert told(pc.cast(model))["left"] == {"w4": "square (Mul) reads it"}


def test_scales_and_codes_of_a_quantized_model_stay():
    model = wide()
    quantized = pc.quantize(model, [image()], exclude=["gemm"])
    cast = pc.cast(quantized)
    assert list(weights(cast)) == ["w3"]  # the others are codes, also where a Transpose makes them
    np.testing.assert_allclose(run(cast, image()), run(quantized, image()), rtol=0.02, atol=0.02)


def test_sparse_weights_stay_sparse():
    pruned = pc.prune(wide(), 0.5)
    before, after = (
        {t.name.split(".float16")[0]: numpy_helper.to_array(t) for t in m.graph.initializer}
        for m in (pruned, pc.cast(pruned))
    )
    for name in weights(pc.cast(pruned)):
        assert not after[name][before[name] == 0].any()


def test_what_cannot_be_cast_is_refused():
    with pytest.raises(ValueError, match="dtype must be float16 or bfloat16"):
        pc.cast(wide(), "float8")
    with pytest.raises(ValueError, match="no node 'nobody'"):
        pc.cast(wide(), exclude=["nobody"])
    with pytest.raises(ValueError, match="exclude must be names"):
        pc.cast(wide(), exclude="gemm")
    with pytest.raises(pc.ModelError, match="nothing to cast: it has no float32 weights"):
        pc.cast(pc.cast(wide()))


def test_the_given_model_is_not_changed():
    model = wide()
    before = model.SerializeToString()
    pc.cast(model)
    assert model.SerializeToString() == before


def test_a_cast_model_is_quantized_like_any_other():
    model = wide()
    x = [image()]
    cast = pc.quantize(pc.cast(model), x)
    kinds = [n.op_type for n in cast.graph.node]
    assert kinds.count("DequantizeLinear") == [n.op_type for n in pc.quantize(model, x).graph.node].count(
        "DequantizeLinear"
    )
    assert "Cast" not in kinds


def test_weights_most_of_which_would_become_zero_stay():
    model = wide()
    for t in model.graph.initializer:
        if len(t.dims) > 1:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t) * np.float32(1e-8), t.name))
    with pytest.raises(pc.ModelError, match="most of its weights are too small for float16"):
        pc.cast(model)
