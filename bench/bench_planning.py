"""What a new input shape costs: the first run of a session on it, and the runs after, beside ONNX Runtime's.

    python bench/bench_planning.py MODEL:SHAPE... [--sizes 320,352,384] [--rounds 3] [--python PYTHON] [--json FILE]

A MODEL is an .onnx or the name of a network of the zoo, a SHAPE its one input's with W for what changes: for a text
recogniser `rec.onnx:1x3x48xW`, for the zoo `mobilenetv2:1x3xWxW`. Each engine is a process of its own with one thread;
they take turns, a shape at a time, and each round begins with sessions that have seen one shape only. PYTHON is that of
another environment, whose pycompress is measured, too ("before"). Times are milliseconds, minimum and median over all
sizes and rounds; "planning" is the first run on a shape less the best of three more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import as_cpu
import onnx

from pycompress import zoo

WORKER = """
import sys, time
import numpy as np
engine, path, shape = sys.argv[1:]
if engine == "onnxruntime":
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    make = lambda: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
else:
    import pycompress
    make = lambda: pycompress.InferenceSession(path, pycompress.SessionOptions(intra_op_num_threads=1))
session, name = None, ""
for line in sys.stdin:
    if not line.strip():
        session = make()
        name = session.get_inputs()[0].name
        continue
    x = np.random.default_rng(0).standard_normal([int(line) if d == "W" else int(d) for d in shape.split("x")], np.float32)
    times = []
    for _ in range(4):
        time.sleep(0.03)
        start = time.perf_counter()
        session.run(None, {name: x})
        times.append(1e3 * (time.perf_counter() - start))
    print(times[0], min(times[1:]), flush=True)
"""


class Worker:
    """One engine in a process of its own."""

    def __init__(self, python: str, engine: str, path: str, shape: str):
        command = [python, "-W", "ignore", "-c", WORKER, engine, path, shape]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(
            command, cwd=Path(path).parent, **pipes
        )  # where no pycompress lies to be imported

    def again(self) -> None:
        """Begin with a new session."""
        self.process.stdin.write("\n")

    def run(self, size: int) -> tuple[float, float]:
        """(milliseconds of the first run, of the best later one) on inputs of that size."""
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("an engine ended; its message stands above")
        return tuple(float(t) for t in line.split())


def measure(path: str, shape: str, sizes: list[int], rounds: int, other: str | None) -> list[dict]:
    """A row per engine."""
    workers = {"pycompress": Worker(sys.executable, "pycompress", path, shape)}
    if other:
        workers["before"] = Worker(other, "pycompress", path, shape)
    workers["onnxruntime"] = Worker(sys.executable, "onnxruntime", path, shape)
    times: dict[str, list] = {name: [] for name in workers}
    for _ in range(rounds):
        for worker in workers.values():
            worker.again()
            worker.run(sizes[0])
        for size in sizes[1:]:
            for name, worker in workers.items():
                times[name].append(worker.run(size))
    rows = []
    for name, runs in times.items():
        first, later = zip(*runs)
        planning = [a - b for a, b in runs]
        row = {"engine": name}
        for word, values in (("first", first), ("later", later), ("planning", planning)):
            row[word] = [round(min(values), 1), round(statistics.median(values), 1)]
        rows.append(row)
        workers[name].process.stdin.close()
        workers[name].process.wait()
    base = rows[-1]["first"][1]
    for row in rows:
        row["ratio"] = round(row["first"][1] / base, 2)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL:SHAPE")
    parser.add_argument("--sizes", default="320,352,384,416,448", help="the first one is not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", help="of an environment with another build of pycompress")
    parser.add_argument("--json", type=Path)
    as_cpu.add_argument(parser)
    args = parser.parse_args()
    as_cpu.enter(args)
    sizes, result = [int(s) for s in args.sizes.split(",")], {}
    with tempfile.TemporaryDirectory() as folder:
        for word in args.models:
            name, _, shape = word.rpartition(":")
            path = name
            if name in zoo.names():
                path = f"{folder}/{name}.onnx"
                onnx.save(zoo.build(name, resolution=None), path)
            result[word] = measure(path, shape, sizes, args.rounds, args.python)
            print(f"{word}: ms, minimum and median")
            for row in result[word]:
                cells = "  ".join(f"{k} {row[k][0]:7.1f} {row[k][1]:7.1f}" for k in ("first", "later", "planning"))
                print(f"  {row['engine']:12} {cells}  first run {row['ratio']:.2f} times onnxruntime's")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
