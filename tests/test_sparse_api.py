"""pc.spmm and SparseLinear against SciPy, and what they refuse."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import pycompress as pc
from pycompress import sparse
from pycompress.layers import SparseLinear

few = settings(max_examples=60, deadline=None, derandomize=True)
size = st.integers(0, 70)


def close(got, A, X):
    """Within the bound of a sum in any order."""
    reach = abs(A).astype(np.float64) @ np.abs(X).astype(np.float64)
    np.testing.assert_array_less(np.abs(got - A.astype(np.float64) @ X.astype(np.float64)), reach * 1e-5 + 1e-12)


@few
@given(size, size, size, st.sampled_from([np.float32, np.float64]), st.sampled_from([np.int32, np.int64]),
       st.booleans(), st.sampled_from(["C", "F", "strided", "reversed"]), st.integers(1, 3))  # fmt: skip
def test_products_equal_scipy_s(m, k, n, dtype, itype, shuffled, order, threads):
    rng = np.random.default_rng(m * 5041 + k * 71 + n)
    A = sp.random_array((m, k), density=0.3, format="csr", dtype=dtype, rng=rng)
    A.indptr, A.indices = A.indptr.astype(itype), A.indices.astype(itype)
    if shuffled and A.nnz:  # duplicates, in any order
        rows = np.repeat(np.arange(m), np.diff(A.indptr))
        both = np.argsort(np.concatenate([rows, rows]) + rng.random(2 * A.nnz) * 0.9, kind="stable")
        A = sp.csr_array(
            (np.tile(A.data, 2)[both], np.tile(A.indices, 2)[both], (2 * A.indptr).astype(itype)), shape=(m, k)
        )
    X = rng.standard_normal((k, n)).astype(dtype)
    X = {"C": X, "F": np.asfortranarray(X), "strided": np.repeat(X, 2, 1)[:, ::2], "reversed": X[::-1]}[order]
    got = pc.spmm(A, X, num_threads=threads)
    assert got.dtype == dtype and got.flags.c_contiguous
    close(got, A, X)
    if n:
        close(pc.spmm((A.indptr, A.indices, A.data, A.shape), X[:, 0]), A, X[:, 0])


def test_bsr_and_out():
    rng = np.random.default_rng(0)
    A = sp.random_array((32, 48), density=0.2, format="csr", dtype=np.float32, rng=rng)
    X, out = rng.standard_normal((48, 5), np.float32), np.empty((32, 5), np.float32)
    assert pc.spmm(A.tobsr((4, 4)), X, out) is out
    close(out, A, X)


def test_arrays_that_are_not_aligned_or_not_contiguous_are_taken():
    rng = np.random.default_rng(0)

    def apart(x):
        raw = np.zeros(x.nbytes + 1, np.uint8)
        view = raw[1:].view(x.dtype).reshape(x.shape)
        view[...] = x
        return view

    A = sp.random_array((30, 20), density=0.3, format="csr", dtype=np.float32, rng=rng)
    X = rng.standard_normal((20, 9), np.float32)
    twice = [np.repeat(x, 2)[::2] for x in (A.indptr, A.indices, A.data)]
    close(pc.spmm((*twice, A.shape), X), A, X)
    for columns in (X, X[:, :1], X[:, 0], X[:, ::-1], np.broadcast_to(X[:, :1], X.shape), X.T.copy().T):
        close(pc.spmm((apart(A.indptr), apart(A.indices), apart(A.data), A.shape), apart(columns)), A, columns)
        close(pc.spmm(A, columns), A, columns)
    for x in (A.indptr, A.indices, A.data, X):
        x.setflags(write=False)
    close(pc.spmm(A, X), A, X)
    layer = SparseLinear.from_scipy(A)
    np.testing.assert_array_equal(layer(apart(X.T.copy())), layer(X.T))


FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_every_format_of_scipy_is_taken_and_so_is_its_transpose(form, kind):
    rng = np.random.default_rng(0)
    A = sp.random_array((12, 20), density=0.3, format="csr", dtype=np.float32, rng=rng)
    A = getattr(sp, f"{form}_{kind}")(A)
    X, Y = rng.standard_normal((20, 5), np.float32), rng.standard_normal((12, 3), np.float32)
    close(pc.spmm(A, X), A, X)
    close(pc.spmm(A.T, Y), A.T, Y)
    x = rng.standard_normal((2, 20), np.float32)
    np.testing.assert_allclose(SparseLinear.from_scipy(A)(x), x @ A.toarray().T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("a, x, want", [
    ("f4", "f4", "f4"), ("f4", "f8", "f8"), ("f8", "f4", "f8"), ("i4", "f4", "f8"), ("i1", "f4", "f4"), ("?", "f4", "f4"),
    ("f4", "i8", "f8"), ("f4", "f2", "f4"), ("i8", "i8", "f8"), (">f4", "f4", "f4"),
])  # fmt: skip
def test_operands_of_other_types_are_promoted_as_numpy_promotes_them(a, x, want):
    A = sp.csr_array(np.array([[1, 0, 3], [0, 2, 0]], np.float32))
    A = (A.indptr, A.indices.astype(np.int64), A.data.astype(a), A.shape)  # index types of two sizes, too
    X = np.arange(6).reshape(3, 2).astype(x)
    got = pc.spmm(A, X)
    assert got.dtype == np.dtype(want)
    np.testing.assert_array_equal(
        got, np.array([[1, 0, 3 * (a != "?") or 1], [0, 2 * (a != "?") or 1, 0]]) @ X.astype("f8")
    )


def test_vectors_of_scipy_are_no_matrices():
    with pytest.raises(ValueError, match="must be a matrix, got shape"):
        pc.spmm(sp.coo_array(np.ones(3)), np.ones(3))


class Exported:
    """An array of another library: its memory by DLPack alone."""

    def __init__(self, x, device=None):
        self.x, self.device = x, device

    def __dlpack__(self, **options):
        if self.device:
            raise BufferError("it is on another device")
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device or self.x.__dlpack_device__()


@pytest.mark.parametrize("share", [Exported, memoryview], ids=["dlpack", "buffer"])
def test_arrays_of_other_libraries_are_read_and_written_in_place(share):
    rng = np.random.default_rng(0)
    A = sp.random_array((6, 8), density=0.5, format="csr", dtype=np.float32, rng=rng)
    X, layer = rng.standard_normal((8, 3), np.float32), SparseLinear.from_scipy(A)
    np.testing.assert_array_equal(pc.spmm(A, share(X)), pc.spmm(A, X))
    x = X.T.copy()
    np.testing.assert_array_equal(layer(share(x)), layer(x))
    out = np.zeros((3, 6), np.float32)
    given = share(out)
    if share is Exported and tuple(map(int, np.__version__.split(".")[:2])) < (2, 1):
        return  # NumPy cannot tell that it may write there
    assert layer(x, given) is given and pc.spmm(A, X, share(y := np.zeros((6, 3), np.float32))) is not None
    np.testing.assert_array_equal(out, layer(x))
    np.testing.assert_array_equal(y, pc.spmm(A, X))


def test_what_is_no_array_on_this_machine_is_refused():
    layer = SparseLinear.from_dense(np.eye(3))
    for bad in (Exported(np.ones(3, np.float32), (2, 0)), b"abc", "abc", None, [1.0, 2.0, 3.0]):
        with pytest.raises(TypeError, match="SparseLinear: x must be an array"):
            layer(bad)
        with pytest.raises(TypeError, match="spmm: X must be an array"):
            pc.spmm(GOOD, bad)


def test_tensors_of_torch_are_read_and_written_in_place():
    torch = pytest.importorskip("torch")
    layer, x, out = SparseLinear.from_dense(np.eye(3)), torch.arange(3.0), torch.zeros(3)
    assert layer(x, out) is out and out.tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match="x must be an array on the CPU, got Parameter.*requi"):
        layer(torch.nn.Parameter(x))


GOOD = (np.array([0, 2, 3]), np.array([0, 3, 1]), np.ones(3, np.float32), (2, 4))


@pytest.mark.parametrize("change", [
    {0: np.array([1, 2, 3])}, {0: np.array([0, 3, 2])}, {0: np.array([0, 2, 4])}, {0: np.array([0, 2])},
    {0: np.array([0, -1, 3])}, {0: np.array([0, 2**62, 3])}, {1: np.array([0, 4, 1])}, {1: np.array([0, -1, 1])},
    {1: np.array([0, 2**32, 1])}, {1: np.array([0, 3])}, {2: np.ones(2, np.float32)}, {3: (2, 3)}, {3: (2,)},
    {3: (2, float("nan"))}, {3: (-1, 4)}, {3: (2**40, 4)}, {3: (2, 2**40)}, {0: [0, 2, 3]}, {1: np.array([0.0, 3, 1])},
    {2: np.ones(3, np.complex64)}, {2: np.ones(3, np.longdouble)}, {2: np.ones((3, 1), np.float32)}, {0: np.array([0, 2, 3], ">i8")},
])  # fmt: skip
def test_matrices_that_lie_are_refused(change):
    A = tuple(change.get(i, x) for i, x in enumerate(GOOD))
    for kind in (np.int64, np.int32):
        try:
            B = tuple(x.astype(kind) if i < 2 and x.dtype == np.int64 else x for i, x in enumerate(A))
        except AttributeError:
            B = A
        if kind == np.int32 and any(np.abs(x).max() > 2**31 for x in A[:2] if isinstance(x, np.ndarray)):
            continue
        with pytest.raises((ValueError, TypeError), match="A"):
            pc.spmm(B, np.ones((4, 2), np.float32))
        with pytest.raises((ValueError, TypeError)):
            SparseLinear.from_scipy(B)


def test_what_does_not_fit_is_refused():
    X = np.ones((4, 2), np.float32)
    assert pc.spmm(GOOD, X).shape == (2, 2)
    for A, x, word in [
        (GOOD, X.astype(np.complex64), "neither"), (GOOD, X.astype("O"), "neither"), (GOOD, X[:3], "4 rows"), (GOOD, [[1.0]], "array"),
        (GOOD, X[None], "4 rows"), (np.eye(4), X, "scipy.sparse"), (GOOD[:3], X, "3 items"),
    ]:  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=word):
            pc.spmm(A, x)
    for out in (np.empty((2, 3), np.float32), np.empty((2, 2)), np.empty((2, 2), np.float32, "F"), X[:2]):
        with pytest.raises(ValueError, match="out"):
            pc.spmm(GOOD, X, out)
    with pytest.raises(ValueError, match="num_threads"):
        pc.spmm(GOOD, X, num_threads=0)


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 5), (70,), (0,)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_layer_takes_any_leading_dimensions(lead, threads):
    rng = np.random.default_rng(0)
    W = rng.standard_normal((37, 130), np.float32) * (rng.random((37, 130)) < 0.2)
    bias, x = rng.standard_normal(37, np.float32), rng.standard_normal((*lead, 130), np.float32)
    for layer in (SparseLinear.from_dense(W, bias), SparseLinear.from_scipy(sp.csr_array(W), bias)):
        y = layer(x, num_threads=threads)
        assert y.shape == (*lead, 37)
        np.testing.assert_allclose(y, x @ W.T + bias, rtol=1e-4, atol=1e-4)
        out = np.empty_like(y)
        assert layer(x, out) is out
        np.testing.assert_array_equal(out, y)
        np.testing.assert_array_equal(layer.dense(), W)
        assert layer.shape == W.shape and layer.density == np.count_nonzero(W) / W.size
        assert layer.nbytes >= 6 * np.count_nonzero(W)


def test_a_layer_refuses_what_does_not_fit():
    layer = SparseLinear.from_dense(np.eye(3))
    np.testing.assert_array_equal(layer(np.arange(3, dtype=np.float32)), [0, 1, 2])
    for x in (np.ones(4, np.float32), np.ones(3), [1, 2, 3], np.float32(1)):
        with pytest.raises((TypeError, ValueError), match="SparseLinear"):
            layer(x)
    for bad in (lambda: SparseLinear.from_dense(np.ones(3)), lambda: SparseLinear.from_dense(np.eye(3), np.ones(2)),
                lambda: SparseLinear.from_dense(np.zeros((1, 65537)))):  # fmt: skip
        with pytest.raises(ValueError, match="SparseLinear"):
            bad()
    assert SparseLinear.from_dense(np.zeros((4, 5)), np.ones(4))(np.ones(5, np.float32)).tolist() == [1] * 4


def test_nothing_that_kernels_rely_on_can_be_replaced_or_changed_from_outside():
    W, bias = np.eye(3, dtype=np.float32), np.ones(3, np.float32)
    layer = SparseLinear.from_dense(W, bias)
    bias[:] = 7
    layer.bias[:] = 7
    np.testing.assert_array_equal(layer(np.zeros(3, np.float32)), [1, 1, 1])
    for name in ("bias", "shape"):
        with pytest.raises(AttributeError):
            setattr(layer, name, None)
    with pytest.raises(ValueError, match="index be in"):
        SparseLinear(np.array([0, 1]), np.array([5]), np.ones(1, np.float32), 3)


def test_results_are_not_written_over_the_matrix_that_is_read():
    indptr, indices, data = np.array([0, 1, 2], np.int32), np.array([0, 1], np.int32), np.ones(2, np.float32)
    for held in (indices.view(np.float32), data):
        with pytest.raises(ValueError, match="overlaps"):
            pc.spmm((indptr, indices, data, (2, 2)), np.ones(2, np.float32), held)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 2, 70])
@pytest.mark.parametrize("cpu", ["scalar", None])
def test_indices_that_change_after_their_check_stay_in_range(dtype, columns, cpu, monkeypatch):
    rng = np.random.default_rng(0)
    indptr, indices = np.array([0, 40, 41, 600], np.int32), rng.integers(0, 9, 600).astype(np.int32)
    data, X = rng.standard_normal(600).astype(dtype), rng.standard_normal((9, columns)).astype(dtype)
    wild, last = indices.copy(), indptr.copy()
    wild[::7], wild[5::11], last[-1] = 2**31 - 1, -1, 2**31 - 1
    clamped = np.where((wild < 0) | (wild > 8), 8, wild)
    if cpu:
        monkeypatch.setattr(sparse, "call_mask", lambda: 0)
    want = pc.spmm((indptr, clamped, data, (3, 9)), X)
    monkeypatch.setattr(sparse, "csr", lambda A, _: (last, wild, data, (3, 9)))
    np.testing.assert_array_equal(pc.spmm(None, X), want)
