"""qdwconv: exact on every ISA, whatever the weights."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("qdwconv")
isas = pytest.mark.parametrize("isa", native.qdwconv.impls())
windows = pytest.mark.parametrize("T", (0, 1, 3, 7))
SIZES = [  # b, ih, iw, c, kernel, stride, dilation, pads
    (1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 9, 11, 32, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 10, 21, 33, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 7, 7, 100, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    (1, 12, 9, 64, (5, 5), (2, 2), (1, 1), (1, 1, 2, 2)),
    (2, 5, 6, 5, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 9, 13, 24, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (1, 3, 3, 40, (7, 7), (1, 1), (1, 1), (6, 6, 6, 6)),  # pads larger than the image
    (1, 3, 3, 31, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
    (1, 60, 5, 3, (1, 9), (1, 1), (1, 1), (0, 4, 0, 4)),
    # groups of 64, 32 and 16 channels: 64 + 16; 16; 64 + 32; 32 + 16; 64 + 64 + 64 that overlap; strips of 28 pixels
    (1, 7, 30, 80, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 4, 57, 16, (3, 3), (1, 1), (1, 1), (0, 1, 1, 1)),
    (1, 9, 31, 96, (5, 5), (2, 2), (1, 1), (2, 2, 2, 2)),
    (1, 5, 33, 48, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    (2, 8, 8, 176, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    (1, 12, 9, 48, (3, 3), (2, 1), (2, 1), (2, 1, 2, 1)),  # lines of output as far apart as rows of the kernel
    (1, 9, 8, 24, (3, 3), (2, 1), (1, 1), (1, 1, 1, 1)),
]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def run(isa, args):
    args = fenced_all(args)
    args[-1][...] = 77
    native.qdwconv(*args, isa=isa)
    return args[-1]


def expected(args):
    args = [*args[:-1], args[-1].copy()]
    ref.qdwconv(*args)
    return args[-1]


@sizes
def test_reference_means_depthwise_convolution(size):
    args = ref.example(np.random.default_rng(0), *size, kind="i32", T=0)
    x, (zero,), w, kh, kw, sh, sw, dh, dw, pt, pl, colsum, *_, out = args
    oh, ow = out.shape[1:3]
    np.testing.assert_array_equal(colsum, w.sum(0, dtype=int))
    padded = np.pad(x.astype(int) - zero, ((0, 0), (pt, oh * sh + kh * dh), (pl, ow * sw + kw * dw), (0, 0)))
    total = np.zeros(out.shape, int) + args[13]
    for ky in range(kh):
        for kx in range(kw):
            total += padded[:, ky * dh :, kx * dw :][:, : oh * sh : sh, : ow * sw : sw] * w[ky * kw + kx].astype(int)
    np.testing.assert_array_equal(expected(args), total)


@isas
@sizes
@windows
def test_equals_reference(isa, size, T):
    args = ref.example(np.random.default_rng(1), *size, T=T)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("k", (3, 5))
@pytest.mark.parametrize("stride", (1, 2))
@pytest.mark.parametrize("width", (128, 131, 400))
def test_lines_of_any_length(isa, k, stride, width):
    args = ref.example(np.random.default_rng(6), 1, k, width, 36, (k, k), (stride, stride), pads=(1, 2, 1, 2), T=7)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("k", (3, 5))
@pytest.mark.parametrize("bias", (0, 2**22 - 2**18, 2**22, 2**24 + 1, 2**30))
@pytest.mark.parametrize("clamp", ((0, 0, 255), (0, 0, 200), (3, 7, 255)))
@pytest.mark.parametrize("scale", (1e-7, 0.01, 3.0))
def test_sums_of_any_size_and_every_clamp(isa, k, bias, clamp, scale):
    rng = np.random.default_rng(7)
    args = ref.example(rng, 1, 5, 9, 64, (k, k), pads=(k // 2,) * 4, T=7)
    names = [a.name for a in native.qdwconv.spec.args]
    args[names.index("bias")][...] = bias + rng.integers(-300, 300, 64)
    args[names.index("bias")][::3] *= -1
    args[names.index("scale")][...] = (scale * rng.uniform(0.5, 1, 64)).astype(np.float32)
    args[names.index("clamp")][...] = clamp
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 0, 1), ("u8", 1, 1), ("f32", 0, 0), ("i32", 0, 0)])
@pytest.mark.parametrize("c", (3, 50, 80))
@pytest.mark.parametrize("low", (None, -128, -100000))
def test_every_epilogue_and_zero_points_of_weights(isa, kind, lut, residual, c, low):
    rng = np.random.default_rng(c)
    args = ref.example(rng, 2, 9, 17, c, kind=kind, lut=lut, residual=residual)
    if low:
        args[12] = rng.integers(low, 128, c).astype(np.int32)
    np.testing.assert_array_equal(run(isa, args), expected(args))


def at_the_bound(T, kernel):
    """Channels whose pairs sum to 128, or -128, or both nearly, and whose windows sum to 256."""
    place = np.argsort(ref.order(kernel))  # of each tap
    within = place % (2 * T)
    rows = []
    for first, second in ((127, 1), (-128, 0), (64, 64), (-64, -64), (127, -128), (-1, -127)):
        row = np.where(place % 2, second, first)
        full = 2 if T == 1 or first * second < -128 else 4
        rows += [np.where(within < full, row, 0), np.where(within >= 2 * T - full, row, 0)]
    return np.array(rows, np.int8)


@isas
@pytest.mark.parametrize("T", (1, 3, 7))
@pytest.mark.parametrize("kernel", ((1, 2), (3, 3), (5, 5), (3, 4)))
def test_weights_at_the_bound_stay_exact_at_every_extreme(isa, T, kernel):
    """One window's pixels are the taps: 255 where a weight is positive, where it is negative, and everywhere."""
    taps = kernel[0] * kernel[1]
    w = at_the_bound(T, kernel)
    assert ref.fits(w, T, kernel).all()
    for channels in (*(w[i : i + 1] for i in range(len(w))), w, np.tile(w, (3, 1))):
        packed = ref.pack(channels.reshape(-1, *kernel))
        assert (packed.T >= T).all() or taps <= 2
        x = np.stack([np.where(channels > 0, 255, 0), np.where(channels < 0, 255, 0), np.full(channels.shape, 255)])
        x = np.ascontiguousarray(x.transpose(0, 2, 1).reshape(3, *kernel, -1).astype(np.uint8))
        args = ref.example(np.random.default_rng(0), *x.shape, kernel, pads=(0, 0, 0, 0), kind="i32")
        args[0], args[1], args[2], args[11], args[13] = x, np.zeros(1, np.int32), packed.w, packed.colsum, None
        want = (x.reshape(3, taps, -1).astype(int) * packed.w).sum(1)
        np.testing.assert_array_equal(run(isa, args).reshape(want.shape), want)


