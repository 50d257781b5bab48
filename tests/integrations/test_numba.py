"""pycompress.numba: kernels inside compiled functions, against the same kernels outside of them."""

import subprocess
import sys
from importlib import import_module

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

import pycompress as pc
import pycompress.numba as pn
from pycompress import kernels, native

FEW = ("binary", "csrmm", "qgemm", "sgemm", "spmm")  # of each kind of argument


def compiled(name, given):
    """A compiled function of the arrays that calls the kernel with `given`, whose numbers and Nones it holds."""
    names = [arg.name for arg in kernels.spec(name).args]
    arrays = [n for n, x in zip(names, given) if isinstance(x, np.ndarray)]
    said = ", ".join(f"{n}={n if isinstance(x, np.ndarray) else x}" for n, x in zip(names, given))
    scope = {"pn": pn}
    exec(f"def call({', '.join(arrays)}):\n    pn.{name}({said})", scope)
    return numba.njit(scope["call"])


@pytest.mark.parametrize("name", FEW)
def test_a_compiled_call_gives_the_bytes_of_a_call_from_python(name):
    spec = kernels.spec(name)
    given = kernels.module(name).example(np.random.default_rng(0), **native.example_sizes(name))
    outputs = [i for i, arg in enumerate(spec.args) if arg.name in spec.outputs]
    want = [x.copy() if i in outputs else x for i, x in enumerate(given)]
    getattr(native, name)(*want)
    compiled(name, given)(*(x for x in given if isinstance(x, np.ndarray)))
    for i in outputs:
        np.testing.assert_array_equal(given[i], want[i])


@numba.njit
def product(a, w, bias, params, out):
    pn.sgemm(a, w, bias=bias, act_params=params, out=out)


def operands(m=5, k=7, n=20):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((n, k), np.float32)
    a, bias = rng.standard_normal((m, k), np.float32), rng.standard_normal(n, np.float32)
    return [a, kernels.module("sgemm").pack(W), bias, np.zeros(2, np.float32), np.empty((m, n), np.float32)], W


def test_what_breaks_the_contract_is_refused_at_the_call():
    (a, w, bias, params, out), W = operands()
    product(a, w, bias, params, out)
    np.testing.assert_allclose(out, a @ W.T + bias, rtol=1e-5, atol=1e-5)
    square = np.zeros((16, 16), np.float32)
    for change, word in [
        ((a[:, :6], w, bias, params, out), "w must be"), ((a, w, bias[:15], params, out), "out must be"),
        ((a, w, bias, params[:1], out), "act_params must be"), ((a[:4], w, bias, params, out), "out must be"),
        ((a[::-1], w, bias, params, out), "a must be"), ((a[:, ::-1], w, bias, params, out), "a must be"),
        ((square, np.zeros((1, 16, 16), np.float32), bias[:16], params, square), "out overlaps a"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"sgemm: {word}"):
            product(*(x for x in change))


def test_rows_may_lie_apart():
    (a, w, bias, params, out), W = operands()
    wide, far = np.zeros((5, 30), np.float32), np.zeros((5, 50), np.float32)
    wide[:, :7] = a
    product(wide[:, :7], w, bias, params, far[:, 10:30])
    np.testing.assert_allclose(far[:, 10:30], a @ W.T + bias, rtol=1e-5, atol=1e-5)
    assert not far[:, :10].any() and not far[:, 30:].any()


@numba.njit
def resampled(x, index, weight, out):
    pn.resample(x, index, weight, out)


@numba.njit
def activated(act, params, a, w, out):
    pn.sgemm(a, w, act=act, act_params=params, out=out)


def test_indices_and_sizes_out_of_range_are_refused():
    x, weight, out = np.ones((1, 3, 2), np.float32), np.ones((1, 1), np.float32), np.empty((1, 1, 2), np.float32)
    resampled(x, np.array([[2]], np.int32), weight, out)
    for bad in (3, -1, 2**31 - 1):
        with pytest.raises(ValueError, match=r"every value of index must be in \[0, r\)"):
            resampled(x, np.array([[bad]], np.int32), weight, out)
    (a, w, _, params, out), _ = operands()
    for act in (9, -1, 2**40):
        with pytest.raises(ValueError, match="act"):
            activated(act, params, a, w, out)


def test_wrong_types_are_refused_when_numba_compiles():
    (a, w, bias, params, out), _ = operands()
    for change in (
        (a.astype(np.float64), w, bias, params, out),
        (a[0], w, bias, params, out),
        (3, w, bias, params, out),
    ):
        with pytest.raises(TypingError, match=r"sgemm: a must be f32\[m:lda,k\]"):
            product(*change)
    out.setflags(write=False)
    with pytest.raises(TypingError, match="sgemm: out is read-only"):
        product(a, w, bias, params, out)
    with pytest.raises(TypingError, match="sgemm: w must be .* got None"):
        product(a, None, bias, params, a)


@numba.njit(parallel=True)
def many(a, w, bias, params, out):
    for i in numba.prange(len(a)):
        pn.sgemm(a[i], w, bias, 0, params, None, out[i])


def test_calls_may_run_side_by_side_in_prange():
    (a, w, bias, params, out), W = operands()
    a = np.random.default_rng(1).standard_normal((40, 5, 7), np.float32)
    out = np.empty((40, 5, 20), np.float32)
    many(a, w, bias, params, out)
    np.testing.assert_allclose(out, a @ W.T + bias, rtol=1e-5, atol=1e-5)


CACHED = """
import numpy as np, numba
import pycompress.numba as pn
from pycompress import kernels

@numba.njit(cache=True)
def product(a, w, params, out):
    pn.sgemm(a, w, act_params=params, out=out)

W = np.arange(12, dtype=np.float32).reshape(3, 4)
a, out = np.ones((2, 4), np.float32), np.empty((2, 3), np.float32)
try:
    product(a, kernels.module("sgemm").pack(W), np.zeros(2, np.float32), out)
    assert (out == a @ W.T).all()
except RuntimeError as error:
    print("refused", error)
print(sum(product.stats.cache_hits.values()), sum(product.stats.cache_misses.values()))
"""


def test_compiled_functions_are_cached_across_processes(tmp_path):
    (tmp_path / "cached.py").write_text(CACHED)
    told = [
        subprocess.run([sys.executable, "cached.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        for _ in range(2)
    ]
    assert [run.stdout.split() for run in told] == [["0", "1"], ["1", "0"]], told


def test_code_that_was_compiled_for_another_version_of_a_kernel_is_refused(tmp_path):
    other = "import pycompress.native as n\nn.sgemm.c = type('Other', (), {'version': 99})()\n"
    (tmp_path / "cached.py").write_text(CACHED.replace("import pycompress.numba", other + "import pycompress.numba"))
    run = subprocess.run([sys.executable, "cached.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "refused sgemm: this function was compiled for another version of pycompress" in run.stdout, run.stderr


def test_the_module_is_found_under_its_short_name():
    assert import_module("pycompress.numba").sgemm is pc.numba.sgemm
    assert set(kernels.NAMES) <= set(dir(pn))
