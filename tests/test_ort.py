"""The session as a drop-in for onnxruntime's: the same calls, the same answers."""

import copy
import importlib
import json
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from ort_session import ENGINES, X, Y, Z, network, refused

import pycompress as pc
import pycompress.ort as ort


@ENGINES
def test_a_session_tells_the_same_as_onnxruntime_s(engine):
    session = engine.InferenceSession(
        path_or_bytes=network(), providers=["CPUExecutionProvider"], provider_options=[{}]
    )
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_provider_options() == {"CPUExecutionProvider": {}}
    assert "CPUExecutionProvider" in engine.get_available_providers() and engine.get_device() == "CPU"
    assert [(p.name, p.shape, p.type) for p in session.get_inputs()] == [("x", ["N", 2], "tensor(float)")]
    assert [p.name for p in session.get_outputs()] == ["y", "z"]
    assert session.get_overridable_initializers() == []
    meta = session.get_modelmeta()
    assert meta.custom_metadata_map == {"character": "a\nb", "version": "of the author"}
    assert (meta.producer_name, meta.domain, meta.version) == ("a test", "example.org", 7)
    assert (meta.graph_name, meta.graph_description) == ("the graph", "of the graph")
    assert meta.description == "of the model"


@ENGINES
def test_outputs_are_chosen_as_in_onnxruntime(engine):
    session = engine.InferenceSession(network())
    for names, want in ((None, [Y, Z]), ([], [Y, Z]), (["z"], [Z]), (("z", "y"), [Z, Y]), (["z", "z"], [Z, Z])):
        got = session.run(names, {"x": X})
        assert len(got) == len(want)
        for one, expected in zip(got, want):
            np.testing.assert_array_equal(one, expected)


@ENGINES
def test_lists_are_inputs_of_the_declared_type(engine):
    for dtype, fed, want in (
        (TensorProto.INT64, [1, 2], np.int64([1, 2])),
        (TensorProto.INT64, [np.int32(4)], np.int64([4])),
        (TensorProto.INT64, [2**63 - 1, -(2**63)], np.int64([2**63 - 1, -(2**63)])),
        (TensorProto.INT32, [2**31 - 1, -(2**31)], np.int32([2**31 - 1, -(2**31)])),
        (TensorProto.UINT8, [0, 255], np.uint8([0, 255])),
        (TensorProto.FLOAT16, [1, 300.5], np.float16([1, 300.5])),
        (TensorProto.BOOL, [1, 0], np.array([True, False])),
        (TensorProto.FLOAT, [True, 2], np.float32([1, 2])),
        (TensorProto.FLOAT, [0.1], np.float32([0.1])),
    ):
        (got,) = engine.InferenceSession(network(dtype, ("N",))).run(None, {"x": fed})
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    rows = engine.InferenceSession(network())
    for fed in (X.tolist(), list(X)):
        np.testing.assert_array_equal(rows.run(["z"], {"x": fed})[0], Z)


def test_numbers_and_tuples_are_inputs_too():
    scalar = ort.InferenceSession(network(TensorProto.FLOAT, ()))
    for fed in (3, 3.0, np.float64(3), np.int8(3), np.float32(3)):
        (got,) = scalar.run(None, {"x": fed})
        assert got == 3 and got.dtype == np.float32 and got.shape == ()
    np.testing.assert_array_equal(ort.InferenceSession(network()).run(["z"], {"x": tuple(map(tuple, X))})[0], Z)


@pytest.mark.parametrize(
    ("dtype", "fed"),
    [
        ("INT64", [1.5]), ("INT64", [float("nan")]), ("INT64", [2**63]), ("INT64", [2.0**63]), ("INT64", [2**70]),
        ("INT32", [2**31]), ("INT32", [2.0**31]), ("UINT8", [256]), ("UINT8", [-1]), ("BOOL", [2]), ("FLOAT", [1e39]),
        ("FLOAT16", [70000]), ("FLOAT", ["a"]), ("FLOAT", [None]), ("FLOAT", [1j]), ("FLOAT", [[1], [2, 3]]),
        ("FLOAT", "a"), ("UINT8", b"a"), ("UINT64", [-1]),
    ],
    ids=str,
)  # fmt: skip
def test_lists_whose_values_do_not_fit_are_refused_and_not_cut(dtype, fed):
    with pytest.raises(ort.InvalidArgument, match="input 'x'"):
        ort.InferenceSession(network(getattr(TensorProto, dtype), ("N",))).run(None, {"x": fed})


