"""Operators of the caller's in models and plans: C functions and Numba's, and what is refused."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

import pycompress as pc
import pycompress.numba
from pycompress import operators

RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
KINDS = {"f32": TensorProto.FLOAT, "i8": TensorProto.INT8, "i64": TensorProto.INT64}


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    from pycompress import kernels

    monkeypatch.setattr(operators, "REGISTERED", known := {})
    for module in ("pycompress.lower.custom", "pycompress.encode"):
        monkeypatch.setattr(f"{module}.REGISTERED", known)
    monkeypatch.setattr(kernels, "CUSTOM", {})


def model(nodes, inputs, outputs):
    ports = [[helper.make_tensor_value_info(n, KINDS[d], s) for n, (d, s) in x.items()] for x in (inputs, outputs)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_model(helper.make_graph(nodes, "g", *ports), opset_imports=imports, ir_version=8)


def scaling(**attributes):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Scale", ["r"], ["s"], domain="my", name="scale", **attributes),
        helper.make_node("Add", ["s", "x"], ["y"]),
    ]
    return model(nodes, {"x": ("f32", [4, 3])}, {"y": ("f32", [4, 3])})


def register_scale(**options):
    arguments = {"x": "f32[m,n]", "by": "f32[1]", "plus": "size", "out": "f32[m,n]"}
    attributes = {"by": None, "plus": 3}

    @pc.numba.operator("my::Scale", arguments, attributes=attributes, units="m", **options)
    def scale(x, by, plus, out, begin, end):
        for i in range(begin, end):
            out[i] = x[i] * by + plus

    return scale


def test_a_compiled_python_function_runs_as_a_step_for_any_number_of_threads():
    register_scale()
    x = np.random.default_rng(0).standard_normal((4, 3), np.float32)
    for threads in (1, 2, 3):
        options = pc.SessionOptions()
        options.intra_op_num_threads = threads
        session = pc.InferenceSession(scaling(by=2.5), options)
        (y,) = session.run(None, {"x": x})
        np.testing.assert_allclose(y, np.maximum(x, 0) * 2.5 + 3 + x, rtol=1e-6)
    row = session.explain()[1]
    assert (row["kernel"], row["isa"], row["node"]) == ("my::Scale", "custom", "scale")


def test_an_operator_that_raises_makes_the_run_fail():
    @pc.numba.operator("my::Careful", {"x": "f32[n]", "out": "f32[n]"})
    def careful(x, out):
        for i in range(x.size):
            if x[i] < 0:
                raise ValueError("negative")
            out[i] = x[i] ** 0.5

    @RUN
    def run(args, begin, end, scratch):
        fault = (ctypes.c_size_t * 4).from_address(args)[3]
        ctypes.c_int32.from_address(fault).value = 1

    pc.register_operator("my::Never", run, {"x": "f32[n]", "out": "f32[n]", "fault": "fault"})
    for name in ("Careful", "Never"):
        node = helper.make_node(name, ["x"], ["y"], domain="my", name="it")
        session = pc.InferenceSession(model([node], {"x": ("f32", [2])}, {"y": ("f32", [2])}))
        with pytest.raises(pc.errors.InvalidArgument, match=rf"node 'it' \({name}\): the operator my::{name} failed"):
            session.run(None, {"x": np.float32([4, -1])})
        if name == "Careful":
            np.testing.assert_array_equal(session.run(None, {"x": np.float32([4, 1])})[0], [2, 1])


def test_a_function_of_c_takes_sizes_and_pointers_in_the_order_of_the_contract():
    seen = []

    @RUN
    def run(args, begin, end, scratch):
        slots = ctypes.cast(args, ctypes.POINTER(ctypes.c_uint64))
        seen.append((slots[0], slots[1], slots[3], begin, end))
        count = slots[0] * slots[1]
        ctypes.memmove(slots[4], slots[2], 4 * count)

    op = pc.register_operator("my::Pair", run, {"x": "f32[m,n]", "k": "size", "out": "f32[m*n]"}, attributes={"k": 7})
    assert op.spec.contract == "m n x:f32[m,n] k out:f32[m*n]"
    node = helper.make_node("Pair", ["x"], ["y"], domain="my")
    session = pc.InferenceSession(model([node], {"x": ("f32", [2, 3])}, {"y": ("f32", [6])}))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x.ravel())
    assert seen == [(2, 3, 7, 0, 1)]


def test_images_reach_an_operator_in_the_order_of_their_shape_and_int8_as_int8():
    @pc.numba.operator("my::Channels", {"x": "f32[b,c,h,w]", "out": "f32[b,c,h,w]"})
    def channels(x, out):
        for c in range(x.shape[1]):
            out[:, c] = x[:, c] + c

    @pc.numba.operator("my::Negate", {"x": "i8[n]", "out": "i8[n]"})
    def negate(x, out):
        for i in range(x.size):
            out[i] = -x[i]

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
        helper.make_node("Channels", ["x"], ["c"], domain="my"),
    ]
    session = pc.InferenceSession(model(nodes[::-1], {"x": ("f32", [1, 3, 4, 5])}, {"y": ("f32", [1, 3, 1, 1])}))
    x = rng.standard_normal((1, 3, 4, 5), np.float32)
    want = x.mean((2, 3), keepdims=True) + np.arange(3).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], want, rtol=1e-5)
    node = helper.make_node("Negate", ["x"], ["y"], domain="my")
    codes = np.array([-127, -1, 0, 5, 127], np.int8)
    session = pc.InferenceSession(model([node], {"x": ("i8", [5])}, {"y": ("i8", [5])}))
    np.testing.assert_array_equal(session.run(None, {"x": codes})[0], -codes)


def test_a_shape_function_decides_what_the_contract_leaves_open():
    @pc.numba.operator(
        "my::Repeat", {"x": "f32[n]", "times": "size", "out": "f32[m]"},
        attributes={"times": None}, shape=lambda x, times: (x[0] * times,), where="times<10",
    )  # fmt: skip
    def repeat(x, times, out):
        for i in range(out.size):
            out[i] = x[i % x.size]

    def repeated(times, length=6):
        node = helper.make_node("Repeat", ["x"], ["y"], domain="my", name="again", times=times)
        return model([node], {"x": ("f32", [3])}, {"y": ("f32", [length])})

    x = np.arange(3, dtype=np.float32)
    np.testing.assert_array_equal(pc.InferenceSession(repeated(2)).run(None, {"x": x})[0], [0, 1, 2, 0, 1, 2])
    with pytest.raises(pc.ModelError, match="again.*times<10 must hold"):
        pc.compile(repeated(11))
    with pytest.raises(pc.ModelError, match="again.*attribute 'times' = -1 is not a size"):
        pc.compile(repeated(-1))


@pytest.mark.parametrize("shape", [None, lambda x: (-1,), lambda x: ("a",), lambda x: [(1,), (1,)], lambda x: (1, 1)])
def test_a_node_whose_output_has_no_shape_is_refused(shape):
    run = RUN(lambda *args: None)
    pc.register_operator("my::Odd", run, {"x": "f32[n]", "out": "f32[m]"}, shape=shape)
    node = helper.make_node("Odd", ["x"], ["y"], domain="my", name="odd")
    with pytest.raises(pc.ModelError, match="node 'odd'.*shape function"):
        pc.compile(model([node], {"x": ("f32", [3])}, {"y": ("f32", [3])}))


def test_nodes_that_do_not_fit_the_operator_are_refused():
    register_scale()
    with pytest.raises(pc.ModelError, match="scale.*attribute 'by' is required"):
        pc.compile(scaling())
    with pytest.raises(pc.ModelError, match="scale.*'other' is not supported"):
        pc.compile(scaling(by=1.0, other=1))
    for inputs, word in [(["x", "x"], "has 2 inputs"), ([""], "is missing"), (["i"], "must be f32")]:
        node = helper.make_node("Scale", inputs, ["y"], domain="my", name="scale", by=1.0)
        ports = {"x": ("f32", [4, 3]), "i": ("i64", [4, 3])}
        with pytest.raises(pc.ModelError, match=f"scale.*{word}"):
            pc.compile(model([node], ports, {"y": ("f32", [4, 3])}))


def test_a_plan_names_its_operators_and_is_refused_without_them(tmp_path):
    op, path = register_scale(), tmp_path / "net.plan.safetensors"
    pc.compile(scaling(by=2.0)).save(path)
    x = np.ones((4, 3), np.float32)
    plan = pc.Plan.load(path)
    assert pc.InferenceSession(plan).run(None, {"x": x})[0][0, 0] == 6
    operators.REGISTERED.clear()
    del op
    assert pc.InferenceSession(plan).run(None, {"x": x})[0][0, 0] == 6  # an open plan keeps its operators
    for load in (lambda: pc.Plan.load(path), lambda: pc.Plan.from_bytes(path.read_bytes())):
        with pytest.raises(pc.PlanError, match="needs the custom operator my::Scale"):
            load()
    with pytest.raises(pc.ModelError, match="operator 'Scale' of domain 'my' is not supported"):
        pc.compile(scaling(by=2.0))
    register_scale(version=2)
    with pytest.raises(pc.PlanError, match="my::Scale version 1: this library has version 2"):
        pc.Plan.load(path)
    code = f"import pycompress as pc; pc.Plan.load({str(path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "needs the custom operator my::Scale" in run.stderr


def test_a_plan_is_held_to_the_operator_s_contract(tmp_path):
    register_scale()
    plan = pc.compile(scaling(by=2.0))
    run = RUN(lambda *args: None)
    arguments = {"x": "f32[m,n]", "by": "f32[1]", "plus": "size", "out": "f32[m*100,n]", "fault": "fault"}
    pc.register_operator("my::Scale", run, arguments, attributes={"by": None, "plus": 3})
    with pytest.raises(pc.PlanError, match="my::Scale.* out.* do not fit"):
        pc.Plan.from_bytes(b"".join(map(bytes, plan._chunks())))


def test_registrations_that_make_no_sense_are_refused():
    run, good = RUN(lambda *args: None), {"x": "f32[n]", "out": "f32[n]"}
    for name in ("Scale", "::A", "my::", "my::a b", 3, "ai.onnx::Relu", "com.microsoft::Gelu"):
        with pytest.raises(ValueError, match="domain::Name"):
            pc.register_operator(name, run, good)
    for arguments in ({}, {"x": "f32[n]"}, {"x": "f99[n]", "out": "f32[n]"}, {"x": "f32[n", "out": "f32[n]"}, ["x"],
                      {"x y": "f32[n]", "out": "f32[n]"}, {"x": 3, "out": "f32[n]"}, {"x": "f16[n]", "out": "f32[n]"},
                      {"x": "prepared", "out": "f32[n]"}, {"k": "size", "out": "f32[k]"}, {"x": "f32[n]", "out": "f32[n]?"},
                      {"x": "f32[a,b,c,d,e,f,g,h,i]", "out": "f32[a]"}):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match="my::A"):
            pc.register_operator("my::A", run, arguments)
    for function in (None, "run", 0, -1, True, lambda: 0):
        with pytest.raises((TypeError, ValueError), match="my::A"):
            pc.register_operator("my::A", function, good)
    for options in ({"attributes": {"z": 1}}, {"attributes": {"out": 1}}, {"version": -1}, {"version": "1"}):
        with pytest.raises(ValueError, match="my::A"):
            pc.register_operator("my::A", run, good, **options)
    with pytest.raises(ValueError, match="units must name a size"):
        pc.numba.operator("my::A", good, units="k")(lambda x, out: None)
    assert not operators.REGISTERED
