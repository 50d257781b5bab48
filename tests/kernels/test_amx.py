"""AMX: whose tiles they are, who may use them, and for which sizes."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pycompress import native
from pycompress._pcx import lib
from pycompress.kernels import module

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux" or not shutil.which("cc"),
    reason="needs x86-64 Linux and a C compiler",
)
ROWS = {name: getattr(native, name).rows() for name in ("qgemm", "qconv", "q4gemm")}
TILES = """
void configure(const void *config) { __asm__ volatile("ldtilecfg %0" : : "m"(*(const char (*)[64])config)); }
void found(void *config) { __asm__ volatile("sttilecfg %0" : "=m"(*(char (*)[64])config)); }
void release(void) { __asm__ volatile("tilerelease"); }
"""
ANSWER = """
#include <stdlib.h>
/* The system's answer to who asks for tiles, as the environment says. */
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long result;
    if (number == 158 && a == 0x1023)
        return atol(getenv("TILES"));
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result; /* errno stays as it is: nobody here asks for it */
}
"""
SELECT = """
import sys, numpy as np
from pycompress import native
from pycompress._pcx import ffi, lib
from pycompress.kernels import module
args = module("qgemm").example(np.random.default_rng(0), int(sys.argv[1]), 32, 64)
slots, keep = native.qgemm.pack(dict(zip((a.name for a in native.qgemm.spec.args), args)))
print(ffi.string(lib.pcx_select(native.qgemm.c, 0xFF, slots).isa).decode())
"""


def compiled(folder, text):
    (folder / "it.c").write_text(text)
    library = folder / "it.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", folder / "it.c", "-o", library], check=True)
    return str(library)


def slots_of(name, args):
    kernel = getattr(native, name)
    return kernel.pack(dict(zip((a.name for a in kernel.spec.args), args)))


def qgemm_example(m=64, n=32, k=64):
    return module("qgemm").example(np.random.default_rng(0), m, n, k)


def q4gemm_example(m=64):
    return module("q4gemm").example(np.random.default_rng(0), m, 20, 70)


def qconv_example(c=16, image=(9, 12)):
    return module("qconv").example(np.random.default_rng(0), 1, *image, c, 8)


def bgemm_example(m=40, k=70):
    return module("bgemm").example(np.random.default_rng(0), m, 40, k)


def bconv_example():
    return module("bconv").example(np.random.default_rng(0), 1, 9, 12, 16, 8)


@pytest.fixture
def tiles(tmp_path):
    """A function of name and buffer: the thread's tiles configured, found or released, natively or emulated."""
    library = ctypes.CDLL(compiled(tmp_path, TILES))
    if lib.pcx_cpu() & lib.PCX_AMXINT8 and lib.pcx_cpu_permit(lib.PCX_AMXINT8):
        return lambda name, at=None: getattr(library, name)(None if at is None else ctypes.c_void_p(at.ctypes.data))
    from emulator import emulator, why_not

    if why_not():
        pytest.skip(why_not())
    address = {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in ("configure", "found")}
    address["release"] = ctypes.cast(library.release, ctypes.c_void_p).value
    return lambda name, at=None: emulator().call(address[name], at.ctypes.data if at is not None else 0)


@pytest.mark.parametrize("isa", [isa for isa in native.qgemm.impls() if isa == "amx"])
@pytest.mark.parametrize("rows", (0, 3))
@pytest.mark.parametrize("example", (qgemm_example, qconv_example, q4gemm_example, bgemm_example, bconv_example))
def test_tiles_stay_configured_as_they_were(tiles, isa, rows, example):
    found, after = native.aligned(64, np.uint8, 0), native.aligned(64, np.uint8, 77)
    if rows:
        found[0], found[16], found[48] = 1, 8, rows
        tiles("configure", found)
    else:
        tiles("release")
    getattr(native, example.__name__.split("_")[0])(*example(), isa=isa)
    tiles("found", after)
    tiles("release")
    np.testing.assert_array_equal(after, found)


@pytest.mark.skipif("amx" not in native.qgemm.impls(), reason="needs AMX")
def test_scratch_of_an_earlier_call_holds_no_pointers_that_are_followed():
    """Sums wait in the scratch for their epilogue, which is on the stack: in the next call that may be gone."""
    args = qgemm_example(64, 128, 256)
    slots, keep = slots_of("qgemm", args)
    impl = native.qgemm.impl("amx")
    assert impl.units(slots) >= 2 and impl.scratch(slots) % 8 == 0
    scratch = native.aligned(impl.scratch(slots), np.uint8, 255)
    ended = []
    for _ in range(2):
        args[-1][:] = 0
        impl.run(slots, 0, impl.units(slots), native.ffi.from_buffer(scratch))
        ended.append(args[-1].copy())
        words = scratch.view(np.uint64)
        words[(words > 1 << 40) & (words < 1 << 47)] = 64  # what looks like an address: nothing is there
    del keep
    np.testing.assert_array_equal(*ended)


def test_who_is_refused_tiles_gets_the_next_row(tmp_path):
    library = compiled(tmp_path, ANSWER)

    def selected(answer, m):
        env = os.environ | {"LD_PRELOAD": library, "TILES": str(answer)}
        env.pop("PYCOMPRESS_CPU", None)
        command = [sys.executable, "-c", SELECT, str(m)]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()

    after = list(ROWS["qgemm"])[1]
    assert selected(0, 64) == "amx"
    assert selected(-1, 64) == after
    assert selected(0, 1) == after


@pytest.mark.parametrize("m,k,suits", [(64, 64, 1), (8, 16, 1), (1, 64, 0), (7, 64, 0), (64, 15, 0), (0, 64, 0)])
def test_few_rows_and_little_k_do_not_suit_tiles(m, k, suits):
    slots, _ = slots_of("qgemm", qgemm_example(m, 20, k))
    assert ROWS["qgemm"]["amx"].suits(slots) == suits


@pytest.mark.parametrize("m,suits", [(15, 0), (16, 1)])
def test_few_rows_times_weights_of_four_bits_do_not_suit_tiles(m, suits):
    assert ROWS["q4gemm"]["amx"].suits(slots_of("q4gemm", q4gemm_example(m))[0]) == suits


def test_zero_points_of_rows_and_of_weights_do_not_suit_tiles():
    for at, values in ((1, np.arange(64)), (4, np.arange(32))):
        args = qgemm_example()
        args[at] = values.astype(np.int32)
        assert not ROWS["qgemm"]["amx"].suits(slots_of("qgemm", args)[0])
    args = qconv_example()
    assert ROWS["qconv"]["amx"].suits(slots_of("qconv", args)[0])
    args[12] = np.arange(8, dtype=np.int32)
    assert not ROWS["qconv"]["amx"].suits(slots_of("qconv", args)[0])


@pytest.mark.parametrize("c,ldx,suits", [(3, 3, 0), (3, 4, 1), (8, 8, 1), (8, 9, 0), (12, 40, 1)])
def test_convolutions_suit_tiles_where_three_steps_stand_together(c, ldx, suits):
    args = qconv_example(c)
    flat = np.zeros(9 * 12 * ldx, np.uint8)
    args[0] = np.lib.stride_tricks.as_strided(flat, (1, 9, 12, c), (9 * 12 * ldx, 12 * ldx, ldx, 1))
    assert ROWS["qconv"]["amx"].suits(slots_of("qconv", args)[0]) == suits
    args = qconv_example(c, (2, 3))
    assert not ROWS["qconv"]["amx"].suits(slots_of("qconv", args)[0])
