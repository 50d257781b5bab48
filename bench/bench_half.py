"""Linear layers with float16 and bfloat16 weights against float32 ones: ours, NumPy (OpenBLAS) and torch, taking turns in one run.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 python bench/bench_half.py [--as LEVEL] [--runs 40]
        [--shapes 4096x4096,11008x4096,1000x1280] [--rows 1] [--threads 1] [--gigabytes 1] [--json FILE]

W is N x K, x has --rows rows. Each engine goes through copies of its weights, of --gigabytes together, so that they come
from memory and from no cache; 0: one copy, which stays in the cache if it fits. NumPy's and torch's threads must be set by
the environment to --threads, too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import sys
from pathlib import Path

import as_cpu
import numpy as np
from bench_models import words

from pycompress import kernels, native
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.layers import HalfLinear
from pycompress.peers.interleave import interleave, times_faster
from pycompress.sparse import _pool

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_turn(made):
    """A function that calls the next of `made` each time."""
    calls = itertools.cycle(made)
    return lambda: next(calls)()


def calls(n: int, k: int, m: int, threads: int, gigabytes: float) -> dict:
    """{name: function}; all of them compute x W'."""
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((n, k), np.float32), rng.standard_normal((m, k), np.float32)

    def copies(bytes_each):
        return range(max(1, round(gigabytes * 1e9 / (bytes_each * n * k))))

    def half(dtype):
        layers = [HalfLinear.from_dense(W, dtype=dtype) for _ in copies(2)]
        return in_turn([lambda layer=layer: layer(x, num_threads=threads) for layer in layers])

    def sgemm():
        packed, out = kernels.module("sgemm").pack(W), np.empty((m, n), np.float32)
        pool = _pool(threads) if threads > 1 else None
        given = None, 0, np.zeros(2, np.float32), None, out
        ready = [
            native.sgemm.ready(x, native.aligned(packed.shape, np.float32, packed), *given, pool=pool)
            for _ in copies(4)
        ]
        return in_turn([lambda call=call: (call(), out)[1] for call in ready])

    found = {"HalfLinear float16": half("float16"), "HalfLinear bfloat16": half("bfloat16"), "sgemm": sgemm()}
    found["numpy"] = in_turn([lambda w=w: x @ w.T for w in [W.copy() for _ in copies(4)]])
    try:
        import torch
    except ModuleNotFoundError:
        return found
    torch.set_num_threads(threads)
    given = torch.from_numpy(x)
    for name, dtype, size in (("torch float32", torch.float32, 4), ("torch bfloat16", torch.bfloat16, 2)):
        weights = [torch.from_numpy(W).to(dtype, copy=True) for _ in copies(size)]
        y = given.to(dtype)
        found[name] = in_turn([lambda w=w, y=y: torch.nn.functional.linear(y, w) for w in weights])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=words, default=["4096x4096", "11008x4096", "1000x1280"], metavar="NxK,...")
    parser.add_argument("--rows", type=count, default=1, metavar="M")
    parser.add_argument("--threads", type=count, default=1, metavar="N")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--runs", type=count, default=40, metavar="N")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    as_cpu.enter(args)
    if any(os.environ.get(name) != str(args.threads) for name in THREADS):
        print(f"set {', '.join(THREADS)} to {args.threads}: peers may use other numbers of threads")
    out, rows = Output(), []
    for shape in args.shapes:
        n, k = map(int, shape.split("x"))
        made = calls(n, k, args.rows, args.threads, args.gigabytes)
        wanted = np.asarray(made["sgemm"]()).copy()
        for name, function in made.items():
            y = function()
            y = y if isinstance(y, np.ndarray) else y.float().numpy()
            assert np.linalg.norm(y - wanted) < 0.02 * np.linalg.norm(wanted), name
        timings = interleave(made, runs=args.runs, rounds=10, rest=0.005)
        ours = timings["HalfLinear float16"]
        for name, t in timings.items():
            size = 2 if "16" in name else 4
            rows.append({
                "shape": shape, "name": name, "min_us": t.best * 1e6, "median_us": t.median * 1e6,
                "GB/s": size * n * k / t.median / 1e9, "float16 is faster": times_faster(ours, t),
            })  # fmt: skip
    result = bench.header(args.threads)
    result |= {"command": shlex.join(["python", "bench/bench_half.py", *sys.argv[1:]]), "rows": rows}
    out.line(
        f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}, {args.threads} threads, {args.rows} rows"
    )
    table = [
        (r["shape"], r["name"], f"{r['min_us']:.0f}", f"{r['median_us']:.0f}", f"{r['GB/s']:.1f}",
         f"{r['float16 is faster']:.2f}") for r in rows
    ]  # fmt: skip
    out.table(("NxK", "engine", "min us", "median us", "weights GB/s", "float16 is faster"), table)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
