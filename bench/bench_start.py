"""From nothing to the first answer: time and memory of fresh processes, over one that only imports numpy.

    python bench/bench_start.py MODEL... [--processes 21] [--threads 0] [--json FILE]

A MODEL is a saved plan or an .onnx, with one input.  Each process imports pycompress, makes a session and runs it
once; the wall time is its parent's, from start to end, the memory its own peak of resident pages (VmHWM). Processes
take turns with those that only import numpy. One process more, uncounted, leaves the files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import as_cpu

PEAK = """
import re
with open("/proc/self/status") as file:
    print(re.search(r"VmHWM:\\s+(\\d+)", file.read())[1])
"""
NUMPY = "import numpy"
FIRST = """
import sys, time
import numpy
start = time.perf_counter()
import pycompress
options = pycompress.SessionOptions(intra_op_num_threads=int(sys.argv[2]))
session = pycompress.InferenceSession(sys.argv[1], options)
port = session.get_inputs()[0]
shape = [d if isinstance(d, int) else 1 for d in port.shape]
kind = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}[port.type]
session.run(None, {port.name: numpy.zeros(shape, kind)})
print(time.perf_counter() - start)
"""
# Python compiles a module's source once, as an installer does, and not in each process.
ENVIRONMENT = {name: word for name, word in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def process(code: str, *arguments: str) -> tuple[float, float, float]:
    """(wall milliseconds, peak MB, milliseconds that the process itself measured) of one fresh process."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + PEAK, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    wall = time.perf_counter() - start
    *inside, peak = done.stdout.split()
    return 1e3 * wall, int(peak) * 1024 / 1e6, 1e3 * float(inside[0]) if inside else 0.0


def measure(models: list[str], processes: int, threads: int) -> list[dict]:
    """A row per model: medians and minima, less those of the processes that only import numpy."""
    for path in models:
        process(FIRST, path, str(threads))
    rows: dict[str, list] = {"": [], **{path: [] for path in models}}
    for _ in range(processes):
        for path, found in rows.items():
            found.append(process(FIRST, path, str(threads)) if path else process(NUMPY))
    bare = [list(column) for column in zip(*rows.pop(""))]
    print(f"import numpy: {statistics.median(bare[0]):.1f} ms, {statistics.median(bare[1]):.1f} MB")
    table = []
    for path, found in rows.items():
        wall, peak, inside = (list(column) for column in zip(*found))
        row = {
            "model": Path(path).name,
            "threads": threads,
            "processes": processes,
            "wall_ms_over_numpy": statistics.median(wall) - statistics.median(bare[0]),
            "wall_ms_over_numpy_min": min(wall) - min(bare[0]),
            "first_answer_ms": statistics.median(inside),
            "first_answer_ms_min": min(inside),
            "peak_mb_over_numpy": statistics.median(peak) - statistics.median(bare[1]),
            "numpy_ms": statistics.median(bare[0]),
            "numpy_mb": statistics.median(bare[1]),
        }
        table.append(row)
        print(
            f"{row['model']}: +{row['wall_ms_over_numpy']:.1f} ms (min +{row['wall_ms_over_numpy_min']:.1f}), "
            f"of which {row['first_answer_ms']:.1f} until the first answer; +{row['peak_mb_over_numpy']:.1f} MB"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="saved plans or .onnx files")
    parser.add_argument("--processes", type=int, default=21, help="of each kind (21)")
    parser.add_argument("--threads", type=int, default=0, help="of a session; 0: all cores")
    parser.add_argument("--json", type=Path, help="write the table there")
    as_cpu.add_argument(parser)
    options = parser.parse_args()
    as_cpu.enter(options)
    table = measure(options.models, options.processes, options.threads)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
