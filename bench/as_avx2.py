"""Run a command on a CPU that seems to have AVX2 and nothing newer (Linux on x86-64, see as_avx2.c).

python bench/as_avx2.py python bench/bench_kernels.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("as_avx2.c")


def compile_into(folder) -> Path:
    """The library, built in `folder`."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise FileNotFoundError("as_avx2 needs a C compiler: none found as cc, gcc or clang, and CC is not set")
    library = Path(folder, "as_avx2.so")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
    return library


def run(command: list[str]) -> int:
    """The exit code of `command`, run under the library."""
    with tempfile.TemporaryDirectory() as folder:
        preload = [str(compile_into(folder)), *os.environ.get("LD_PRELOAD", "").split(":")]
        env = os.environ | {"LD_PRELOAD": ":".join(filter(None, preload))}
        return subprocess.run(command, env=env).returncode


def active() -> bool:
    """Whether this process runs under the library."""
    return any(Path(name).name == "as_avx2.so" for name in os.environ.get("LD_PRELOAD", "").split(":"))


def check() -> None:
    """Raise RuntimeError unless the CPU is seen as one with AVX2 and nothing newer."""
    from pycompress.cpu import cpu_info

    found = cpu_info()["isas"]
    if found != ["avx2"]:
        raise RuntimeError(f"as_avx2 is loaded, but the CPU is seen with {', '.join(found)}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1:]))
