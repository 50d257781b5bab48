"""Two installations of pycompress on the same files, taking turns in one run: is anything slower than before?

    python bench/bench_builds.py BEFORE/bin/python [AFTER/bin/python] [--threads 1] [--rounds 10] [--runs 10] [--only NAME]

Each is a Python with pycompress installed; by default the second is the one that runs this. Models are made once, by
the second. Every installation plans each file itself, keeps its session, and answers one block of runs at a time.
`ratio` is after / before: above 1 is slower; `rounds` is the median over the rounds of the ratio of the fastest runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import as_cpu

WORKER = """
import json, sys, time
import numpy as np
import pycompress as pc
path, threads = sys.argv[1], int(sys.argv[2])
begun = time.perf_counter()
options = pc.SessionOptions()
options.intra_op_num_threads = threads
session = pc.InferenceSession(path, options)
port = session.get_inputs()[0]
x = np.random.default_rng(0).standard_normal([d if isinstance(d, int) else 1 for d in port.shape]).astype(np.float32)
session.run(None, {port.name: x})
print(json.dumps(time.perf_counter() - begun), flush=True)
for line in sys.stdin:
    seconds = []
    for i in range(int(line) + 2):
        start = time.perf_counter()
        session.run(None, {port.name: x})
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds[2:]), flush=True)
"""


def models(folder: Path) -> dict[str, Path]:
    """Files of the zoo's networks: float, int8, sparse, 4-bit, low-rank."""
    import numpy as np
    import onnx

    import pycompress as pc
    from pycompress import zoo

    rng = np.random.default_rng(0)
    samples = [rng.standard_normal((1, 3, 224, 224)).astype(np.float32) for _ in range(2)]
    made = {}
    for name in ("mobilenetv1", "mobilenetv2", "mobilenetv3_large", "efficientnet_lite0"):
        model = zoo.build(name)
        made[f"{name} float"] = model
        made[f"{name} int8"] = pc.quantize(model, iter(samples), accumulate=4)
    for name in ("mobilenetv1", "mobilenetv2"):
        made[f"{name} 90 % zeros"] = pc.prune(zoo.build(name), 0.9)
    made["mobilenetv1 int8 75 % 1x4"] = pc.quantize(
        pc.prune(zoo.build("mobilenetv1"), 0.75, pattern="1x4"), iter(samples), accumulate=4
    )
    made["mobilenetv1 4 bits"] = pc.quantize(zoo.build("mobilenetv1"), iter(samples), weights=4, rounding="plain")
    made["mobilenetv1 float16"] = pc.cast(zoo.build("mobilenetv1"), "float16")
    made["mobilenetv1 low rank"] = pc.factorize(zoo.build("mobilenetv1"), ratio=0.6)
    paths = {}
    for name, model in made.items():
        paths[name] = folder / (name.replace(" ", "_").replace("%", "percent") + ".onnx")
        onnx.save(model, paths[name])
    return paths


class Installation:
    """A Python that holds one session."""

    def __init__(self, python: str, path: Path, threads: int):
        command = [python, "-c", WORKER, str(path), str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=path.parent, **pipes)  # where no pycompress lies to be imported
        self.start = json.loads(self.process.stdout.readline())

    def block(self, runs: int) -> list[float]:
        time.sleep(0.03)
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after", nargs="?", default=sys.executable)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--only", default="", help="models whose names contain this")
    as_cpu.add_argument(parser)
    args = parser.parse_args()
    as_cpu.enter(args)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: path for name, path in models(Path(folder)).items() if args.only in name}
        print("| model | before, ms: min, median | after | ratio: min, median | rounds | plan, s: before, after |")
        print("|---|---|---|---|---|---|")
        for name, path in paths.items():
            both = [Installation(python, path, args.threads) for python in (args.before, args.after)]
            blocks: list[list[list[float]]] = [[], []]
            for i in range(args.rounds):
                for k in (0, 1) if i % 2 else (1, 0):
                    blocks[k].append(both[k].block(args.runs))
            best = [1e3 * min(map(min, b)) for b in blocks]
            middle = [1e3 * median(s for block in b for s in block) for b in blocks]
            rounds = median(min(y) / min(x) for x, y in zip(*blocks))
            print(
                f"| {name} | {best[0]:.2f}, {middle[0]:.2f} | {best[1]:.2f}, {middle[1]:.2f} | "
                f"{best[1] / best[0]:.3f}, {middle[1] / middle[0]:.3f} | {rounds:.3f} | "
                f"{both[0].start:.2f}, {both[1].start:.2f} |",
                flush=True,
            )
            for one in both:
                one.close()


if __name__ == "__main__":
    main()
