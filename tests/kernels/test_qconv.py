"""qconv: exact on every ISA, with padding, strides and dilations."""

import numpy as np
import pytest

from fence import fenced_all
from pycompress import native
from pycompress.kernels import module

ref = module("qconv")
isas = pytest.mark.parametrize("isa", native.qconv.impls())
SIZES = [  # b, ih, iw, c, n, kernel, stride, dilation, pads
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)),
    (2, 19, 31, 3, 18, (3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),  # the RGB stem
    (1, 16, 30, 3, 33, (3, 3), (2, 2), (1, 1), (0, 0, 1, 1)),
    (1, 7, 7, 8, 70, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (2, 5, 6, 5, 7, (1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    (1, 9, 13, 2, 40, (3, 2), (1, 2), (2, 3), (2, 1, 3, 4)),
    (1, 2, 3, 4, 17, (5, 5), (1, 1), (1, 1), (4, 4, 4, 4)),  # pads larger than the image
    (1, 3, 3, 2, 8, (3, 3), (3, 2), (7, 9), (20, 20, 20, 20)),  # a dilation beyond the image
    (1, 6, 40, 12, 16, (2, 2), (1, 1), (1, 1), (0, 0, 0, 0)),
    (1, 5, 33, 8, 77, (3, 2), (1, 1), (1, 1), (1, 0, 1, 0)),
    (1, 5, 60, 68, 20, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),  # lines of four tiles, all of channels in two
    # blocks that are rounded up to whole tiles, so that fewer of them are enough: tiles of 15 pixels; many steps
    (1, 241, 241, 4, 8, (3, 3), (2, 2), (1, 1), (0, 0, 0, 0)),
    *((1, 1, ow, 256, 4, (1, 9), (1, 1), (1, 1), (0, 4, 0, 4)) for ow in (49, 73, 97, 145)),
]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def run(isa, args):
    args = fenced_all(args)
    args[-1][...] = 77
    native.qconv(*args, isa=isa)
    return args[-1]


def expected(args):
    args = [*args[:-1], args[-1].copy()]
    ref.qconv(*args)
    return args[-1]


@sizes
def test_reference_means_convolution(size):
    args = ref.example(np.random.default_rng(0), *size, kind="i32", T=0)
    x, (zero,), w, kh, kw, sh, sw, dh, dw, pt, pl, colsum, *_, out = args
    b, oh, ow, n = out.shape
    c = x.shape[3]
    dense = w.transpose(0, 3, 1, 2, 4).reshape(-1, kh, kw, w.shape[2] * 4)[:n, :, :, :c].astype(int)
    np.testing.assert_array_equal(colsum, dense.sum((1, 2, 3)))
    pads = ((0, 0), (pt, oh * sh + kh * dh), (pl, ow * sw + kw * dw), (0, 0))
    padded = np.pad(x.astype(int) - zero, pads)
    total = np.zeros(out.shape, int) + args[13]
    for ky in range(kh):
        for kx in range(kw):
            part = padded[:, ky * dh :, kx * dw :][:, : oh * sh : sh, : ow * sw : sw]
            total += part @ dense[:, ky, kx].T
    np.testing.assert_array_equal(expected(args), total)


@isas
@sizes
@pytest.mark.parametrize("T", (0, 1, 2, 4, 8))
def test_equals_reference(isa, size, T):
    args = ref.example(np.random.default_rng(1), *size, T=T)
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@sizes
@pytest.mark.parametrize("sigma", (28, 44))
def test_weights_of_which_some_fit_no_window(isa, size, sigma):
    args = ref.example(np.random.default_rng(1), *size)
    n, c, (kh, kw) = size[4], size[3], size[5]
    rng = np.random.default_rng(sigma)
    packed = ref.pack(np.clip(np.rint(rng.normal(0, sigma, (n, kh, kw, c))), -128, 127).astype(np.int8))
    args[2], args[11] = packed.w, packed.colsum
    np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("kind,lut,residual", [("u8", 0, 1), ("u8", 1, 1), ("f32", 0, 0)])
@pytest.mark.parametrize("c", (3, 8))
def test_every_epilogue_and_zero_points_of_weights(isa, kind, lut, residual, c):
    rng = np.random.default_rng(c)
    args = ref.example(rng, 2, 9, 17, c, 21, kind=kind, lut=lut, residual=residual)
    args[12] = rng.integers(-128, 128, 21).astype(np.int32)
    np.testing.assert_array_equal(run(isa, args), expected(args))


FEW = [  # of one to four outputs: lines as runs, taps as runs, strides, dilations, pads beyond the image, one row too few
    (1, 9, 21, 8, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
    (2, 7, 9, 33, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 13, 17, 16, (3, 2), (2, 1), (1, 2), (1, 0, 1, 1)),
    (1, 2, 19, 20, (7, 3), (1, 1), (1, 1), (6, 3, 6, 3)),
    (1, 5, 30, 96, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 5, 5, 4, (3, 3), (1, 1), (1, 1), (0, 0, 0, 0)),
    (3, 4, 5, 2, (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    (1, 3, 20, 512, (5, 5), (1, 1), (1, 1), (2, 2, 2, 2)),
]


@isas
@pytest.mark.parametrize("n", (1, 2, 3, 4))
@pytest.mark.parametrize("size", FEW, ids=str)
def test_few_outputs_equal_reference(isa, size, n):
    for kind, lut, residual in (("u8", 0, 0), ("u8", 1, 1), ("f32", 0, 0)):
        args = ref.example(np.random.default_rng(n), *size[:4], n, *size[4:], kind=kind, lut=lut, residual=residual)
        np.testing.assert_array_equal(run(isa, args), expected(args))


@isas
@pytest.mark.parametrize("ldx", (0, 1, 5, 40))
def test_pixels_of_any_stride(isa, ldx):
    args = ref.example(np.random.default_rng(3), 1, 12, 14, 5, 20)
    flat = fenced_all([np.random.default_rng(4).integers(0, 256, (12 * 14 - 1) * ldx + 5).astype(np.uint8)])[0]
    args[0] = np.lib.stride_tricks.as_strided(flat, (1, 12, 14, 5), (12 * 14 * ldx, 14 * ldx, ldx, 1))
    native.qconv(*args, isa=isa)
    np.testing.assert_array_equal(args[-1], expected([args[0].copy(), *args[1:]]))


@isas
def test_three_channels_of_pixels_of_four_bytes(isa):
    args = ref.example(np.random.default_rng(5), 1, 9, 97, 3, 33, (3, 3), (2, 2))
    flat = fenced_all([np.random.default_rng(6).integers(0, 256, 4 * 9 * 97 - 1).astype(np.uint8)])[0]
    args[0] = np.lib.stride_tricks.as_strided(flat, (1, 9, 97, 3), (4 * 9 * 97, 4 * 97, 4, 1))
    native.qconv(*args, isa=isa)
    np.testing.assert_array_equal(args[-1], expected([args[0].copy(), *args[1:]]))


@isas
@pytest.mark.parametrize("size", SIZES[1:4], ids=str)
def test_any_split_of_the_work_prepared_or_not_gives_the_same_answer(isa, size):
    rng = np.random.default_rng(2)
    args = ref.example(rng, *size, T=2)
    whole = run(isa, args)
    slots, _ = native.qconv.pack(dict(zip((a.name for a in native.qconv.spec.args), args)))
    impl = native.qconv.impl(isa)
    scratch = native.aligned(max(impl.scratch(slots) if impl.scratch else 0, 1), np.uint8)
    for u in rng.permutation(impl.units(slots)).tolist():
        impl.run(slots, u, u + 1, native.ffi.cast("void *", scratch.ctypes.data))
    np.testing.assert_array_equal(args[-1], whole)
