"""qspmm: exact on every ISA, whatever the weights and wherever their zeros."""

import numpy as np
import pytest

import handmade
from fence import fenced, fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("qspmm")
isas = pytest.mark.parametrize("isa", native.qspmm.impls())
SIZES = [
    (1, 1, 1), (2, 16, 4), (7, 17, 5), (8, 15, 16), (9, 40, 64), (13, 33, 7), (49, 16, 33), (65, 20, 130),
    (100, 31, 23), (130, 24, 1030), (3, 50, 2100), (16, 33, 9), (129, 34, 40), (190, 18, 70), (64, 9, 260),
]  # fmt: skip


def run(isa, args):
    args = fenced_all(args)
    args[-1][...] = 77
    native.qspmm(*args, isa=isa)
    return args[-1]


def expected(args):
    args = [*args[:-1], args[-1].copy()]
    ref.qspmm(*args)
    return args[-1]


def plain(a, w, azp=0, kind="i32", **tail):
    """Arguments for a and dense w as they are, sums out."""
    m, n = a.shape[0], w.shape[0]
    packed = ref.pack(w)
    values = ref.epilogue(np.random.default_rng(0), m, n, kind) | {"bias": None} | tail
    zero = np.broadcast_to(np.array([azp], np.int32), (m,))
    return [a, zero, packed.rows, packed.index, packed.w, packed.colsum, *values.values()]