def test_a_list_may_hold_infinity_and_nan_and_nothing():
    session = ort.InferenceSession(network(TensorProto.FLOAT, ("N",)))
    np.testing.assert_array_equal(session.run(None, {"x": [np.inf, np.nan]})[0], np.float32([np.inf, np.nan]))
    assert ort.InferenceSession(network(TensorProto.INT64, ("N",))).run(None, {"x": []})[0].shape == (0,)


@ENGINES
def test_what_is_wrong_is_told_by_onnxruntime_s_exceptions(engine):
    base = "pycompress.ort" if engine is ort else "onnxruntime"
    state = importlib.import_module(f"{base}.capi.onnxruntime_pybind11_state")
    session = engine.InferenceSession(network())
    for fed in (X.astype(np.float64), X.astype(np.int32), X > 0, X[0], np.ones((2, 3), np.float32)):
        refused(lambda fed=fed: session.run(None, {"x": fed}), state.InvalidArgument)
    refused(lambda: session.run(None, {"x": X, "q": X}), state.InvalidArgument)
    refused(lambda: session.run(["q"], {"x": X}), state.InvalidArgument)
    refused(lambda: session.run(None, {}), ValueError)
    refused(lambda: session.run(None, {"x": X}, 3), TypeError)
    options = engine.RunOptions()
    options.terminate = True
    refused(lambda: session.run(None, {"x": X}, options), state.Fail)
    refused(lambda: engine.InferenceSession("no such file.onnx"), state.NoSuchFile)
    refused(lambda: engine.InferenceSession(b"garbage"), state.InvalidProtobuf)
    unknown = onnx.ModelProto.FromString(network())
    unknown.graph.node[0].op_type = "Zork"
    refused(lambda: engine.InferenceSession(unknown.SerializeToString()).run(None, {"x": X}), state.InvalidGraph)


def test_exceptions_are_python_s_own_kinds_too():
    session = ort.InferenceSession(network())
    refused(lambda: session.run(None, {"x": X.astype(np.float64)}), ValueError)
    refused(lambda: ort.InferenceSession("no such file.onnx"), FileNotFoundError)
    refused(lambda: pc.Plan.load("no such file"), FileNotFoundError)
    for kind in (ort.InvalidArgument, ort.NoSuchFile, ort.Fail, ort.InvalidGraph):
        assert issubclass(kind, pc.PycompressError)


