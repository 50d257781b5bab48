"""OrtValue and bindings as onnxruntime's."""

import ctypes

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto
from ort_session import ENGINES, X, Y, Z, network, refused, value_of

import pycompress.ort as ort


@ENGINES
def test_an_ort_value_shares_the_memory_of_its_array(engine):
    x = X.copy()
    value = value_of(engine, x)
    assert (value.shape(), value.data_type(), value.device_name()) == ([2, 2], "tensor(float)", "cpu")
    assert (value.element_type(), value.tensor_size_in_bytes(), value.data_ptr()) == (1, 16, x.ctypes.data)
    assert value.is_tensor() and value.has_value()
    assert not value.is_sparse_tensor() and not value.is_tensor_sequence()
    for view in (value.numpy(), np.asarray(value), np.from_dlpack(value)):
        assert np.shares_memory(view, x)
    value.update_inplace(X + 1)
    np.testing.assert_array_equal(x, X + 1)
    value.update_inplace(value_of(engine, X + 2))
    np.testing.assert_array_equal(x, X + 2)
    np.testing.assert_array_equal(value_of(engine, np.asfortranarray(X)).numpy(), X)
    assert np.shares_memory(engine.OrtValue.from_dlpack(x).numpy(), x)
    made = engine.OrtValue.ortvalue_from_shape_and_type([2, 3], np.int64, "cpu", 0)
    assert (made.shape(), made.data_type()) == ([2, 3], "tensor(int64)")
    assert engine.OrtValue.ortvalue_from_shape_and_type((2,), TensorProto.DOUBLE).data_type() == "tensor(double)"
    half = engine.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ones(3, np.uint16), TensorProto.BFLOAT16)
    assert half.data_type() == "tensor(bfloat16)"


@ENGINES
def test_an_ort_value_that_cannot_be_is_refused(engine):
    make = engine.OrtValue.ortvalue_from_numpy
    for call in (
        lambda: make(X, "cuda", 0),
        lambda: make(X, "no such device", 0),
        lambda: make([1, 2]),
        lambda: make(np.array(["a"])),
        lambda: make(X.copy()).update_inplace(X[0]),
        lambda: make(X.copy()).update_inplace(3),
    ):
        refused(call, Exception)


def test_an_ort_value_takes_only_its_own_shape_and_type():
    value = value_of(ort, X.copy())
    for wrong in (X.reshape(4), X.astype(np.int32), X.astype(">f4")):
        refused(lambda wrong=wrong: value.update_inplace(wrong), ort.InvalidArgument)
    refused(lambda: value_of(ort, X.astype(">f4")), ort.InvalidArgument)
    fixed = X.copy()
    fixed.flags.writeable = False
    with pytest.raises(ort.InvalidArgument, match="read-only"):
        value_of(ort, fixed).update_inplace(X)
    assert ort.OrtDevice.make("cpu", 0).device_type() == onnxruntime.OrtDevice.make("cpu", 0).device_type()


@ENGINES
def test_bindings_run_on_the_memory_that_they_name(engine):
    session, x, z = engine.InferenceSession(network()), X.copy(), np.zeros((2, 2), np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("z")
    binding.bind_output("y", "cpu")
    session.run_with_iobinding(binding)
    got = binding.copy_outputs_to_cpu()
    np.testing.assert_array_equal(got[0], Z)
    np.testing.assert_array_equal(got[1], Y)
    assert [v.shape() for v in binding.get_outputs()] == [[2, 2], [2, 2]]
    x += 1  # seen by the next run
    binding.clear_binding_outputs()
    binding.bind_output("z", "cpu", 0, np.float32, (2, 2), z.ctypes.data)
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(z, np.maximum(Y + 1, 0))
    assert not np.shares_memory(binding.copy_outputs_to_cpu()[0], z)
    binding.clear_binding_inputs()
    binding.clear_binding_outputs()
    binding.bind_input("x", "cpu", 0, np.float32, (2, 2), x.ctypes.data)
    out = engine.OrtValue.ortvalue_from_shape_and_type((2, 2), np.float32)
    binding.bind_ortvalue_output("y", out)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding, engine.RunOptions())
    binding.synchronize_outputs()
    np.testing.assert_array_equal(out.numpy(), Y + 1)
    binding.bind_ortvalue_input("x", value_of(engine, X))
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(out.numpy(), Y)


@ENGINES
def test_bindings_that_do_not_fit_are_refused(engine):
    session = engine.InferenceSession(network())
    binding = session.io_binding()
    refused(lambda: session.run_with_iobinding(binding), RuntimeError)
    refused(lambda: session.run_with_iobinding(3), (TypeError, AttributeError))
    refused(lambda: binding.bind_cpu_input("q", X), (ValueError, RuntimeError))
    binding.bind_cpu_input("x", X)
    refused(lambda: binding.bind_output("z", "cpu", 0, None, (2, 2), X.ctypes.data), ValueError)
    binding.bind_ortvalue_output("z", engine.OrtValue.ortvalue_from_shape_and_type((3, 2), np.float32))
    refused(lambda: session.run_with_iobinding(binding), (ValueError, RuntimeError))


def test_bindings_refuse_other_sessions_other_devices_and_null():
    session = ort.InferenceSession(network())
    binding = session.io_binding()
    assert binding.get_outputs() == [] and binding.copy_outputs_to_cpu() == []
    with pytest.raises(ort.InvalidArgument, match="another session"):
        ort.InferenceSession(network()).run_with_iobinding(binding)
    for call in (
        lambda: binding.bind_output("q"),
        lambda: binding.bind_output("z", "cuda"),
        lambda: binding.bind_input("x", "cpu", 0, np.float32, (2, 2), 0),
        lambda: binding.bind_input("x", "cpu", 0, np.float32, (-2, 2), X.ctypes.data),
        lambda: binding.bind_input("x", "cpu", 0, np.complex64, (2, 2), X.ctypes.data),
        lambda: binding.bind_input("x", "cpu", 0, 8, (2, 2), X.ctypes.data),
    ):
        refused(call, ort.InvalidArgument)
    refused(lambda: binding.bind_ortvalue_input("x", X), TypeError)
    refused(lambda: binding.bind_ortvalue_output("z", X), TypeError)
    raw = (ctypes.c_float * 4)(*X.flat)
    binding.bind_input("x", "cpu", 0, 1, [2, 2], ctypes.addressof(raw))
    binding.bind_output("z")
    session.run_with_iobinding(binding)
    np.testing.assert_array_equal(binding.get_outputs()[0].numpy(), Z)


@ENGINES
def test_runs_with_ort_values_give_ort_values(engine):
    session = engine.InferenceSession(network())
    for names, count in ((None, 2), ([], 2), (["z"], 1)):
        got = session.run_with_ort_values(names, {"x": value_of(engine, X)})
        assert len(got) == count
        np.testing.assert_array_equal(got[-1].numpy(), Z)
    refused(lambda: session.run_with_ort_values(None, {"x": X}), (TypeError, AttributeError))
    np.testing.assert_array_equal(session.run(["z"], {"x": value_of(engine, X)})[0], Z)
