"""Products of few outputs: the rate of n = 1 to 16 columns as a share of the rate of 16.

    python bench/bench_narrow.py [--rows 12544] [--k 16,32,64] [--runs 30] [--as LEVEL] [--json FILE]

Steps of one session, a 1x1 convolution for each n: float and, quantized by us, int8. A rate is the least time's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import as_cpu
import numpy as np
from bench_models import words
from onnx import TensorProto, helper, numpy_helper

from pycompress import InferenceSession, cpu_info, quantize
from pycompress.cli.models import count
from pycompress.cli.output import Output


def network(rows: int, k: int):
    """An image of `rows` pixels and k channels, and a pointwise convolution of it for each n."""
    rng = np.random.default_rng(k)
    weights = [rng.standard_normal((n, k, 1, 1), np.float32) for n in range(1, 17)]
    nodes = [helper.make_node("Conv", ["x", f"w{w.shape[0]}"], [f"y{w.shape[0]}"], f"n{w.shape[0]}") for w in weights]
    outputs = [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in nodes]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, k, 1, rows))
    stored = [numpy_helper.from_array(w, f"w{w.shape[0]}") for w in weights]
    graph = helper.make_graph(nodes, "narrow", [source], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def measure(rows: int, k: int, precision: str, runs: int) -> list[dict]:
    x = np.random.default_rng(0).standard_normal((1, k, 1, rows), np.float32)
    model = network(rows, k)
    session = InferenceSession(quantize(model, [{"x": x}], exclude=()) if precision == "int8" else model)
    best: dict[int, tuple[float, str]] = {}
    for _ in range(runs):
        for row in session.profile({"x": x}, 1):
            n = int(row["node"][1:]) if row["macs"] and row["node"].startswith("n") else 0
            if n and (n not in best or row["seconds"] < best[n][0]):
                best[n] = row["seconds"], f"{row['kernel']} {row['isa']}"
    whole = 16 / best[16][0]
    return [
        {"precision": precision, "m": rows, "k": k, "n": n, "kernel": kernel, "us": seconds * 1e6,
         "gmacs": rows * k * n / seconds / 1e9, "share": n / seconds / whole}
        for n, (seconds, kernel) in sorted(best.items())
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="M", type=count, default=12544)
    parser.add_argument("--k", metavar="K,K", type=words, default=["16", "32", "64"])
    parser.add_argument("--runs", metavar="N", type=count, default=30)
    as_cpu.add_argument(parser)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    as_cpu.enter(args)
    out = Output()
    out.line(", ".join(cpu_info()["isas"]))
    found = [row for k in args.k for p in ("float", "int8") for row in measure(args.rows, int(k), p, args.runs)]
    out.table(
        ["precision", "m x k", "kernel of n = 16", *(f"n={n}" for n in range(1, 16)), "GMAC/s of 16"],
        [
            (p, f"{args.rows} x {k}", rows[-1]["kernel"], *(f"{row['share']:.2f}" for row in rows[:-1]), f"{rows[-1]['gmacs']:.0f}")
            for k in args.k
            for p in ("float", "int8")
            for rows in [[row for row in found if row["k"] == int(k) and row["precision"] == p]]
        ],
    )  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"command": shlex.join(sys.argv), "rows": found}, indent=1))


if __name__ == "__main__":
    main()
