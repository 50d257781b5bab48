"""What llvm-mca says of the AArch64 kernels' inner loops: ``python bench/arm_model.py [kernel ...] [--cpus neoverse-n1,...]``.

Each kernel's file is compiled by ``aarch64-linux-gnu-gcc`` with the library's flags. In the machine code of a function the
innermost loop that multiplies most is taken, and where the sums become bytes after it, that part, too. Printed for each CPU: MAC
per cycle of the loop; with the epilogue, for tiles of k = 256 (loop and epilogue one after the other, nothing overlapped, so
it is less than what out-of-order cores reach); and the ceiling, the loop's multiplications alone. A model sees neither caches nor
branches: these are figures to compare loops with, no measurements.

Needs aarch64-linux-gnu-gcc and llvm-mca-19 (Debian: gcc-aarch64-linux-gnu, llvm-19).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPUS = ("cortex-a53", "cortex-a55", "cortex-a72", "neoverse-n1", "neoverse-n2", "neoverse-v1", "neoverse-v2")
FLAGS = "-std=c11 -O3 -ffp-contract=off -fno-math-errno -fvisibility=hidden -S -o -".split()
OLD = ("cortex-a53", "cortex-a55", "cortex-a72", "neoverse-n1")
LACKS = {"dotprod": ("cortex-a53", "cortex-a72"), "i8mm": OLD, "bf16": OLD}
K = 256  # products of an output, for figures with the epilogue


@dataclass(frozen=True)
class Loop:
    """A function, and what it needs."""

    file: str
    function: str
    features: str = ""  # beyond ARMv8.0
    k: int = 16  # of an iteration, 0: the loop is all of it, or the tail is elsewhere
    before: str = ""  # a function whose loop runs, too: it interleaves, or is the epilogue
    times: int = 1  # so often for each iteration


LOOPS = {
    "qgemm neon 3x8": Loop("qgemm/qgemm_neon.c", "qgemm_neon_sweep", k=16),
    "qgemm dotprod 4x16": Loop("qgemm/qgemm_dotprod.c", "qgemm_dotprod_sweep", "dotprod", 16),
    "qgemm i8mm 6x16": Loop("qgemm/qgemm_i8mm.c", "qgemm_i8mm_sweep", "i8mm", 8),
    "qdwconv neon 3x3": Loop("qdwconv/qdwconv_neon.c", "qdwconv_neon_3_1_9", "", 0, "qdwconv_neon_put", 4),
    "qdwconv neon 3x3 rows": Loop("qdwconv/qdwconv_neon.c", "qdwconv_neon_3_1_3", "", 0, "qdwconv_neon_put", 4),
    "qdwconv neon 3x3 stride 2": Loop("qdwconv/qdwconv_neon.c", "qdwconv_neon_3_2_3", "", 0, "qdwconv_neon_put", 4),
    "qdwconv neon 5x5 rows": Loop("qdwconv/qdwconv_neon.c", "qdwconv_neon_5_1_5", "", 0, "qdwconv_neon_put", 4),
    "qdwconv dotprod 3x3": Loop(
        "qdwconv/qdwconv_dotprod.c", "qdwconv_quad_3_1_1_1", "dotprod", 0, "qdwconv_quad_stage_run"
    ),
    "qdwconv dotprod 3x3 two lines": Loop(
        "qdwconv/qdwconv_dotprod.c", "qdwconv_quad_3_1_2_1", "dotprod", 0, "qdwconv_quad_stage_run"
    ),
    "qdwconv dotprod 3x3 stride 2": Loop(
        "qdwconv/qdwconv_dotprod.c", "qdwconv_quad_3_2_1_1", "dotprod", 0, "qdwconv_quad_stage_run", 2
    ),
    "qdwconv dotprod 5x5": Loop(
        "qdwconv/qdwconv_dotprod.c", "qdwconv_quad_5_1_1_1", "dotprod", 0, "qdwconv_quad_stage_run", 2
    ),
    "qdwconv dotprod 5x5 stride 2": Loop(
        "qdwconv/qdwconv_dotprod.c", "qdwconv_quad_5_2_1_1", "dotprod", 0, "qdwconv_quad_stage_run", 3
    ),
    "qspmm neon 6 vectors": Loop("qspmm/qspmm_neon.c", "qspmm_neon_multiply_6_1", k=0),
    "qspmm dotprod 8 vectors": Loop("qspmm/qspmm_dotprod.c", "qspmm_dotprod_multiply_8", "dotprod", 0),
    "q4gemm neon 3x16": Loop("q4gemm/q4gemm_neon.c", "q4gemm_neon_tile_3_0", k=0),
    "q4gemm dotprod 3x16": Loop("q4gemm/q4gemm_dotprod.c", "q4gemm_dotprod_tile_3_0", "dotprod", 0),
    "q4gemm dotprod 1x16, packed": Loop("q4gemm/q4gemm_dotprod.c", "q4gemm_dotprod_tile_1_1", "dotprod", 0),
    "q4gemm i8mm 6x16": Loop("q4gemm/q4gemm_i8mm.c", "q4gemm_i8mm_tile_6", "i8mm", 0),
    "bgemm bf16 6x16": Loop("bgemm/bgemm_bf16.c", "bgemm_bf16_tile_6", "bf16", 0),
    "bgemm bf16 1x64": Loop("bgemm/bgemm_bf16.c", "bgemm_bf16_flat_1x4", "bf16", 0),
    "qlowrank second 4x16": Loop("qlowrank/qlowrank_neon.c", "qlowrank_neon_rows_4", k=0),
}
TAPS = {
    "3_1_1": 144,
    "3_1_2": 288,
    "3_2_1": 144,
    "5_1_1": 400,
    "5_2_1": 400,
}  # of a vector of pixels: of quads some are zero
MACS = {
    "bfdot": 8,
    "bfmmla": 16,
    "sdot": 16,
    "usdot": 16,
    "usmmla": 32,
    "smmla": 32,
    "smull": 8,
    "smlal": 8,
    "smull2": 8,
    "smlal2": 8,
}


def macs(line: str) -> int:
    """How many products an instruction adds; floats, and int16 to int32, four."""
    word = line.split()[0]
    if word in ("fmla", "fmul"):
        return 4 if word == "fmla" and ".4s" in line else 0
    return 4 if word in MACS and ".4s" in line and "dot" not in word and "mmla" not in word else MACS.get(word, 0)


def body(path: Path, function: str) -> list[str]:
    """The labels and instructions of a function."""
    done = subprocess.run(["aarch64-linux-gnu-gcc", *FLAGS, path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    first = next(i for i, line in enumerate(lines) if re.match(rf"{function}(\.\w+)*:", line))
    lines = lines[first : next(i for i in range(first, len(lines)) if lines[i].startswith("\t.size"))]
    return [line.split("//")[0].strip() for line in lines if re.match(r"(\.L\d+:|\t[a-z])", line)]


def around(line: str) -> int:
    """What loops around a product do most: interleave and convert."""
    return line.startswith(("zip", "fcvtns"))


def hot(lines: list[str], count=macs) -> tuple[int, int]:
    """Where the innermost loop with most products, or what `count` counts, is; all lines, if there is no loop."""
    at = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    loops = []
    for i, line in enumerate(lines):
        target = line.split()[-1].split(",")[-1]
        if re.match(r"(b\.?[a-z]{2}\b|b[a-z]{2}\b|cbn?z|tbn?z)", line) and at.get(target, i) < i:
            loops.append((at[target], i + 1))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    inner = [(a, b) for a, b in inner if sum(map(count, instructions(lines[a:b])))]
    return max(inner, key=lambda r: sum(map(count, instructions(lines[r[0] : r[1]]))), default=(0, len(lines)))


def instructions(lines: list[str]) -> list[str]:
    """Those that are not branches."""
    return [
        line
        for line in lines
        if not line.endswith(":") and not re.match(r"(b|bl|ret|cbn?z|tbn?z|b\.?[a-z]{2})\b", line)
    ]


def epilogue(lines: list[str], end: int) -> list[str]:
    """From the conversion of the first sums after the loop to the last store of bytes."""
    first = next((i for i in range(end, len(lines)) if lines[i].startswith("scvtf")), None)
    if first is None:
        return []
    while not lines[first].endswith(":"):
        first -= 1
    last = first
    for i in range(first, len(lines)):
        if lines[i].startswith("umax"):
            last = i + 2
    return instructions(lines[first:last])


def cycles(lines: list[str], cpu: str, features: str, throughput: bool = False) -> float | None:
    """Of a round of these instructions; `throughput`: as if none waited for another."""
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(lines).replace("0xffffffffffffff80", "0x80") + "\n")
        file.flush()
        extra = [f"-mattr=+{features}"] if features else []
        command = ["llvm-mca-19", "-mtriple=aarch64", f"-mcpu={cpu}", "-iterations=100", *extra, file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    pattern = r"Block RThroughput:\s+([\d.]+)" if throughput else r"Total Cycles:\s+(\d+)"
    found = re.search(pattern, done.stdout)
    return float(found.group(1)) / (1 if throughput else 100) if found else None


def figures(loop: Loop, cpus: list[str]) -> tuple[int, int, list[str]]:
    """Instructions and products of the loop, and a cell for each CPU."""
    lines = body(ROOT / "csrc" / loop.file, loop.function)
    first, end = hot(lines)
    inner = instructions(lines[first:end])
    tail = epilogue(lines, end) if loop.k else []
    count, multiplications = sum(map(macs, inner)), [line for line in inner if macs(line)]
    other: list[str] = []
    if loop.before:
        lines = body(ROOT / "csrc" / loop.file, loop.before)
        other = instructions(lines[slice(*hot(lines, around))])
        count = TAPS.get(loop.function[-7:-2], count)
    cells = []
    for cpu in cpus:
        per, bound = cycles(inner, cpu, loop.features), cycles(multiplications, cpu, loop.features, throughput=True)
        if not per or not bound or cpu in LACKS.get(loop.features, ()):
            cells.append("-")
            continue
        per += loop.times * cycles(other, cpu, loop.features) if other else 0
        text = f"{count / per:.1f}"
        if tail:
            whole = K // loop.k * per + (cycles(tail, cpu, "") or 0)
            text += f" {count * (K // loop.k) / whole:.1f}"
        cells.append(f"{text} ({count / bound:.0f})")
    return len(inner), count, cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", nargs="*", help="beginnings of names; all, if none is given")
    parser.add_argument("--cpus", default=",".join(CPUS))
    told = parser.parse_args()
    cpus = told.cpus.split(",")
    print("| loop | instructions | MAC |", " | ".join(cpus), "|")
    print("|---|---:|---:|" + "---:|" * len(cpus))
    for name, loop in LOOPS.items():
        if told.kernels and not any(name.startswith(word) for word in told.kernels):
            continue
        count, products, cells = figures(loop, cpus)
        print(f"| {name} | {count} | {products} |", " | ".join(cells), "|")
        sys.stdout.flush()
    print(
        "\nMAC per cycle: of the loop, with the epilogue where it follows (k = 256), and (the ceiling); qdwconv's are whole."
    )


if __name__ == "__main__":
    main()
