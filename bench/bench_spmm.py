"""pc.spmm and SparseLinear against SciPy, torch (MKL) and dense NumPy (OpenBLAS), taking turns in one run, float32.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 python bench/bench_spmm.py [--as LEVEL] [--runs 40]
        [--zeros 0.7,0.8,0.9,0.95] [--json FILE]

Whole calls from Python, one thread: pc.spmm checks its CSR at every call. For one column SparseLinear, packed before, takes part,
too. A is M x K, X is K x N.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

import as_cpu
import numpy as np
import scipy.sparse as sp
from bench_models import words

import pycompress as pc
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.layers import SparseLinear
from pycompress.peers.interleave import interleave, times_faster

SHAPES = ((512, 512, 196), (256, 256, 784), (1024, 1024, 49), (1024, 1024, 1024), (4096, 4096, 1))


def calls(m: int, k: int, n: int, zeros: float) -> dict:
    """{name: function}; all of them compute A @ X."""
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((m, k), np.float32) * (rng.random((m, k)) >= zeros).astype(np.float32)
    A, X = sp.csr_array(dense), rng.standard_normal((k, n), np.float32)
    found = {"pc.spmm": lambda: pc.spmm(A, X, num_threads=1), "scipy": lambda: A @ X, "numpy dense": lambda: dense @ X}
    if n == 1:
        layer, row = SparseLinear.from_scipy(A), np.ascontiguousarray(X[:, 0])
        found["SparseLinear"] = lambda: layer(row, num_threads=1)
        found["scipy"] = lambda: A @ row
    try:
        import torch
    except ModuleNotFoundError:
        return found
    torch.set_num_threads(1)
    parts = (torch.from_numpy(x) for x in (A.indptr.astype(np.int32), A.indices.astype(np.int32), A.data))
    T, Y = torch.sparse_csr_tensor(*parts, size=(m, k)), torch.from_numpy(X)
    found["torch"] = (lambda: torch.mv(T, Y[:, 0])) if n == 1 else (lambda: T @ Y)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zeros", type=lambda text: [float(x) for x in words(text)], default=[0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--runs", type=count, default=40, metavar="N")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    as_cpu.enter(args)
    if any(os.environ.get(name) != "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")):
        print("set OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS to 1: peers may use more threads")
    out, rows = Output(), []
    for shape in SHAPES:
        for zeros in args.zeros:
            made = calls(*shape, zeros)
            wanted = made["numpy dense"]()
            for function in made.values():
                np.testing.assert_allclose(np.asarray(function()).reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-3)
            timings = interleave(made, runs=args.runs, rounds=10, rest=0.005)
            for name, t in timings.items():
                rows.append(
                    {"shape": shape, "zeros": zeros, "name": name, "min_us": t.best * 1e6, "median_us": t.median * 1e6}
                )
                for ours in ("pc.spmm", "SparseLinear"):
                    if ours in timings:
                        rows[-1][f"{ours} is faster"] = times_faster(timings[ours], t)
    names = list(dict.fromkeys(r["name"] for r in rows))
    result = bench.header(1) | {"command": shlex.join(["python", "bench/bench_spmm.py", *sys.argv[1:]]), "rows": rows}
    out.line(
        f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}; us, min / median, and how often as fast ours is"
    )
    table = []
    for shape in SHAPES:
        for zeros in args.zeros:
            by = {r["name"]: r for r in rows if r["shape"] == shape and r["zeros"] == zeros}
            row = ["x".join(map(str, shape)), f"{zeros:.0%}"]
            for name in names:
                r = by.get(name)
                ratios = [f"{r[k]:.2f}" for k in ("pc.spmm is faster", "SparseLinear is faster") if r and k in r]
                row.append(f"{r['min_us']:.0f} / {r['median_us']:.0f} ({' '.join(ratios)})" if r else "-")
            table.append(row)
    out.table(("MxKxN", "zeros", *names), table)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
