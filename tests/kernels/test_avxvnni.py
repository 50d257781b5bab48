"""The AVX-VNNI kernels on a CPU without AVX-VNNI: their own machine code, with vpdpbusd executed by a signal handler."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pycompress._pcx import lib

SUPPORT = Path(__file__).resolve().parents[1] / "support"
PROGRAM = """
import ctypes
import numpy as np
from pycompress import kernels, native
from pycompress._pcx import ffi, lib

count = ctypes.c_ulong.in_dll(ctypes.CDLL(None), "vpdpbusd_count")
rng = np.random.default_rng(0)


def run(name, row, values):
    kernel = getattr(native, name)
    out = values[-1] = np.full_like(values[-1], 77)
    slots, keep = kernel.pack(dict(zip((a.name for a in kernel.spec.args), values)))
    assert not lib.pcx_call(ffi.NULL, kernel.c, row, slots)
    return out.tobytes()


def check(name, values):
    # the AVX-VNNI row writes the bytes of the scalar one; how many vpdpbusd that took
    impls, rows = getattr(native, name).c.impls, {}
    for i in range(9):
        rows[ffi.string(impls[i].isa).decode()] = ffi.addressof(impls, i)
        if not impls[i].needs:
            break
    before = count.value
    assert run(name, rows["avxvnni"], values) == run(name, rows["scalar"], values), name
    return count.value - before
"""
QGEMM = """
example, pack = kernels.module("qgemm").example, kernels.module("qgemm").pack
for m in (1, 2, 3, 4, 5, 6, 7, 13, 49):
    for n in (1, 7, 8, 16, 24, 33):
        for k in (1, 3, 4, 27, 64):
            assert check("qgemm", example(rng, m, n, k)) >= m * k / 4
for kind in ("u8", "i32", "f32"):
    for lut, residual in ((0, 0), (1, 0), (0, 1), (1, 1)) if kind == "u8" else ((0, 0),):
        for m, n, k in ((13, 40, 27), (6, 16, 64), (49, 8, 20)):
            values = example(rng, m, n, k, kind=kind, lut=bool(lut), residual=bool(residual))
            check("qgemm", values)
            values[0][...] = 255  # no sum saturates
            packed = pack(rng.choice(np.array([-128, 127], np.int8), (n, k)))
            values[2], values[3] = packed.w, packed.colsum
            check("qgemm", values)
            values[1] = rng.integers(-300, 300, m).astype(np.int32)  # zero points of rows, and of weights
            check("qgemm", values)
            values[4] = rng.integers(-128, 128, n).astype(np.int32)
            check("qgemm", values)
"""
QCONV = """
example = kernels.module("qconv").example
for h, w, c, n in ((5, 9, 3, 8), (7, 20, 5, 24), (4, 4, 16, 33), (1, 1, 1, 1)):
    for stride in ((1, 1), (2, 2)):
        for lut, residual in ((0, 0), (1, 0), (0, 1)):
            values = example(rng, 2, h, w, c, n, stride=stride, lut=bool(lut), residual=bool(residual))
            assert check("qconv", values) > 0
            values[12] = rng.integers(-128, 128, n).astype(np.int32)
            check("qconv", values)
"""
pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="x86-64 Linux"),
    pytest.mark.skipif(lib.pcx_cpu() & lib.PCX_AVXVNNI, reason="this CPU has AVX-VNNI: the other tests run these rows"),
    pytest.mark.skipif(not lib.pcx_cpu() & lib.PCX_AVX2, reason="the rest of these kernels is AVX2"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    library = tmp_path_factory.mktemp("vpdpbusd") / "vpdpbusd.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", SUPPORT / "vpdpbusd.c", "-o", library], check=True)
    return library


@pytest.mark.parametrize("checks", [pytest.param(QGEMM, id="qgemm"), pytest.param(QCONV, id="qconv")])
def test_avxvnni_writes_the_bytes_of_the_scalar_kernel(checks, preload):
    env = os.environ | {"LD_PRELOAD": str(preload)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + checks], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
