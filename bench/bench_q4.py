"""Linear layers with 4-bit weights: QuantizedLinear against ONNX Runtime's MatMulNBits, taking turns in one run.

    python bench/bench_q4.py [--n 4096,11008] [--k 4096] [--batch 1,16,64] [--threads 1,2] [--copies 1] [--as LEVEL]
        [--runs 40] [--json FILE]

Both take float32 and return it: the rounding of the input, where there is one, is in the times. Groups of 32 symmetric
codes, the same in all engines. Our scales are of 16 bits, MatMulNBits' of 32 (an input of floats wants them so). "read"
is a plain loop over as many bytes as our packed weights have, on as many threads. With several copies of the weights,
each call takes the next: enough of them, and none is in a cache.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

import as_cpu
import numpy as np
import onnx
from onnx import TensorProto, helper

from pycompress import peers
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.layers import QuantizedLinear
from pycompress.peers.interleave import interleave, times_faster
from pycompress.weights import Q4

GROUP = 32
LEVELS = {0: "float input", 4: "int8 input"}  # accuracy_level of MatMulNBits


def make_weights(n: int, k: int) -> Q4:
    rng = np.random.default_rng(n + k)
    groups = k // GROUP
    scale = rng.uniform(0.001, 0.01, (n, groups)).astype(np.float16).astype(np.float32)
    return Q4(rng.integers(0, 16, (n, k), np.uint8), scale, np.full((n, groups), 8, np.uint8), GROUP)


def matmul_nbits(weights: Q4, level: int) -> bytes:
    """A model of one MatMulNBits, y[m,n] = x[m,k] W'."""
    n, k = weights.w.shape
    packed = (weights.w[:, ::2] | weights.w[:, 1::2] << 4).reshape(n, k // GROUP, GROUP // 2)
    node = helper.make_node(
        "MatMulNBits", ["x", "w", "scale"], ["y"], domain="com.microsoft",
        K=k, N=n, bits=4, block_size=GROUP, accuracy_level=level,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "q4",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", n])],
        [onnx.numpy_helper.from_array(packed, "w"), onnx.numpy_helper.from_array(weights.scale.ravel(), "scale")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def in_turn(calls):
    """A function that makes the next of the calls each time."""
    turn = itertools.cycle(calls)
    return lambda: next(turn)()


def compile_reader(folder: Path):
    """read_bytes.c as a function of an array."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise FileNotFoundError("bench_q4 needs a C compiler: none found as cc, gcc or clang, and CC is not set")
    library, source = folder / "read_bytes.so", Path(__file__).with_name("read_bytes.c")
    flags = ["-O3", "-mavx2"] if platform.machine() in ("x86_64", "AMD64") else ["-O3"]
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # gcc may not bear as_cpu
    subprocess.run([compiler, *flags, "-shared", "-fPIC", source, "-o", library], check=True, env=env)
    function = ctypes.CDLL(str(library)).read_bytes
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_size_t), ctypes.c_uint64
    return lambda x: function(x.ctypes.data, x.nbytes)


def read_call(reader, x, threads: int, pool):
    """A function that reads `x`, a share on each thread."""
    parts = np.array_split(x, threads)
    return lambda: list(pool.map(reader, parts)) if threads > 1 else reader(x)


def run_call(runner, x):
    return lambda: runner.run({"x": x})[0]


def measure(n: int, k: int, args, folder: Path, out: Output) -> list[dict]:
    """A row per engine, batch and number of threads."""
    weights = make_weights(n, k)
    layers = [QuantizedLinear(weights) for _ in range(args.copies)]
    models = {level: matmul_nbits(weights, level) for level in LEVELS}
    reader, arrays = compile_reader(folder), [np.ones(layers[0].nbytes, np.uint8) for _ in layers]
    rows = []
    for threads in args.threads:
        ort = {
            level: [peers.engine("onnxruntime").load(model, threads) for _ in layers] for level, model in models.items()
        }
        with ThreadPoolExecutor(threads) as pool:
            read = in_turn([read_call(reader, each, threads, pool) for each in arrays])
            for m in args.batch:
                x = np.random.default_rng(m).standard_normal((m, k), np.float32)
                calls = {"pycompress": in_turn([partial(layer, x, num_threads=threads) for layer in layers])}
                for level, runners in ort.items():
                    calls[f"onnxruntime, {LEVELS[level]}"] = in_turn([run_call(runner, x) for runner in runners])
                want = x @ weights.dense().T
                off = {name: bench.error_of(want, call()) for name, call in calls.items()}
                with out.progress("measuring", 10 * (len(calls) + 1)) as tick:
                    timings = interleave(calls | {"read": read}, runs=args.runs, rounds=10, tick=tick)
                case = {"n": n, "k": k, "batch": m, "threads": threads, "copies": args.copies}
                made = [case | figures(name, timings, m * n * k, layers[0].nbytes, off) for name in timings]
                print_rows(made, out)
                rows += made
    return rows


def figures(name: str, timings, macs: int, nbytes: int, off: dict[str, float]) -> dict:
    t, ours = timings[name], timings["pycompress"]
    return {
        "engine": name,
        "min_us": t.best * 1e6,
        "median_us": t.median * 1e6,
        "gmac_per_s": macs / t.best / 1e9,
        "gb_per_s": nbytes / t.best / 1e9,
        "ours_is_faster": t.best / ours.best,
        "rounds": times_faster(ours, t),
        "difference": off.get(name),
    }


def print_rows(rows: list[dict], out: Output) -> None:
    first = rows[0]
    out.line(f"N {first['n']}, K {first['k']}, batch {first['batch']}, {first['threads']} thread(s)")
    columns = (
        "engine",
        "min us",
        "median us",
        "GMAC/s",
        "GB/s of our weights",
        "we are x faster",
        "rounds",
        "difference",
    )
    out.table(
        columns,
        [
            (
                r["engine"], f"{r['min_us']:.0f}", f"{r['median_us']:.0f}",
                "-" if r["engine"] == "read" else f"{r['gmac_per_s']:.1f}", f"{r['gb_per_s']:.1f}",
                f"{r['ours_is_faster']:.2f}", f"{r['rounds']:.2f}",
                "-" if r["difference"] is None else f"{r['difference']:.1e}",
            )
            for r in rows
        ],
    )  # fmt: skip
    out.line()


def counts(text: str) -> list[int]:
    return [count(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=counts, default=[4096, 11008], metavar="N,N")
    parser.add_argument("--k", type=count, default=4096, metavar="K", help="a multiple of 32; default 4096")
    parser.add_argument("--batch", type=counts, default=[1, 16, 64], metavar="M,M")
    parser.add_argument("--threads", type=counts, default=[1], metavar="1,2")
    parser.add_argument("--copies", type=count, default=1, metavar="N", help="of the weights; default 1")
    parser.add_argument("--runs", type=count, default=40, metavar="N", help="counted runs of each; default 40")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.k % GROUP:
        parser.error(f"--k must be a multiple of {GROUP}, got {args.k}")
    as_cpu.enter(args)
    out = Output()
    result = bench.header(args.threads[0]) | {
        "threads": args.threads,
        "machine": platform.platform(),
        "versions": {name: metadata.version(name) for name in ("numpy", "onnx", "onnxruntime")},
        "command": shlex.join(["python", "bench/bench_q4.py", *sys.argv[1:]]),
        "as_cpu": as_cpu.active(),
        "runs": args.runs,
        "rows": [],
    }
    out.line(f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}")
    with tempfile.TemporaryDirectory() as folder:
        for n in args.n:
            result["rows"] += measure(n, args.k, args, Path(folder), out)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
