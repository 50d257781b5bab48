"""Build the extension pycompress._pcx: the public header is also the cdef."""

from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
HEADER = (ROOT / "csrc" / "pycompress.h").read_text()


def files(pattern):
    """The files of csrc that match, relative to the root, as setuptools wants them."""
    return sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "csrc").rglob(pattern))


cdef = HEADER.split("/* begin cdef */")[1].split("/* end cdef */")[0]

ffi = FFI()
ffi.cdef(cdef)
ffi.set_source(
    "pycompress._pcx",
    '#include "pycompress.h"',
    include_dirs=["csrc"],
    sources=files("*.c"),
    depends=files("*.h"),
    libraries=["m"],
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"],
    extra_link_args=["-pthread"],
)
