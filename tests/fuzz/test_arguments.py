"""Public functions given anything in place of one argument: they work, or say TypeError, ValueError or OSError."""

import tempfile
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import layers, native
from pycompress.ort import OrtValue

SAID = (TypeError, ValueError, OSError, MemoryError, ModuleNotFoundError, pc.PycompressError)
FLOAT = np.float32


@cache
def model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.standard_normal((8, 8)).astype(FLOAT), f"w{i}") for i in range(3)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"], "first"), helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("MatMul", ["b", "w1"], ["c"], "second"), helper.make_node("MatMul", ["c", "w2"], ["y"], "third"),
    ]  # fmt: skip
    ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 8])] for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *ports, initializer=weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@cache
def quantized() -> onnx.ModelProto:
    return pc.quantize(model(), samples())


def samples() -> list[np.ndarray]:
    return list(np.random.default_rng(1).standard_normal((4, 2, 8)).astype(FLOAT))


@cache
def session() -> pc.InferenceSession:
    return pc.InferenceSession(model())


@cache
def model_file() -> str:
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    path.write_bytes(model().SerializeToString())
    return str(path)


@cache
def plan_bytes() -> bytes:
    return Path(plan_file()).read_bytes()


@cache
def plan_file() -> str:
    path = Path(model_file()).with_name("plan")
    pc.compile(model(), input_shapes={"x": (2, 8)}).save(path)
    return str(path)


@cache
def layers_file() -> str:
    path = Path(model_file()).with_name("layers")
    layers.save(path, {"a": layers.SparseLinear.from_dense(W), "b": layers.HalfLinear.from_dense(W)})
    return str(path)


X = np.ones((2, 8), FLOAT)
CSR = (np.array([0, 1, 2], np.int32), np.array([0, 2], np.int32), np.array([2.0, 3.0], FLOAT), (2, 3))
W = np.random.default_rng(2).standard_normal((16, 32)).astype(FLOAT)

CALLS = {  # a function, and arguments that it takes
    "compile": (pc.compile, {
        "model": model, "input_shapes": {"x": (2, 8)}, "preprocess": None, "strict": False, "sparse": "auto", "costs": None,
        "int4_activations": "file", "float_products": "float32", "cpu": None, "labels": None, "base_dir": None,
    }),
    "session": (pc.InferenceSession, {"path_or_bytes": model, "sess_options": None, "providers": None, "base_dir": None}),
    "run": (lambda **a: session().run(**a), {"output_names": ["y"], "input_feed": {"x": X}, "run_options": None, "out": None}),
    "feed": (lambda x: session().run(None, {"x": x}), {"x": X}),
    "plan from bytes": (pc.Plan.from_bytes, {"data": plan_bytes, "cpu": None}),
    "plan from a file": (pc.Plan.load, {"path": plan_file, "cpu": None}),
    "prune": (pc.prune, {
        "model": model, "sparsity": 0.5, "scope": "global", "pattern": "unstructured", "exclude": None, "calibration": None,
        "reconstruct": None, "min_snr": None, "base_dir": None, "progress": None,
    }),
    "factorize": (pc.factorize, {
        "model": model, "rank": 2, "method": "svd", "budget": "macs", "exclude": None, "reconstruct": None, "input_shapes": None,
        "min_snr": None, "progress": None,
    }),
    "cast": (pc.cast, {"model": model, "dtype": "float16", "exclude": None, "min_snr": None, "progress": None}),
    "quantize": (pc.quantize, {
        "model": model, "calibration": samples, "weights": 8, "group_size": 32, "rounding": "gptq", "zero_points": False,
        "share": 0.5, "first_last": 8, "target": "portable", "accumulate": None, "method": "mse", "percentile": 99.99,
        "symmetric": False,
    }),
    "recertify": (pc.recertify, {"model": quantized, "calibration": samples, "accumulate": "auto", "min_snr": None}),
    "spmm": (pc.spmm, {"A": CSR, "X": np.ones((3, 2), FLOAT), "out": None, "num_threads": 1}),
    "spmm's matrix": (lambda **a: pc.spmm(tuple(a.values()), np.ones((3, 2), FLOAT)), dict(zip("pidx", CSR))),
    "predictor": (pc.Predictor, {
        "model": model_file, "preprocess": None, "threads": 1, "top": None, "labels": None, "files": "path", "on_error": "raise",
    }),
    "prediction": (lambda batch: pc.Predictor(model_file())(batch), {"batch": X}),
    "sparse layer": (layers.SparseLinear.from_dense, {"W": W, "bias": None}),
    "quantized layer": (layers.QuantizedLinear.from_dense, {"W": W, "bias": None, "bits": 8}),
    "half layer": (layers.HalfLinear.from_dense, {"W": W, "bias": None, "dtype": "float16"}),
    "low-rank layer": (layers.LowRankLinear.from_dense, {"W": W, "bias": None, "rank": 4}),
    "a layer's input": (lambda x: layers.SparseLinear.from_dense(W)(x), {"x": np.ones((2, 32), FLOAT)}),
    "a layer of codes' input": (lambda x: layers.QuantizedLinear.from_dense(W)(x), {"x": np.ones((2, 32), FLOAT)}),
    "layers to a file": (layers.save, {"path": "layers", "layers": {"a": layers.HalfLinear.from_dense(W)}}),
    "layers from a file": (layers.load, {"path": layers_file}),
    "options": (pc.SessionOptions, {
        "intra_op_num_threads": 1, "plan_cache_bytes": 1 << 20, "float_products": "float32",
    }),
    "an OrtValue": (
        lambda x, device_type, device_id: OrtValue.ortvalue_from_numpy(x, device_type, device_id),
        {"x": X, "device_type": "cpu", "device_id": 0},
    ),
    "explain": (lambda **a: session().explain(**a), {"input_feed": {"x": X}}),
    "profile": (lambda input_feed: session().profile(input_feed, runs=1), {"input_feed": {"x": X}}),
    "a saved plan": (lambda path, slim: pc.Plan.from_bytes(plan_bytes()).save(path, slim=slim), {"path": "saved", "slim": False}),
    "kernel": (native.dynquant, {
        "x": X, "codes": np.empty((2, 8), np.uint8), "scale": np.empty(2, FLOAT), "zero": np.empty(2, np.int32),
    }),
}  # fmt: skip
MADE = (model, quantized, samples, model_file, plan_bytes, plan_file, layers_file)  # functions that make an argument
SLOW = ("quantize", "recertify", "prune", "factorize", "cast", "compile")