@isas
def test_full_range_weights_are_exact(isa):
    w = np.full((33, 3, 3), -128, np.int8)
    w[1::2] = 127
    packed = ref.pack(w)
    args = ref.example(np.random.default_rng(0), 1, 5, 5, 33, kind="i32")
    args[0][...], args[2], args[11] = 255, packed.w, packed.colsum
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("ldx", (0, 1, 7, 16, 32, 90))
@pytest.mark.parametrize("c", (5, 40))
def test_pixels_of_any_stride(isa, ldx, c):
    args = ref.example(np.random.default_rng(3), 1, 12, 14, c)
    flat = fenced_all([np.random.default_rng(4).integers(0, 256, (12 * 14 - 1) * ldx + c).astype(np.uint8)])[0]
    args[0] = np.lib.stride_tricks.as_strided(flat, (1, 12, 14, c), (12 * 14 * ldx, 14 * ldx, ldx, 1))
    native.qdwconv(*args, isa=isa)
    np.testing.assert_array_equal(args[-1], expected([args[0].copy(), *args[1:]]))


@isas
@pytest.mark.parametrize("size", SIZES[1:4], ids=str)
def test_any_split_of_the_work_prepared_or_not_gives_the_same_answer(isa, size):
    rng = np.random.default_rng(2)
    args = ref.example(rng, *size)
    whole = run(isa, args)
    slots, _ = native.qdwconv.pack(dict(zip((a.name for a in native.qdwconv.spec.args), args)))
    impl = native.qdwconv.impl(isa)
    scratch = native.aligned(max(impl.scratch(slots) if impl.scratch else 0, 1), np.uint8)
    for u in rng.permutation(impl.units(slots)).tolist():
        impl.run(slots, u, u + 1, native.ffi.cast("void *", scratch.ctypes.data))
    np.testing.assert_array_equal(args[-1], whole)


@pytest.mark.parametrize("kernel", ((3, 3), (5, 5), (4, 2), (1, 3), (3, 1)))
def test_rows_pair_up_and_then_columns_of_a_last_row(kernel):
    pairs = [
        tuple(divmod(t, kernel[1]) for t in ref.order(kernel)[i : i + 2]) for i in range(0, kernel[0] * kernel[1], 2)
    ]
    assert sorted(ref.order(kernel)) == list(range(kernel[0] * kernel[1]))
    for first, *second in pairs:
        if first[0] < kernel[0] // 2 * 2:
            assert second == [(first[0] + 1, first[1])] and first[0] % 2 == 0
        elif second:
            assert second == [(first[0], first[1] + 1)]


@windows
def test_fits_agrees_with_the_definition(T):
    rng = np.random.default_rng(5)
    for kernel in ((1, 1), (3, 3), (5, 5), (6, 5), (3, 1)):
        taps = kernel[0] * kernel[1]
        w = ref.weights_for(rng, 12, kernel, T)
        w[::3] = rng.integers(-60, 60, w[::3].shape)
        for t in (1, 3, 7):
            ok = []
            for row in w.astype(int):
                P = [np.maximum(row[ref.int16_sums(kernel, t) == g], 0).sum() for g in range(taps)]
                N = [np.maximum(-row[ref.int16_sums(kernel, t) == g], 0).sum() for g in range(taps)]
                p = [np.maximum(row[ref.int16_sums(kernel, 1) == g], 0).sum() for g in range(taps)]
                n = [np.maximum(-row[ref.int16_sums(kernel, 1) == g], 0).sum() for g in range(taps)]
                ok.append(max(p + n) <= 128 and (t == 1 or (np.array(P) + N).max() <= 256))
            assert ref.fits(w, t, kernel).tolist() == ok
