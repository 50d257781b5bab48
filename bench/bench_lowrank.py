"""Low-rank products against two calls, and LowRankLinear against dense, NumPy and torch, taking turns in one run.

    python bench/bench_lowrank.py [--threads 1] [--as LEVEL] [--runs 40] [--rows 48,196,256,784,3136] [--only kernels,layers]
        [--json FILE]

Float: `lowrank` and two calls of sgemm. Int8 to uint8: `qlowrank`, which keeps 16 bits between the factors; the same in
three calls, qgemm to float, sgemm and quantize; and, for a file that has codes between the factors, two calls of qgemm.
Layers: 1024 x 1024 at rank 128; NumPy and torch do the two products, "dense" is sgemm with all weights.
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
from bench_models import words

from pycompress import native
from pycompress._pcx import ffi, lib
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.kernels import module
from pycompress.layers import LowRankLinear
from pycompress.peers.interleave import interleave, times_faster

SHAPES = ((1024, 1024, 128), (1024, 1024, 64), (1024, 1024, 32), (1280, 1000, 64), (960, 320, 64), (256, 256, 32))
LAYER, LAYER_ROWS = (1024, 1024, 128), (1, 16, 256)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PARAMS = np.zeros(2, np.float32)


def rng():
    return np.random.default_rng(0)


def in_turn(*calls):
    """One function that calls them all."""

    def call():
        for function in calls:
            function()

    return call


def floats(m: int, k: int, n: int, r: int, pool) -> dict:
    """{name: function} of the float products."""
    a, u, _, _, _, v, _, _, _, _, out = module("lowrank").example(rng(), m, n, k, r)
    mid, out = np.empty((m, r), np.float32), np.zeros_like(out)
    calls = (
        native.sgemm.ready(a, u, None, 0, PARAMS, None, mid, pool=pool),
        native.sgemm.ready(mid, v, None, 0, PARAMS, None, out, pool=pool),
    )
    one = native.lowrank.ready(a, u, None, 0, PARAMS, v, None, 0, PARAMS, None, out, pool=pool)
    return {"lowrank": one, "2 sgemm": in_turn(*calls)}


def integers(m: int, k: int, n: int, r: int, pool) -> dict:
    """{name: function} of the int8 products."""
    page, qgemm = module("qlowrank"), module("qgemm")
    given = page.example(rng(), m, n, k, r)
    a, azp, w, colsum, bias, scale = given[:6]
    tail, out = given[7:-1], given[-1]
    zeros = np.broadcast_to(azp, m)
    mid, real, codes = np.empty((m, r), np.float32), np.empty((m, n), np.float32), np.empty((m, r), np.uint8)
    none = [None] * 5
    first = native.qgemm.ready(a, zeros, w, colsum, None, bias, scale, *none, 0, PARAMS, None, mid, pool=pool)
    v = module("sgemm").pack(rng().standard_normal((n, r), np.float32))
    second = native.sgemm.ready(mid, v, None, 0, PARAMS, None, real, pool=pool)
    grid = np.ones(1, np.float32), np.zeros(1, np.int32), np.array([0, 255], np.int32)
    third = native.quantize.ready(real.reshape(1, 1, -1), *grid, out.reshape(1, 1, -1), pool=pool)
    to_codes = native.qgemm.ready(
        a, zeros, w, colsum, None, bias, scale, given[9], *none[1:], 0, PARAMS, None, codes, pool=pool
    )
    packed = qgemm.pack(qgemm.weights_for(rng(), n, r, 4))
    of_codes = native.qgemm.ready(codes, zeros, packed.w, packed.colsum, None, *tail, out, pool=pool)
    return {
        "qlowrank": native.qlowrank.ready(*given, pool=pool),
        "qgemm, sgemm, quantize": in_turn(first, second, third),
        "2 qgemm": in_turn(to_codes, of_codes),
    }


def layers(m: int, k: int, n: int, r: int, pool, threads: int) -> dict:
    """{name: function}; all but the dense ones compute (x U') V'."""
    x = rng().standard_normal((m, k), np.float32)
    U, V = rng().standard_normal((r, k), np.float32), rng().standard_normal((n, r), np.float32)
    W, layer, out = V @ U, LowRankLinear(U, V), np.empty((m, n), np.float32)
    dense = native.sgemm.ready(x, module("sgemm").pack(W), None, 0, PARAMS, None, out, pool=pool)
    found = {
        "LowRankLinear": lambda: layer(x, num_threads=threads),
        "dense": dense,
        "numpy": lambda: (x @ U.T) @ V.T,
        "numpy dense": lambda: x @ W.T,
    }
    try:
        import torch
    except ModuleNotFoundError:
        return found
    torch.set_num_threads(threads)
    tx, tu, tv, tw = (torch.from_numpy(y) for y in (x, U, V, W))
    return found | {"torch": lambda: (tx @ tu.T) @ tv.T, "torch dense": lambda: tx @ tw.T}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=count, default=1, metavar="N")
    parser.add_argument("--runs", type=count, default=40, metavar="N")
    parser.add_argument("--rows", type=lambda text: [int(x) for x in words(text)], default=[48, 196, 256, 784, 3136])
    parser.add_argument("--only", type=words, default=["kernels", "layers"], metavar="kernels,layers")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    wanted = dict.fromkeys(THREADS, str(args.threads))
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ |= wanted  # which libraries read once
        os.execv(sys.executable, [sys.executable, *sys.argv])
    as_cpu.enter(args)
    pool = ffi.gc(lib.pcx_threads_new(args.threads), lib.pcx_threads_free) if args.threads > 1 else None
    cases = []
    if "kernels" in args.only:
        sizes = [(m, *shape) for shape in SHAPES for m in args.rows]
        cases += [("float", size, lambda size: floats(*size, pool)) for size in sizes]
        cases += [("int8", size, lambda size: integers(*size, pool)) for size in sizes]
    if "layers" in args.only:
        cases += [("layer", (m, *LAYER), lambda size: layers(*size, pool, args.threads)) for m in LAYER_ROWS]
    rows = []
    for kind, size, make in cases:
        m, k, n, r = size
        timings = interleave(make(size), runs=args.runs, rounds=8, rest=0.002)
        ours = next(iter(timings.values()))
        for name, t in timings.items():
            macs = m * k * n if "dense" in name else m * r * (k + n)
            rows.append({
                "kind": kind, "m": m, "k": k, "n": n, "r": r, "name": name, "min_us": t.best * 1e6,
                "median_us": t.median * 1e6, "gmacs": macs / t.best / 1e9, "ours is faster": times_faster(ours, t),
            })  # fmt: skip
    result = bench.header(args.threads) | {"command": shlex.join(["python", *sys.argv]), "rows": rows}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))
    show(Output(), result)


def show(out: Output, result) -> None:
    """One table for each kind."""
    out.line(f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}; {result['command']}")
    out.line("us, min / median (GMAC/s of its own products; how often as fast the first is)")
    for kind in dict.fromkeys(r["kind"] for r in result["rows"]):
        rows = [r for r in result["rows"] if r["kind"] == kind]
        names = list(dict.fromkeys(r["name"] for r in rows))
        table = {}
        for r in rows:
            cell = f"{r['min_us']:.0f} / {r['median_us']:.0f} ({r['gmacs']:.0f}; {r['ours is faster']:.2f})"
            table.setdefault((f"{r['k']}x{r['n']} r {r['r']}", r["m"]), {})[r["name"]] = cell
        out.table(
            (kind, "M", *names), [(*key, *(cells.get(name, "-") for name in names)) for key, cells in table.items()]
        )


if __name__ == "__main__":
    main()