@ENGINES
@pytest.mark.parametrize(
    ("providers", "warns"),
    [
        (None, 0),
        ([], 0),
        (("CPUExecutionProvider",), 0),
        ([("CPUExecutionProvider", {"arena_extend_strategy": "kSameAsRequested"})], 0),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], 1),
        (["CUDAExecutionProvider"], 1),
        (["CPUExecutionProvider", "CPUExecutionProvider"], 1),
    ],
    ids=str,
)
def test_providers_that_do_not_exist_are_passed_over_with_a_warning(engine, providers, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session = engine.InferenceSession(network(), providers=providers)
        assert session.get_providers() == ["CPUExecutionProvider"]
    assert len(caught) == warns
    assert all("CUDA" in str(w.message) or "Duplicate" in str(w.message) for w in caught)


def test_the_warning_about_a_provider_points_at_the_caller():
    session = ort.InferenceSession(network(), providers="CPUExecutionProvider")
    with pytest.warns(UserWarning, match="CUDA") as caught:
        ort.InferenceSession(network(), providers=["CUDAExecutionProvider"])
        session.set_providers(["CUDAExecutionProvider"])
    assert [w.filename for w in caught] == [__file__] * 2


def test_providers_in_another_form_are_refused():
    for providers in (3, {"CPUExecutionProvider": {}}, [3], [("CPUExecutionProvider",)], [("CPUExecutionProvider", 1)]):
        with pytest.raises((TypeError, ValueError), match="providers"):
            ort.InferenceSession(network(), providers=providers)
    for options in ({}, [{}, {}], [3]):
        with pytest.raises((TypeError, ValueError), match="provider_options"):
            ort.InferenceSession(network(), providers=["CPUExecutionProvider"], provider_options=options)


@ENGINES
def test_runs_in_the_background_call_back_with_results_or_the_error(engine):
    options = engine.SessionOptions()
    options.intra_op_num_threads = 2  # onnxruntime needs two for it
    session = engine.InferenceSession(network(), options)
    done, seen = threading.Event(), []

    def callback(results, user, error):
        seen.append((results, user, error))
        done.set()

    for feed, fails in (({"x": X}, False), ({"x": X.tolist()}, False), ({"x": X[0]}, True)):
        done.clear()
        session.run_async(["z"], feed, callback, "mine")
        assert done.wait(60)
        results, user, error = seen.pop()
        assert user == "mine" and bool(error) == fails == (not results)
        if not fails:
            np.testing.assert_array_equal(results[0], Z)
    refused(lambda: session.run_async(None, {}, callback, None), ValueError)


def test_a_callback_that_fails_is_reported_and_closing_waits_for_runs(monkeypatch):
    reported, errors = [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_type))
    session = ort.InferenceSession(network())
    session.run_async(None, {"x": X}, lambda *all: 1 / 0)
    for _ in range(20):
        session.run_async(None, {"x": X}, lambda results, user, error: errors.append(error))
    options = ort.RunOptions()
    options.terminate = True
    session.run_async(None, {"x": X}, lambda results, user, error: errors.append(error), None, options)
    session.close()
    assert reported == [ZeroDivisionError]
    assert sorted(errors)[:20] == [""] * 20 and "terminate" in sorted(errors)[20]
    refused(lambda: session.run_async(None, {"x": X}, print), ValueError)
    refused(lambda: ort.InferenceSession(network()).run_async(None, {"x": X}, 3), TypeError)


@ENGINES
def test_profiling_writes_a_trace_of_every_run(engine, tmp_path):
    options = engine.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace")
    session = engine.InferenceSession(network(), options)
    for _ in range(3):
        session.run(None, {"x": X})
    path = session.end_profiling()
    assert path.startswith(str(tmp_path / "trace")) and session.get_profiling_start_time_ns() > 0
    with open(path) as file:
        events = json.load(file)
    assert sum(e["name"] == "model_run" for e in events) == 3
    nodes = [e for e in events if e["cat"] == "Node"]
    assert {"Add", "Relu"} <= {e["args"]["op_name"] for e in nodes}
    assert {"sum_kernel_time", "positive_kernel_time"} <= {e["name"] for e in nodes}
    assert all(e["dur"] >= 0 for e in nodes)
    assert session.end_profiling() == ""
    assert len(session.run(None, {"x": X})) == 2
    plain = engine.InferenceSession(network())
    assert plain.end_profiling() == "" and plain.get_profiling_start_time_ns() == 0


def test_a_trace_is_also_written_by_sessions_that_are_closed_or_forgotten(tmp_path):
    for i, leave in enumerate((lambda s: s.close(), lambda s: None)):
        options = ort.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, tmp_path / f"trace{i}"
        session = ort.InferenceSession(network(), options)
        binding = session.io_binding()
        binding.bind_cpu_input("x", X)
        binding.bind_output("z")
        session.run_with_iobinding(binding)
        leave(session)
        del session, binding
        (path,) = tmp_path.glob(f"trace{i}*.json")
        assert sum(e["name"] == "model_run" for e in json.loads(path.read_text())) == 1
    options.profile_file_prefix = tmp_path / "no such folder" / "trace"
    refused(lambda: ort.InferenceSession(network(), options), OSError)


