"""Build the extension pycompress._pcx: the public headers are also the cdef."""

import sys
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
STRIPPED = "-Wl,-x" if sys.platform == "darwin" else "-Wl,-s"
HEADERS = ("pycompress_kernels.h", "pycompress.h")


def files(pattern):
    """The files of csrc that match, relative to the root, as setuptools wants them."""
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob(pattern))


def declarations(header):
    """What stands between the two markers of a public header."""
    text = (ROOT / "csrc" / header).read_text()
    return text.split("/* begin cdef */")[1].split("/* end cdef */")[0]


ffi = FFI()
for header in HEADERS:
    ffi.cdef(declarations(header))
ffi.cdef('extern "Python" int pycompress_ask(void *);')  # of runner.py
ffi.set_source(
    "pycompress._pcx",
    '#include "pycompress.h"',
    include_dirs=["csrc"],
    sources=files("*.c"),
    depends=[*files("*.h"), "pycompress/_build.py"],
    libraries=["m"],
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-g0"]
    + ["-fno-math-errno"]  # sqrtf is an instruction, also in loops of vectors
    + ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],  # nothing here throws: a fortieth of the size
    extra_link_args=["-pthread", STRIPPED],  # without symbols and debugging tables: a seventh of the size
)