def by_units(isa, args, order):
    """Run unit by unit in the given order, with nothing prepared."""
    slots, _ = native.qspmm.pack(dict(zip((a.name for a in native.qspmm.spec.args), args)))
    impl = native.qspmm.impl(isa)
    scratch = fenced(np.full(-(-max(impl.scratch(slots) if impl.scratch else 0, 1) // 64) * 64, 255, np.uint8))
    for u in order(impl.units(slots)).tolist():
        impl.run(slots, u, u + 1, native.ffi.cast("void *", scratch.ctypes.data))
    return args[-1]


def exact(isa, a, w, azp=0):
    """Sums of dense w are right, with and without int16 accumulation."""
    want = (a.astype(int) - azp) @ w.T.astype(int)
    np.testing.assert_array_equal(run(isa, plain(a, w, azp)), want)
    np.testing.assert_array_equal(by_units(isa, plain(a, w, azp), np.arange), want)


def extremes(w):
    """The u8 inputs that give each row of w its maximum and its minimum sum."""
    return np.concatenate([np.where(w > 0, 255, 0), np.where(w < 0, 255, 0), np.full((1, w.shape[1]), 255)]).astype(
        np.uint8
    )


def test_reference_means_matmul():
    rng = np.random.default_rng(0)
    a, w = rng.integers(0, 256, (5, 27)).astype(np.uint8), ref.sparse(rng, 17, 27, 0.5, 128)
    np.testing.assert_array_equal(expected(plain(a, w, 7)), (a.astype(int) - 7) @ w.T.astype(int))


@pytest.mark.parametrize("n,k", [(1, 1), (0, 5), (3, 0), (7, 30), (20, 64)])
def test_pack_keeps_the_blocks_that_are_not_zero(n, k):
    w = ref.sparse(np.random.default_rng(n), n, k, 0.4, 128)
    w[: n // 2, 2:5] = 0
    packed = ref.pack(w)
    full = np.zeros((n, -(-k // 4), 4), np.int8)
    for j in range(n):
        at = slice(packed.rows[j], packed.rows[j + 1])
        full[j, packed.index[at]] = packed.w[at]
    np.testing.assert_array_equal(full.reshape(n, full.shape[1] * 4)[:, :k], w)
    assert packed.w.any(1).all() and packed.colsum.tolist() == w.sum(1, dtype=int).tolist()
    for j in range(n):
        P, N = (np.maximum(s * full[j].astype(int), 0).reshape(-1, 2).sum(1) for s in (1, -1))
        assert packed.fits[j] == (max(P.max(initial=0), N.max(initial=0)) <= 128)


@isas
@pytest.mark.parametrize("density,limit", [(0.25, 64), (0.6, 128), (1, 9), (0, 64)])
@pytest.mark.parametrize("m,n,k", SIZES)
def test_equals_reference(isa, m, n, k, density, limit):
    args = ref.example(np.random.default_rng(m), m, n, k, density, limit)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 1, 0), ("u8", 0, 1), ("u8", 1, 1), ("i32", 0, 0), ("f32", 0, 0)])
@pytest.mark.parametrize("m,n", [(1, 3), (7, 16), (13, 35), (14, 24), (33, 40)])
def test_every_epilogue_equals_reference(isa, kind, lut, residual, m, n):
    args = ref.example(np.random.default_rng(n), m, n, 21, kind=kind, lut=lut, residual=residual)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("clamp", [(0, 0, 255), (3, 0, 255), (0, 7, 200)])
@pytest.mark.parametrize("scale", [0.004, 0.5, 3e9, -1.5, np.nan])
def test_every_clamp_and_scale(isa, clamp, scale):
    args = ref.example(np.random.default_rng(1), 30, 32, 40)
    args[7] = np.where(np.arange(32) % 3, args[7], np.float32(scale))
    args[8] = np.array(clamp, np.int32)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind", ("u8", "i32"))
def test_zero_points_of_rows(isa, kind):
    rng = np.random.default_rng(3)
    args = ref.example(rng, 35, 18, 22, kind=kind)
    args[1] = rng.integers(0, 256, 35).astype(np.int32)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("pair", [(127, 127), (-128, -128), (127, 1), (-128, 0), (64, 64), (-64, -65), (127, -128)])
@pytest.mark.parametrize("k", (4, 6, 64, 100))
def test_weights_at_and_beyond_the_bound_stay_exact_at_every_extreme(isa, pair, k):
    w = np.where(np.arange(k) % 2, pair[1], pair[0]).astype(np.int8) * np.ones((3, 1), np.int8)
    w[1, ::3] = 0
    w[2, 1::4] //= 4
    exact(isa, extremes(w), w)


@isas
@pytest.mark.parametrize("sigma", (3, 20, 40, 80))
@pytest.mark.parametrize("m,k", ((1, 64), (2, 97), (6, 640), (13, 30), (70, 300)))
def test_any_weights_stay_exact_at_every_extreme(isa, sigma, m, k):
    rng = np.random.default_rng(sigma)
    w = np.clip(np.rint(rng.normal(0, sigma, (21, k))), -128, 127).astype(np.int8)
    w *= (rng.random((21, -(-k // 4))) < 0.4).repeat(4, 1)[:, :k]
    w[4] = 0
    a = np.concatenate([extremes(w), rng.integers(0, 256, (m, k)).astype(np.uint8)])
    exact(isa, a, w, 3)
    exact(isa, a[-m:], w, 3)


@isas
def test_full_range_weights_and_the_largest_k(isa):
    k = 65536
    w = np.array([[-128], [127]], np.int8).repeat(k, 1)
    exact(isa, np.full((7, k), 255, np.uint8), w)


@isas
@pytest.mark.parametrize("m,n,k", [(500, 40, 70), (49, 100, 40), (0, 5, 5), (5, 0, 5), (5, 5, 0)])
def test_any_split_of_the_work_prepared_or_not_gives_the_same_answer(isa, m, n, k):
    rng = np.random.default_rng(2)
    args = ref.example(rng, m, n, k)
    whole = run(isa, args)
    np.testing.assert_array_equal(by_units(isa, args, rng.permutation), whole)


def test_missing_parts_of_the_epilogue_write_zeros():
    for isa in native.qspmm.impls():
        args = ref.example(np.random.default_rng(3), 3, 18, 5)
        args[7] = None
        assert not run(isa, args).any()


def test_strided_rows_and_shared_rows():
    rng = np.random.default_rng(4)
    for k in (9, 37):
        w = ref.sparse(rng, 20, k, 0.7)
        wide = rng.integers(0, 256, (18, 64)).astype(np.uint8)
        flat = rng.integers(0, 256, 160).astype(np.uint8)
        views = [wide[:, -k:], np.broadcast_to(wide[0, -k:], (18, k))]
        views += [np.lib.stride_tricks.as_strided(flat[-k - 17 * s :], (18, k), (s, 1)) for s in (1, 2, 3, 4)]
        for isa in native.qspmm.impls():
            for a in views:
                args = plain(a, w)
                native.qspmm(*args, isa=isa)
                np.testing.assert_array_equal(args[-1], a.astype(int) @ w.T.astype(int))


@isas
def test_rows_that_run_backwards_or_overlap_sum_what_they_name(isa):
    """Plans may say so: the sums are those of the blocks named, and nothing outside the arrays is touched."""
    rng = np.random.default_rng(5)
    args = fenced_all(ref.example(rng, 20, 33, 50, 0.5, kind="i32"))
    blocks = len(args[3])
    args[2][...] = rng.integers(0, blocks + 1, 34)
    args[2][:6] = 0, blocks, 0, blocks, blocks, 3
    a, w = args[0].astype(int), args[4].astype(int)
    want = np.zeros((20, 33), int)
    for j in range(33):
        for b in range(args[2][j], args[2][j + 1]):
            at = slice(4 * args[3][b], min(4 * args[3][b] + 4, 50))
            want[:, j] += a[:, at] @ w[b, : at.stop - at.start]
    want += args[6] - 77 * args[5]
    np.testing.assert_array_equal(run(isa, args), want)
    np.testing.assert_array_equal(by_units(isa, args, np.arange), want)


def test_steps_share_what_is_prepared_only_with_the_same_rows_and_index():
    args = ref.example(np.random.default_rng(6), 20, 18, 60, 0.5)
    args[1] = np.zeros(20, np.int32)  # sums of columns would be others, too
    graph, tensors, arrays = handmade.program_of("qspmm", args, ["a"])
    names = [n for n, _ in native.qspmm.spec.slots]
    other = {"rows": args[2][::-1].copy(), "index": args[3][::-1].copy()}
    program = graph["programs"][0]
    first = program["steps"][0]
    for name, x in other.items():
        tensors[f"other_{name}"] = x
        graph["tensors"].append(f"other_{name}")
        step = list(first)
        step[1 + names.index(name)] = [1, len(graph["tensors"]) - 1, 0]
        graph["programs"].append({**program, "steps": [step]})
    session = handmade.build(graph, tensors).session()
    for i, change in enumerate(({}, *({name: x} for name, x in other.items()))):
        values = [change.get(a.name, x) for a, x in zip(native.qspmm.spec.args, args)]
        np.testing.assert_array_equal(session.run(arrays, i)[0], expected(values))


@pytest.mark.parametrize("name,value", [("rows", -1), ("rows", 10**6), ("index", 15)])
def test_rows_and_index_beyond_their_bounds_are_refused(name, value):
    args = ref.example(np.random.default_rng(7), 4, 18, 60, 0.5)
    graph, tensors, _ = handmade.program_of("qspmm", args, ["a"])
    tensors[name] = tensors[name].copy()
    tensors[name][5] = value
    with pytest.raises(handmade.Refused, match=name):
        handmade.build(graph, tensors).session()
    args[2 if name == "rows" else 3] = tensors[name]
    with pytest.raises(ValueError, match=f"every value of {name}"):
        native.qspmm(*args)
