"""Run a command on a CPU that seems to have the instruction sets of a level and none above it (Linux on x86-64, see as_cpu.c).

    python bench/as_cpu.py avx2|avxvnni|avx512|avx512vnni|amx python bench/bench_kernels.py

The benchmarks take ``--as LEVEL``, which runs them so. A CPU that lacks the level itself is refused.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("as_cpu.c")
LEVELS = {  # the bundles that such a CPU has; it may have others of its level, and none beyond
    "avx2": {"avx2"},
    "avxvnni": {"avx2", "avxvnni"},
    "avx512": {"avx2", "avx512"},
    "avx512vnni": {"avx2", "avx512", "avx512vnni"},
    "amx": {"avx2", "avx512", "avx512vnni", "amxint8"},
}
BEYOND = {"avx512vnni": {"avx512vbmi"}, "amx": {"avxvnni", "avx512vbmi", "avx512bf16", "amxbf16"}}


def compile_into(folder) -> Path:
    """The library, built in `folder`."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise FileNotFoundError("as_cpu needs a C compiler: none found as cc, gcc or clang, and CC is not set")
    library = Path(folder, "as_cpu.so")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(library)], check=True)
    return library


def run(level: str, command: list[str]) -> int:
    """The exit code of `command`, run under the library."""
    with tempfile.TemporaryDirectory() as folder:
        preload = [str(compile_into(folder)), *os.environ.get("LD_PRELOAD", "").split(":")]
        env = os.environ | {"LD_PRELOAD": ":".join(filter(None, preload)), "AS_CPU": level}
        return subprocess.run(command, env=env).returncode


def active() -> str:
    """The level under whose library this process runs; empty if it runs under none."""
    loaded = any(Path(name).name == "as_cpu.so" for name in os.environ.get("LD_PRELOAD", "").split(":"))
    return os.environ.get("AS_CPU", "") if loaded else ""


def check() -> None:
    """Raise RuntimeError unless the CPU is seen as one of the active level."""
    from pycompress.cpu import cpu_info

    level, found = active(), set(cpu_info()["isas"])
    if LEVELS[level] - found:
        raise RuntimeError(f"this CPU has no {', '.join(sorted(LEVELS[level] - found))}: it cannot be seen as {level}")
    if found - LEVELS[level] - BEYOND.get(level, set()):
        raise RuntimeError(f"as_cpu is loaded for {level}, but the CPU is seen with {', '.join(sorted(found))}")


def add_argument(parser: argparse.ArgumentParser) -> None:
    """The option ``--as``."""
    parser.add_argument(
        "--as", dest="as_cpu", choices=LEVELS, help="hide from everybody what a CPU of this level lacks"
    )


def enter(args: argparse.Namespace) -> None:
    """With ``--as``, run this very command again under the library, and exit as it does."""
    if args.as_cpu and active() != args.as_cpu:
        sys.exit(run(args.as_cpu, [sys.executable, *sys.argv]))
    if active():
        check()


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in LEVELS:
        sys.exit(__doc__)
    sys.exit(run(sys.argv[1], sys.argv[2:]))
