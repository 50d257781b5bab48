"""Networks of the zoo, float and int8, beside other engines, taking turns in one run.

    python bench/bench_models.py [--networks mobilenetv1,mobilenetv2] [--against onnxruntime,openvino] [--json FILE]

Int8 files are ours, in QDQ form, and the same for everybody.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pycompress import quantize, zoo
from pycompress.cli import bench
from pycompress.cli.output import Output
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos

NETWORKS = ("mobilenetv1", "mobilenetv2", "mobilenetv3_large", "efficientnet_lite0")
CALIBRATION = 32


class Network:
    """What `bench.load` takes, for a model in memory."""

    plan = None

    def __init__(self, proto):
        self.proto = proto

    def onnx(self) -> bytes:
        return self.proto.SerializeToString()


def build(name: str):
    """(float model, int8 model); EfficientNet-Lite0 with its trained weights."""
    model = zoo.build(name, **({"pretrained": True} if name == "efficientnet_lite0" else {}))
    samples = (photos.preprocess(x) for x in photos.crops(photos.CALIBRATION, CALIBRATION))
    return model, quantize(model, samples)


def measure(name: str, engines: list[str], threads: int, runs: int) -> list[dict]:
    """A row per engine and precision; all of them in one run."""
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    runners, answers = {}, {}
    for word, proto in zip(("float", "int8"), build(name)):
        loaded, missing = bench.load(Network(proto), engines, threads)
        for engine, why in missing.items():
            print(f"{engine}: left out: {why}")
        for engine, runner in loaded.items():
            runners[engine, word] = runner
            answers[engine, word] = runner.run(feed)[0]
    timings = interleave({key: lambda r=r: r.run(feed) for key, r in runners.items()}, runs=runs)
    ours = timings[bench.OURS, "float"]
    return [
        {
            "network": name,
            "engine": engine,
            "precision": word,
            "min_ms": timing.best * 1e3,
            "median_ms": timing.median * 1e3,
            "runs": timing.n,
            "speed_to_our_float": times_faster(timing, ours),
            "speed_to_same_precision": times_faster(timing, timings[bench.OURS, word]),
            "difference": bench.error_of(answers[bench.OURS, word], answers[engine, word]),
        }
        for (engine, word), timing in timings.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--against", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    engines = [name for name in args.against.split(",") if name]
    result = bench.header(args.threads) | {"rows": []}
    out = Output()
    bench.print_header(result, out)
    for name in args.networks.split(","):
        rows = measure(name, engines, args.threads, args.runs)
        result["rows"] += rows
        columns = ("network", "engine", "precision", "min ms", "median ms", "to our float", "to ours", "difference")
        keys = ("network", "engine", "precision")
        out.table(
            columns,
            [
                (
                    *(r[k] for k in keys),
                    f"{r['min_ms']:.2f}",
                    f"{r['median_ms']:.2f}",
                    f"{r['speed_to_our_float']:.2f}",
                    f"{r['speed_to_same_precision']:.2f}",
                    f"{r['difference']:.1e}",
                )
                for r in rows
            ],
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