def test_a_closed_session_refuses_to_run():
    with ort.InferenceSession(network()) as session:
        session.run(None, {"x": X})
        binding = session.io_binding()
        binding.bind_cpu_input("x", X)
        binding.bind_output("z")
    for call in (
        lambda: session.run(None, {"x": X}),
        lambda: session.get_inputs(),
        lambda: session.explain(),
        lambda: session.labels,
        lambda: session.get_modelmeta(),
        lambda: session.run_with_iobinding(binding),
        lambda: binding.bind_output("z"),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()
    session.close()


def test_sessions_are_pickled_by_path_and_by_what_they_were_made_from(tmp_path, monkeypatch):
    model = tmp_path / "model.onnx"
    model.write_bytes(network())
    plan = pc.compile(network(), input_shapes=(2, 2))
    plan.save(tmp_path / "model.plan.safetensors")
    loaded = pc.Plan.load(tmp_path / "model.plan.safetensors")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    monkeypatch.chdir(tmp_path)
    proto, view = onnx.load(model), memoryview(network())
    sources = [
        "model.onnx",
        model,
        network(),
        bytearray(network()),
        view,
        proto,
        plan,
        loaded,
        "model.plan.safetensors",
    ]
    sessions = [ort.InferenceSession(s, options) for s in sources]
    monkeypatch.chdir("/")
    for session in sessions:
        for again in (pickle.loads(pickle.dumps(session)), copy.deepcopy(session)):
            np.testing.assert_array_equal(again.run(["z"], {"x": X})[0], Z)
            assert again.get_session_options().intra_op_num_threads == 1
    assert network() not in pickle.dumps(sessions[0]) and network() in pickle.dumps(sessions[2])


def test_a_plan_keeps_the_metadata_of_its_model():
    meta = ort.InferenceSession(pc.compile(network(), input_shapes=(2, 2), labels=["a", "b"])).get_modelmeta()
    assert meta.custom_metadata_map == {"character": "a\nb", "version": "of the author", "labels": '["a", "b"]'}
    assert (meta.producer_name, meta.graph_name) == ("a test", "the graph")


def test_external_data_of_a_model_in_memory_is_read_from_the_folder_in_the_options(tmp_path):
    model = onnx.ModelProto.FromString(network())
    model.graph.initializer[0].raw_data = np.float32([1, -2]).tobytes()
    del model.graph.initializer[0].float_data[:]
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(tmp_path))
    data = (tmp_path / "model.onnx").read_bytes()
    np.testing.assert_array_equal(ort.InferenceSession(data, options).run(["z"], {"x": X})[0], Z)
    refused(lambda: ort.InferenceSession(data).run(["z"], {"x": X}), pc.ModelError)


def test_the_module_has_the_names_that_callers_use():
    for name in ort.__all__:
        assert getattr(ort, name).__doc__, name
    assert ort.get_version_string() == ort.__version__ and "pycompress" in ort.get_build_info()
    assert [int(part) for part in ort.__version__.split(".")] >= [1, 20, 0]
    for severity in range(5):
        ort.set_default_logger_severity(severity)
    refused(lambda: ort.set_default_logger_severity(9), ValueError)
    ort.set_seed(3)
    ort.set_default_logger_verbosity(0)
    ort.disable_telemetry_events()
    ort.enable_telemetry_events()
    assert ort.get_all_providers() == ort.get_available_providers()
    with pytest.raises(AttributeError, match="ModelCompiler"):
        ort.ModelCompiler  # noqa: B018
    assert pc.ort is ort and ort.InferenceSession is pc.InferenceSession


def test_code_that_imports_onnxruntime_runs_on_the_module_in_its_place():
    code = """
        import sys, pycompress.ort
        sys.modules["onnxruntime"] = pycompress.ort
        import importlib.util, onnxruntime
        from onnxruntime.capi import _pybind_state as C
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
        from onnxruntime.capi.onnxruntime_inference_collection import OrtValue
        from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
        assert C.get_available_providers() == ["CPUExecutionProvider"]
        assert InvalidArgument is pycompress.ort.InvalidArgument and OrtValue is pycompress.ort.OrtValue
        assert importlib.util.find_spec("onnxruntime") is not None
        assert "onnx" not in sys.modules and "numba" not in sys.modules
        try:
            import onnxruntime.quantization
        except ModuleNotFoundError as error:
            print(error.name)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "onnxruntime.quantization"), done.stderr
