"""Images per second by batch, from one plan per network and precision.

    python bench/bench_batch.py MODEL.onnx... [--batches 1,8,32] [--threads 1] [--runs 12] [--json FILE]

A MODEL has one float input, whose first dimension is the batch, whatever size the file gives it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import as_cpu
import numpy as np
import onnx

import pycompress as pc
from pycompress.peers.interleave import interleave


def of_any_batch(path: Path) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """(the model with its batch left open, the shape of one image)."""
    model = onnx.load(path)
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]
    return model, tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])


def measure(path: Path, batches: list[int], threads: int, runs: int) -> list[dict]:
    """A row per batch; all of them in one run."""
    model, image = of_any_batch(path)
    plan = pc.compile(model, input_shapes=[(n, *image) for n in batches])
    session = pc.InferenceSession(plan, pc.SessionOptions(intra_op_num_threads=threads))
    name, rng = session.get_inputs()[0].name, np.random.default_rng(0)
    feeds = {n: {name: rng.standard_normal((n, *image)).astype(np.float32)} for n in batches}
    times = {n: max(1, batches[-1] // n) for n in batches}  # as many images in each call
    calls = {n: lambda n=n: [session.run(None, feeds[n]) for _ in range(times[n])] for n in batches}
    timings = interleave(calls, runs=runs, rounds=3, warmup=1)
    images = {n: times[n] * n for n in batches}
    return [
        {
            "model": path.name,
            "threads": threads,
            "batch": n,
            "best_images_per_second": images[n] / timing.best,
            "median_images_per_second": images[n] / timing.median,
        }
        for n, timing in timings.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=12, help="calls of as many images as the largest batch has")
    parser.add_argument("--json", type=Path, help="write the table there")
    as_cpu.add_argument(parser)
    options = parser.parse_args()
    as_cpu.enter(options)
    table = []
    for path in options.models:
        rows = measure(path, [int(n) for n in options.batches.split(",")], options.threads, options.runs)
        first = rows[0]
        for row in rows:
            table.append(row)
            print(
                f"{row['model']:28s} batch {row['batch']:3d}: {row['best_images_per_second']:7.1f} images/s at best, "
                f"{row['median_images_per_second']:7.1f} in the median; "
                f"{row['median_images_per_second'] / first['median_images_per_second']:.3f} of batch {first['batch']}"
            )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
