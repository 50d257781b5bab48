"""ONNX's backend interface: its own runner accepts the module, and each function does what its base says."""

import unittest
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend import base

import pycompress.onnx_backend as backend
from pycompress.errors import ModelError


def relu_of(op="Relu", shape=(2, 3)):
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("given", [backend, backend.Backend])
def test_onnx_s_own_runner_takes_the_module_and_the_class(given, tmp_path, monkeypatch):
    from onnx.backend.test import BackendTest

    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = BackendTest(given, __name__)
    tests.include("^(test_relu|test_add_bcast|test_clip_example|test_mod_mixed_sign_int8)_cpu$")
    tests.include("^test_(Conv2d|operator_conv|squeezenet)_cpu$")
    tests.include("^test_relu_cuda$")
    result = unittest.TestResult()
    tests.test_suite.run(result)
    ran = result.testsRun - len(result.skipped)
    assert result.failures == result.errors == [] and ran == 7, (ran, result.errors)


def test_arrays_go_in_by_order_or_by_name_and_come_out_in_a_tuple():
    x = np.float32([[-1, 0, 1], [2, -2, 3]])
    prepared = backend.prepare(relu_of(), threads=1)
    assert isinstance(prepared, base.BackendRep) and issubclass(backend.Backend, base.Backend)
    for given in (x, [x], (x,), {"x": x}, [numpy_helper.from_array(x)]):
        (y,) = prepared.run(given)
        np.testing.assert_array_equal(y, np.maximum(x, 0))
    (y,) = backend.run_model(relu_of(), [x])
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    with pytest.raises(ValueError, match="2 inputs were given"):
        prepared.run([x, x])
    with pytest.raises(TypeError, match="unexpected argument 'other'"):
        prepared.run([x], other=1)


def test_one_node_runs_by_itself_in_the_opset_asked_for():
    x = np.float32([[1, 2], [3, 4]])
    node = helper.make_node("Softmax", ["x"], ["y"], axis=0)
    (flat,) = backend.run_node(node, [x], opset_version=11)
    (axis,) = backend.run_node(node, [x], outputs_info=[(np.float32, (2, 2))])
    assert flat.sum() == pytest.approx(1) and axis.sum(0) == pytest.approx([1, 1])
    optional = helper.make_node("Clip", ["x", "", "high"], ["y"])
    np.testing.assert_array_equal(backend.run_node(optional, [x, np.float32(2)])[0], np.minimum(x, 2))
    foreign = helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft")
    assert backend.run_node(foreign, x)[0].shape == x.shape
    with pytest.raises(ValueError, match="'high' is missing"):
        backend.run_node(optional, [x])


def test_what_cannot_run_is_refused_and_told():
    assert backend.supports_device("CPU") and backend.supports_device("cpu:0") and not backend.supports_device("CUDA")
    assert backend.is_compatible(relu_of()) and not backend.is_compatible(relu_of("Bernoulli"))
    assert not backend.is_compatible(relu_of(), "CUDA") and not backend.is_compatible(onnx.ModelProto())
    with pytest.raises(ValueError, match="'CUDA' is not supported"):
        backend.prepare(relu_of(), "CUDA")
    with pytest.raises(TypeError, match="unexpected argument 'thread'"):
        backend.prepare(relu_of(), thread=1)
    with pytest.raises(ModelError, match="Bernoulli"):
        backend.run_model(relu_of("Bernoulli"), np.zeros((2, 3), np.float32))
    newer = relu_of()
    newer.opset_import[0].version = 999
    assert backend.is_opset_supported(relu_of()) == (True, "") and not backend.is_opset_supported(newer)[0]