DTYPES = ("f4", "f8", "f2", "i4", "i8", "u1", "?", "c8", ">f4", "O", "U3", "M8[s]")


@st.composite
def arrays(draw):
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 3, 8, 32]), max_size=4))
    x = np.zeros(shape, draw(st.sampled_from(DTYPES)))
    changed = draw(st.sampled_from(["as it is", "transposed", "strided", "read-only", "not aligned", "filled"]))
    if changed == "transposed":
        return x.T
    if changed == "strided":
        return x[..., ::2] if x.ndim else x
    if changed == "read-only":
        x.flags.writeable = False
    if changed == "not aligned" and x.dtype.kind in "fiu" and x.size:
        return np.frombuffer(bytes(x.nbytes + 1), np.uint8)[1:].view(x.dtype).reshape(shape)
    if changed == "filled" and x.dtype.kind in "fiu":
        x[...] = draw(st.sampled_from([1, 2, 100, 255] + ([np.nan, np.inf] if x.dtype.kind == "f" else [])))
    return x


simple = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([0, 1, 2, 4, 8, 2**31, 2**63, -(2**63), 10**30]),
    st.floats(), st.text(max_size=8), st.binary(max_size=8), st.sampled_from([object, len, ..., Path("x"), 1j, np.float32(1)]),
    st.sampled_from(["auto", "x", "y", "first", "1x4", "channel", "int8", "float16", "avx2", "\0", "\ud800", "/", "../x"]),
)  # fmt: skip
anything = st.one_of(
    simple,
    arrays(),
    st.lists(simple | arrays(), max_size=3),
    st.tuples(simple, simple),
    st.dictionaries(st.sampled_from(["x", "y", "first", "mean", "std", ""]) | simple, simple | arrays(), max_size=2),
)  # fmt: skip


def called(function, arguments: dict) -> None:
    arguments = {key: x() if any(x is made for made in MADE) else x for key, x in arguments.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if function is native.dynquant:  # its arguments have no names
            function(*arguments.values())
        else:
            function(**arguments)


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_refused_by_an_exception_that_says_so(name, tmp_path, monkeypatch):
    function, right = CALLS[name]
    monkeypatch.chdir(tmp_path)
    called(function, right)  # as it is, it works

    @settings(
        max_examples=25 if name in SLOW else 100, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.sampled_from(list(right)), anything)
    def tried(which, value):
        try:
            called(function, right | {which: value})
        except SAID as error:
            assert str(error)

    tried()
