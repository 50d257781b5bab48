"""Float networks with bfloat16 products beside float32 ones and OpenVINO's own choice (bfloat16 where the CPU has it).

    python bench/bench_bfloat16.py [--networks mobilenetv1,mobilenetv2] [--threads 1] [--runs 40] [--as LEVEL] [--json FILE]

`error` is the largest difference of the logits from our float32 answer, as a share of their range, over --photos crops.
The networks have random weights but for EfficientNet-Lite0.
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
from peer_models import NETWORKS

from pycompress import InferenceSession, SessionOptions, compile, peers, zoo
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos


def engines(network: str, threads: int) -> dict:
    """{name: session or runner}."""
    model = zoo.build(network, **({"pretrained": True} if network == "efficientnet_lite0" else {}))
    options = SessionOptions(threads)
    return {
        "ours, float32": InferenceSession(model, options),
        "ours, bfloat16": InferenceSession(compile(model, float_products="bfloat16"), options),
        "OpenVINO, float32": peers.engine("openvino").load(model.SerializeToString(), threads),
        "OpenVINO, default": peers.engine("openvino").load(model.SerializeToString(), threads, precision=None),
    }


def run(runner, x: np.ndarray) -> np.ndarray:
    feed = {"input": x}
    return (runner.run(None, feed) if isinstance(runner, InferenceSession) else runner.run(feed))[0]


def measure(network: str, threads: int, runs: int, images: list[np.ndarray]) -> list[dict]:
    """A row per engine."""
    made = engines(network, threads)
    times = interleave({name: lambda r=r: run(r, images[0]) for name, r in made.items()}, runs=runs, rounds=10)
    answers = {name: np.stack([run(r, x) for x in images]) for name, r in made.items()}
    want = answers["ours, float32"]
    return [
        {
            "network": network,
            "threads": threads,
            "engine": name,
            "min_ms": t.best * 1e3,
            "median_ms": t.median * 1e3,
            "to_default_openvino": times_faster(t, times["OpenVINO, default"]),
            "error": float(np.abs(answers[name] - want).max() / np.ptp(want)),
        }
        for name, t in times.items()
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", metavar="A,B", type=words, default=NETWORKS)
    parser.add_argument("--threads", metavar="N", type=count, default=1)
    parser.add_argument("--runs", metavar="N", type=count, default=40, help="counted runs of each")
    parser.add_argument("--photos", metavar="N", type=count, default=16)
    as_cpu.add_argument(parser)
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    as_cpu.enter(args)
    out = Output()
    out.line(f"seen as {as_cpu.active() or 'it is'}, openvino {peers.engine('openvino').version()}")
    images = [photos.preprocess(x) for x in photos.crops(photos.EVALUATION, args.photos)]
    rows = [row for network in args.networks for row in measure(network, args.threads, args.runs, images)]
    numbers = {"min_ms": ".2f", "median_ms": ".2f", "to_default_openvino": ".2f", "error": ".1e"}
    keys = ("network", "threads", "engine")
    columns = [*keys, "min ms", "median ms", "to OpenVINO's default", "error"]
    out.table(columns, [(*(row[k] for k in keys), *(format(row[k], f) for k, f in numbers.items())) for row in rows])
    if args.json:
        args.json.write_text(json.dumps({"command": shlex.join(sys.argv), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
