"""What a second thread brings, beside what two pinned loops of multiply-adds bring, and what a busy core costs.

    python bench/bench_threads.py PLAN... [--runs 60] [--json FILE]

The bound is measured in the same run: a small matrix product that stays in L1, in one process pinned to a core and
in two at once, each on a core of its own. ``disturbed``: the same sessions while another process, pinned to the
last of the cores, does nothing but spin.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import as_cpu
import numpy as np

import pycompress as pc
from pycompress.peers.interleave import interleave, times_faster

ROUNDS = 5
SPIN = "import os\nos.sched_setaffinity(0, {int(__import__('sys').argv[1])})\nprint(flush=True)\nwhile True: pass"


def products(core: int, start: float, seconds: float) -> float:
    """Products per second on `core`, in a process of its own, from the time `start` on."""
    from engines import ours, picked

    from pycompress.kernels import module

    os.sched_setaffinity(0, {core})
    call = ours("sgemm", picked("sgemm"), module("sgemm").example(np.random.default_rng(0), 96, 64, 128))
    while time.time() < start:
        call()
    count, begin = 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        for _ in range(50):
            call()
        count += 50
    return count / (time.perf_counter() - begin)


def rate(cores: list[int], seconds: float = 0.5) -> float:
    """Products per second of one process on each of `cores`, at once."""
    start = str(time.time() + 1.5)
    arguments = [[sys.executable, __file__, "--products", str(core), start, str(seconds)] for core in cores]
    running = [subprocess.Popen(a, stdout=subprocess.PIPE, text=True) for a in arguments]
    return sum(float(p.communicate()[0]) for p in running)


def bound(cores: list[int]) -> float:
    """What the second core adds to a loop that needs nothing but itself: the median of some tries."""
    return median(rate(cores[:2]) / max(rate(cores[:1]), rate(cores[1:2])) for _ in range(3))


@contextmanager
def spinning(core: int):
    """Another process that keeps `core` busy."""
    other = subprocess.Popen([sys.executable, "-c", SPIN, str(core)], stdout=subprocess.PIPE)
    other.stdout.readline()
    try:
        yield
    finally:
        other.kill()
        other.wait()


def sessions(path: str) -> dict[int, object]:
    """Functions that run the plan once on 1 and on 2 threads."""
    calls, plan = {}, pc.Plan.load(path)
    for threads in (1, 2):
        session = pc.InferenceSession(plan, pc.SessionOptions(intra_op_num_threads=threads))
        port = session.get_inputs()[0]
        x = np.random.default_rng(0).standard_normal(port.shape).astype(np.float32)
        calls[threads] = lambda s=session, feed={port.name: x}: s.run(None, feed)
    return calls


def measure(path: str, runs: int, most: float, core: int) -> dict[str, object]:
    """The row of one plan."""
    calls = sessions(path)
    quiet = interleave(calls, runs=runs, rounds=ROUNDS)
    with spinning(core):
        loud = interleave(calls, runs=runs, rounds=ROUNDS)
    row: dict[str, object] = {"plan": Path(path).name, "bound": most, "factor": times_faster(quiet[2], quiet[1])}
    row["of_bound"] = row["factor"] / most
    for word, timings in (("", quiet), ("disturbed_", loud)):
        for threads, timing in timings.items():
            row |= {f"{word}{threads}_min_ms": 1e3 * timing.best, f"{word}{threads}_median_ms": 1e3 * timing.median}
    row["disturbed_2_worst_ms"] = 1e3 * max(map(max, loud[2].rounds))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="*", help="saved plans with one float input")
    parser.add_argument("--runs", type=int, default=60, help="of each session (60)")
    parser.add_argument("--json", type=Path, help="write the table there")
    parser.add_argument("--products", nargs=3, type=float, help=argparse.SUPPRESS)
    as_cpu.add_argument(parser)
    options = parser.parse_args()
    as_cpu.enter(options)
    if options.products:
        core, start, seconds = options.products
        print(products(int(core), start, seconds))
        return
    cores = sorted(os.sched_getaffinity(0))
    most = bound(cores)
    print(f"two pinned loops do {most:.3f} times what one does")
    table = []
    for path in options.plans:
        row = measure(path, options.runs, most, cores[-1])
        table.append(row)
        print(
            f"{row['plan']:42s} 1: {row['1_min_ms']:6.2f} {row['1_median_ms']:6.2f}  2: {row['2_min_ms']:6.2f} "
            f"{row['2_median_ms']:6.2f}  x{row['factor']:.3f} = {row['of_bound']:.3f} of the bound;  disturbed "
            f"1: {row['disturbed_1_median_ms']:6.2f}  2: {row['disturbed_2_min_ms']:6.2f} "
            f"{row['disturbed_2_median_ms']:6.2f} worst {row['disturbed_2_worst_ms']:6.2f}"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
