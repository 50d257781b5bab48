"""The C library under sanitizers: its own checks, the fuzzers' corpus, and fuzzing.  Needs clang; valgrind for valgrind.

    python tests/runtime/sanitize.py                        # address (with undefined), thread, valgrind
    python tests/runtime/sanitize.py address --fuzz 3600    # and libFuzzer, so many seconds for each of plan.c and csr.c

The kernels of one instruction set (sgemm_avx2.c ...) are instrumented with ``--all`` only, which takes an hour to compile; tests/kernels
puts unreadable pages behind their arrays, and valgrind sees them anyhow. Builds are kept under build/sanitize, and only what has changed is compiled again.  Exits with 1 where anything was found; a
fuzzer leaves the input in the working folder.  What fuzzing adds to the corpus is in build/sanitize/corpus.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from wrapped import WRAP

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitize"
FUZZ = ROOT / "tests" / "fuzz"
PLAN = ROOT / "pycompress" / "zoo" / "tiny.plan.safetensors"
# DWARF 4 is what older versions of valgrind read
COMMON = ["-std=c11", "-gdwarf-4", "-ffp-contract=off", "-fno-math-errno", "-fno-omit-frame-pointer", "-pthread"]
FLAGS = {
    "address": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-O1", "-fsanitize=thread"],
    "valgrind": ["-O1"],
}
ISAS = ("_avx2", "_avxvnni", "_avx512", "_avx512vnni", "_avx512bf16", "_amx", "_neon", "_dotprod", "_i8mm", "_bf16")
COVER = ["-fsanitize=fuzzer-no-link"]  # what libFuzzer needs, in the build for "address"
MEMORY = str(1 << 32)  # sanitizers keep what was freed: only what is lost counts
CHECKS = {  # of checks.c; a child of fork is not what the sanitizer of threads understands
    "address": [["failures"], ["cycles", "1000", MEMORY], ["threads", "100"], ["fork", "30"], ["namespaces"], ["stop"]],
    "thread": [["cycles", "300", MEMORY], ["threads", "100"], ["stop"]],
    "valgrind": [["failures"], ["cycles", "20", MEMORY], ["threads", "3"], ["stop"]],
}
RUN = {
    "address": [],
    "thread": [],
    "valgrind": [
        "valgrind",
        "-q",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
    ],
}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}


def called(words: list, **options) -> None:
    print("+", *(Path(str(w)).name for w in words[-4:]), flush=True)
    subprocess.run([str(w) for w in words], check=True, env=os.environ | ENVIRONMENT, **options)


def objects(kind: str, compiler: str, every: bool) -> list[Path]:
    """The library's object files for a sanitizer; those newer than their source and every header are kept."""
    newest = max(p.stat().st_mtime for p in (ROOT / "csrc").rglob("*.h"))
    made, stale = [], []
    for source in sorted((ROOT / "csrc").glob("*/*.c")):
        path = BUILD / kind / f"{source.stem}.o"
        made.append(path)
        if not path.exists() or path.stat().st_mtime < max(newest, source.stat().st_mtime):
            stale.append((source, path))
    (BUILD / kind).mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS[kind], *(COVER if kind == "address" else [])]

    def compiled(pair: tuple[Path, Path]) -> None:
        plain = not every and pair[0].stem.endswith(ISAS)
        subprocess.run([compiler, *COMMON, *(["-O1"] if plain else flags), "-c", pair[0], "-o", pair[1]], check=True)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(compiled, stale))
    return made


def linked(kind: str, compiler: str, name: str, sources: list[Path], library: list[Path], *flags: str) -> Path:
    program = BUILD / kind / name
    words = [compiler, *COMMON, *FLAGS[kind], *flags, *sources, *library, "-lm", "-o", program]
    subprocess.run([str(w) for w in words], check=True)
    return program


def checked(kind: str, compiler: str, every: bool) -> list[Path]:
    """Build for a sanitizer and run everything but the fuzzers; returns the objects."""
    library = objects(kind, compiler, every)
    checks = linked(kind, compiler, "checks", [ROOT / "tests" / "runtime" / "checks.c"], library, WRAP)
    for words in CHECKS[kind]:
        called([*RUN[kind], checks, PLAN, *words])
    for name in ("plan", "csr"):
        replay = linked(kind, compiler, f"replay_{name}", [FUZZ / f"{name}.c", FUZZ / "replay.c"], library)
        called([*RUN[kind], replay, *sorted((FUZZ / "corpus" / name).iterdir())], stdout=subprocess.DEVNULL)
    return library


def fuzzed(compiler: str, library: list[Path], seconds: int) -> None:
    for name in ("plan", "csr"):
        program = linked(
            "address", compiler, f"fuzz_{name}", [FUZZ / f"{name}.c"], library, "-fsanitize=fuzzer", "-DFUZZING"
        )
        found = BUILD / "corpus" / name
        found.mkdir(parents=True, exist_ok=True)
        options = [
            f"-max_total_time={seconds}",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-max_len=16384",
            "-print_final_stats=1",
        ]
        if name == "plan":
            options.append(f"-dict={FUZZ / 'plan.dict'}")
        called([program, *options, found, FUZZ / "corpus" / name])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(FLAGS), help=", ".join(FLAGS))
    parser.add_argument("--fuzz", type=int, default=0, metavar="SECONDS")
    parser.add_argument("--all", action="store_true", help="instrument the kernels of every instruction set")
    parser.add_argument("--compiler", default="clang")
    args = parser.parse_args()
    try:
        for kind in args.kinds:
            library = checked(kind, args.compiler, args.all)
            if kind == "address" and args.fuzz:
                fuzzed(args.compiler, library, args.fuzz)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]}: ended with {error.returncode}", file=sys.stderr)
        return 1
    print("nothing was found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
