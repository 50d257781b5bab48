"""slots.Repeated: calls of known sizes give what the first gave, and nothing is taken that breaks the contract."""

import numpy as np
import pytest

from pycompress import kernels, native, slots
from pycompress._pcx import ffi, lib

SHORT = [name for name in kernels.NAMES if not any(arg.below for arg in kernels.spec(name).args)]


@pytest.mark.parametrize("name", SHORT)
def test_a_call_of_known_sizes_gives_what_the_first_gave(name):
    kernel, taken = getattr(native, name), 0
    for seed, (m, n, k) in enumerate([(1, 16, 32), (6, 3, 5), (7, 1, 1), (0, 5, 3)]):
        sizes = native.example_sizes(name, {**native.SIZES, "m": m, "n": n, "k": k})
        try:
            given = kernels.module(name).example(np.random.default_rng(seed), **sizes)
            values = native.arguments(kernel.spec, given, {})
            kernel.pack(values)
        except ValueError:  # no example of these sizes
            continue
        kernel(**values)
        want = {out: values[out].copy() for out in kernel.spec.outputs}
        again = {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in values.items()}
        for out in want:
            again[out].view(np.uint8).fill(7)
        try:
            assert kernel._again.call(ffi.NULL, **again) == lib.PCX_OK
        except KeyError:  # arrays that are not dense
            continue
        for out, x in want.items():
            np.testing.assert_array_equal(again[out], x)
        taken += 1
    assert taken or name not in ("binary", "dynquant", "qgemm", "sgemm", "softmax", "unary")
    if not taken:
        pytest.skip("its examples are not dense")


def test_kernels_with_bounded_values_are_checked_at_every_call():
    data, index, out = np.ones((3, 4), np.float32), np.array([0, 2], np.int32), np.empty((2, 4), np.float32)
    native.gather(data.view(np.uint8).reshape(1, 3, 16), index, out.view(np.uint8).reshape(1, 2, 16))
    index[1] = 3
    with pytest.raises(ValueError, match="index"):
        native.gather(data.view(np.uint8).reshape(1, 3, 16), index, out.view(np.uint8).reshape(1, 2, 16))


def test_no_more_sizes_are_kept_than_that():
    params, before = np.zeros(2, np.float32), slots.KEPT
    for n in range(1, before + 10):
        x = np.ones((1, n), np.float32)
        native.unary(x, 0, params, np.empty_like(x))
    assert len(native.unary._again._known) <= before


def test_whatever_breaks_the_contract_is_left_to_the_way_that_says_so():
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((4, 7), np.float32), kernels.module("sgemm").pack(np.ones((20, 7), np.float32))
    params, out, square = np.zeros(2, np.float32), np.empty((4, 20), np.float32), np.zeros((16, 16), np.float32)
    good = dict(a=a, w=w, bias=np.ones(20, np.float32), act=0, act_params=params, out=out)
    native.sgemm(**good)
    np.testing.assert_allclose(out, a @ np.ones((7, 20)) + 1, rtol=1e-5)
    locked, odd = out.copy(), np.zeros(out.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(out.shape)
    locked.setflags(write=False)
    for change in 2 * (
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
