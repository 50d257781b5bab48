"""A session's options as onnxruntime's: fields, entries, free dimensions."""

import copy
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
from ort_session import ENGINES, X, Z, network, refused

import pycompress.ort as ort


def fields(options):
    return [n for n in dir(options) if not n.startswith("_") and not callable(getattr(options, n))]


def test_fields_of_options_have_onnxruntime_s_names_and_defaults():
    for name in ("SessionOptions", "RunOptions"):
        mine, ort_outputs = getattr(ort, name)(), getattr(onnxruntime, name)()
        assert len(fields(ort_outputs)) >= 5
        for field in fields(ort_outputs):
            value, want = getattr(mine, field), getattr(ort_outputs, field)
            assert value == (want if isinstance(want, (str, bool)) else int(want)), field
            setattr(mine, field, value)
    for name in ("GraphOptimizationLevel", "ExecutionMode", "ExecutionOrder"):
        mine, ort_outputs = (getattr(engine, name).__members__ for engine in (ort, onnxruntime))
        assert {k: int(v) for k, v in mine.items()} == {k: int(v) for k, v in ort_outputs.items()}


@ENGINES
def test_unknown_fields_and_wrong_types_are_refused_by_name(engine):
    for options in (engine.SessionOptions(), engine.RunOptions()):
        with pytest.raises(AttributeError, match="foo"):
            options.foo = 1
        for name, value in (("logid", 3), ("log_severity_level", "2")):
            with pytest.raises(TypeError):
                setattr(options, name, value)
    options = engine.SessionOptions()
    for name, value in (("intra_op_num_threads", 2.0), ("enable_profiling", "x"), ("execution_mode", "x")):
        with pytest.raises(TypeError):
            setattr(options, name, value)
    options.intra_op_num_threads = np.int64(2)
    options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.execution_mode = engine.ExecutionMode.ORT_PARALLEL
    assert options.intra_op_num_threads == 2
    for wrong in (3, "x", [1]):
        refused(lambda wrong=wrong: engine.InferenceSession(network(), wrong), TypeError)


def test_options_out_of_range_are_refused_where_they_are_set():
    options = ort.SessionOptions()
    for name, value in (("intra_op_num_threads", -1), ("intra_op_num_threads", 1025), ("plan_cache_bytes", -1)):
        with pytest.raises(ValueError, match=name):
            setattr(options, name, value)
    with pytest.raises(TypeError, match="intra_op_num_threads"):
        options.intra_op_num_threads = True
    with pytest.raises(ValueError, match="graph_optimization_level"):
        options.graph_optimization_level = 42
    refused(lambda: ort.InferenceSession(network(), {}), TypeError)
    for call in (
        lambda: options.register_custom_ops_library("custom.so"),
        lambda: options.add_initializer("w", X),
        lambda: options.add_external_initializers(["w"], [X]),
        lambda: ort.RunOptions().add_active_adapter(None),
    ):
        refused(call, NotImplementedError)
    options.optimized_model_filepath = "optimized.onnx"
    with pytest.raises(ValueError, match="optimized_model_filepath"):
        ort.InferenceSession(network(), options)


@ENGINES
def test_configuration_entries_are_kept(engine):
    options = engine.SessionOptions()
    for key in ("session.intra_op.allow_spinning", "session.set_denormal_as_zero", "of.my.own"):
        options.add_session_config_entry(key, "1")
        assert options.get_session_config_entry(key) == "1"
    refused(lambda: options.get_session_config_entry("absent"), RuntimeError)
    refused(lambda: options.add_session_config_entry("key", 1), TypeError)
    refused(lambda: options.add_session_config_entry("", "1"), (RuntimeError, ValueError))
    run = engine.RunOptions()
    run.add_run_config_entry("key", "value")
    assert run.get_run_config_entry("key") == "value"
    kept = engine.InferenceSession(network(), options).get_session_options()
    assert kept.get_session_config_entry("of.my.own") == "1"


def test_a_session_keeps_the_options_it_was_made_with():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(network(), options)
    options.intra_op_num_threads = 2
    session.get_session_options().intra_op_num_threads = 3
    assert repr(session.get_session_options()) == "SessionOptions(intra_op_num_threads=1)"
    for same in (copy.copy(options), copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        assert same.intra_op_num_threads == 2


@ENGINES
def test_free_dimensions_take_the_size_that_options_give(engine):
    options = engine.SessionOptions()
    options.add_free_dimension_override_by_name("N", 2)
    options.add_free_dimension_override_by_name("of no model", 5)
    session = engine.InferenceSession(network(), options)
    assert [p.shape for p in (*session.get_inputs(), *session.get_outputs())] == [[2, 2]] * 3
    np.testing.assert_array_equal(session.run(["z"], {"x": X})[0], Z)
    with pytest.raises(Exception, match="dimension|shape"):
        session.run(None, {"x": X[:1]})


def test_free_dimensions_are_fixed_by_denotation_and_the_callers_model_stays_as_it_is():
    model = onnx.ModelProto.FromString(network())
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    before = model.SerializeToString()
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_denotation("DATA_BATCH", 3)
    assert ort.InferenceSession(model, options).get_inputs()[0].shape == [3, 2]
    assert model.SerializeToString() == before
    for size in (-1, True):
        with pytest.raises(ValueError, match="'N'"):
            options.add_free_dimension_override_by_name("N", size)
