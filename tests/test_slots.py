"""slots.writer: the short way of usual arguments gives what the contract gives, and takes nothing that breaks it."""

import numpy as np
import pytest

from pycompress import kernels, native
from pycompress._pcx import ffi

SHORT = [name for name in kernels.NAMES if not any(arg.below for arg in kernels.spec(name).args)]


@pytest.mark.parametrize("name", SHORT)
def test_the_slots_of_usual_arguments_are_those_of_the_contract(name):
    kernel, taken = getattr(native, name), 0
    for seed, (m, n, k) in enumerate([(1, 16, 32), (6, 3, 5), (7, 1, 1), (0, 5, 3)]):
        sizes = native.example_sizes(name, {**native.SIZES, "m": m, "n": n, "k": k})
        try:
            given = kernels.module(name).example(np.random.default_rng(seed), **sizes)
            want = list(kernel.pack(native.arguments(kernel.spec, given, {}))[0])
        except ValueError:  # no example of these sizes
            continue
        try:
            slots = kernel._write(*given)
        except Exception:  # left to the long way
            continue
        assert np.frombuffer(bytes(ffi.buffer(slots)), np.uint64).tolist() == want
        taken += 1
    assert taken or name not in ("binary", "dynquant", "qgemm", "sgemm", "softmax", "unary")
    if not taken:
        pytest.skip("its examples are not dense")


def test_whatever_breaks_the_contract_is_left_to_the_way_that_says_so():
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((4, 7), np.float32), kernels.module("sgemm").pack(np.ones((20, 7), np.float32))
    params, out, square = np.zeros(2, np.float32), np.empty((4, 20), np.float32), np.zeros((16, 16), np.float32)
    good = dict(a=a, w=w, bias=np.ones(20, np.float32), act=0, act_params=params, out=out)
    native.sgemm(**good)
    np.testing.assert_allclose(out, a @ np.ones((7, 20)) + 1, rtol=1e-5)
    locked, odd = out.copy(), np.zeros(out.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(out.shape)
    locked.setflags(write=False)
    for change in (
        {"a": a[:3]}, {"a": a.astype(np.float64)}, {"a": a[:, :6]}, {"a": a.tolist()}, {"a": None}, {"w": w[:, :6]},
        {"bias": np.ones(19, np.float32)}, {"act": 9}, {"act": -1}, {"act": 2**70}, {"act": 1.0}, {"act_params": params[:1]},
        {"out": locked}, {"out": odd}, {"out": out.T}, {"a": square, "w": square[None], "out": square, "bias": None},
        {"residual": np.zeros((4, 19), np.float32)}, {"a": a[0]}, {"a": a.astype(">f4")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="sgemm"):
            native.sgemm(**(good | change))
    with pytest.raises(TypeError, match="sgemm"):
        native.sgemm(**good, other=1)
    with pytest.raises(TypeError, match="sgemm"):
        native.sgemm(*range(20))


def test_an_elementwise_kernel_still_writes_over_its_input():
    x = np.array([[-1, 2]], np.float32)
    native.unary(x, 0, np.zeros(2, np.float32), x)
    assert x.shape == (1, 2)
