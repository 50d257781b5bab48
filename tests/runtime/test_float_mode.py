"""Subnormal numbers count as zero within a run, on every thread; the caller's own float mode is as before when it returns."""

import ctypes
import platform

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pycompress as pc
from pycompress import native
from pycompress.kernels import module

FLUSH, MASKED, TOWARD_ZERO = 0x8040, 0x1F80, 0x6000  # bits of MXCSR
OFFSET = 28  # of MXCSR in glibc's fenv_t
x86 = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc", reason="the mode is read with glibc on x86-64"
)
NONE = np.zeros(2, np.float32)


@pytest.fixture
def mode():
    """Get and set this thread's MXCSR; it is restored."""
    libm = ctypes.CDLL("libm.so.6")
    before = ctypes.create_string_buffer(64)
    libm.fegetenv(before)

    def get():
        env = ctypes.create_string_buffer(64)
        libm.fegetenv(env)
        return int.from_bytes(env.raw[OFFSET : OFFSET + 4], "little")

    def put(value):
        env = ctypes.create_string_buffer(before.raw, 64)
        env[OFFSET : OFFSET + 4] = value.to_bytes(4, "little")
        libm.fesetenv(env)

    yield get, put
    libm.fesetenv(before)


def network(weights):
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"], transB=1), helper.make_node("Softmax", ["h"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [64, 256])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weights():
    return np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)


@x86
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("own", [MASKED, MASKED | TOWARD_ZERO, MASKED | FLUSH, MASKED | 0x20])
def test_a_run_leaves_the_mode_and_does_not_depend_on_it(mode, threads, own):
    get, put = mode
    session, x = pc.InferenceSession(network(weights()), pc.SessionOptions(threads)), weights()[:64]
    (want,) = session.run(None, {"x": x})
    y = np.empty_like(want)
    put(own)
    session.run(None, {"x": x}, out=[y])
    found = get()
    put(MASKED)
    assert found & 0xFFC0 == own & 0xFFC0 and found & own == own  # flags that were set stay set
    assert y.tobytes() == want.tobytes()


@x86
def test_a_call_of_a_kernel_leaves_the_mode(mode):
    get, put = mode
    x, y = np.full((4, 9), 1e-20, np.float32), np.empty((4, 9), np.float32)
    call = native.binary.ready(*[a.reshape(1, 1, 1, 1, 4, 9) for a in (x, x)], 2, 0, NONE, y.reshape(1, 1, 1, 1, 4, 9))
    put(MASKED | TOWARD_ZERO)
    call()
    found = get()
    put(MASKED)
    assert found == MASKED | TOWARD_ZERO  # not even a flag of the underflow is left
    assert not y.any()


@pytest.mark.parametrize("threads", [1, 4])
def test_subnormal_numbers_count_as_zero_on_every_thread(threads):
    (y,) = pc.InferenceSession(network(weights() * np.float32(1e-38)), pc.SessionOptions(threads)).run(
        None, {"x": weights()[:64]}
    )
    np.testing.assert_allclose(y, 1 / 256, 1e-6)
    x, w = np.full((500, 256), 1e-30, np.float32), np.full((256, 256), 1e-10, np.float32)
    y = np.empty((500, 256), np.float32)
    native.sgemm(x, module("sgemm").pack(w), None, 0, NONE, None, y)
    assert not y.any()
    assert np.float32(1e-30) * np.float32(1e-10) > 0  # but here


def test_copies_keep_subnormal_numbers():
    x = np.array([[1e-40, -1e-45, 1]], np.float32)
    y = np.empty((1, 2, 12), np.uint8)
    native.gather(x.view(np.uint8).reshape(1, 1, 12), np.zeros(2, np.int32), y)
    np.testing.assert_array_equal(y.view(np.float32)[0, 1], x[0])


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_small_numbers_of_16_bits_are_numbers(kind):
    pytest.importorskip("ml_dtypes")
    W = np.full((16, 4), 2.0**-24, np.float32)  # subnormal in float16, not in float32
    layer = pc.layers.HalfLinear.from_dense(W, dtype=kind)
    np.testing.assert_array_equal(layer(np.ones((2, 4), np.float32)), np.full((2, 16), 2.0**-22))


def test_integers_do_not_depend_on_subnormal_scales():
    rng = np.random.default_rng(0)
    values = module("qgemm").example(rng, 5, 17, 40, kind="u8")
    names = list(native.qgemm.spec.by_name)
    given = dict(zip(names, values))
    given["scale"] = np.full_like(given["scale"], 1e-40)
    native.qgemm(**given)
    np.testing.assert_array_equal(given["out"], np.clip(given["clamp"][0], *given["clamp"][1:]))
