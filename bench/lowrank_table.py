"""Networks factorized, not trained again: multiply-accumulates, time beside the dense network, and how often the answer stays.

    python bench/lowrank_table.py [--networks mobilenetv1,efficientnet_lite0] [--energies 0.9,0.8] [--ratios 0.9]
        [--as LEVEL] [--crops 1024] [--calibration 64] [--models FOLDER] [--only agreement|time] [--json FILE]

Of the zoo, EfficientNet-Lite0 alone has ImageNet weights. Those of the MobileNets are random, with nearly flat spectra:
their energy says nothing of trained ones, and neither does their agreement, which is not given. Calibration and
evaluation crops come from different photos. One thread.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from pathlib import Path

import as_cpu
import numpy as np
import onnx
from agreement import answers, compare
from bench_models import words
from bench_sparse import shares

from pycompress import InferenceSession, SessionOptions, factorize, zoo
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos

NETWORKS = ("mobilenetv1", "mobilenetv2", "efficientnet_lite0")
TRAINED = "efficientnet_lite0"


def source(network: str, batch: int | None) -> onnx.ModelProto:
    options = {"pretrained": True} if network == TRAINED else {}
    return zoo.build(network, batch=batch, batchnorm=False, **options)


def told(model: onnx.ModelProto) -> dict:
    return json.loads({p.key: p.value for p in model.metadata_props}["pycompress.factorize"])


def variants(network: str, args, folder: Path) -> list[dict]:
    """A row per way to factorize, with the file; one that is there is not made again."""
    rows = []
    asked = [("energy", x) for x in args.energies] + [("ratio", x) for x in args.ratios]
    for key, value in asked:
        for calibrated in (False, True):
            path = folder / f"{network}_{key}_{value:g}{'_calibrated' if calibrated else ''}.onnx"
            start = time.perf_counter()
            if not path.exists():
                crops = photos.crops(photos.CALIBRATION, args.calibration, args.seed + 1)
                samples = (photos.preprocess(c) for c in crops) if calibrated else None
                onnx.save(factorize(source(network, None), **{key: value}, calibration=samples), path)
            row = told(onnx.load(path))
            errors = [x["error"] for x in row["layers"].values()]
            rows.append(
                {
                    "network": network,
                    "kept": f"{key} {value:g}",
                    "calibrated": calibrated,
                    "file": path,
                    "seconds": time.perf_counter() - start,
                    "layers": len(errors),
                    "of": len(errors) + sum("does not pay" in x or "as it is" in x for x in row["excluded"].values()),
                    "macs": row["macs"][1] / row["macs"][0],
                    "weights": row["parameters"][1] / row["parameters"][0],
                }
            )
    return rows


def agree(rows: list[dict], args) -> None:
    """Adds how often ONNX Runtime gives the whole network's answer, and the SQNR of its logits in dB."""
    images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, args.seed)))
    wanted = answers(source(TRAINED, None), images, "onnxruntime")
    for row in rows:
        found = compare(wanted, answers(onnx.load(row["file"]), images, "onnxruntime"))
        row |= {"top1": found["top1"], "top5": found["top5"], "sqnr": -20 * np.log10(max(found["error"], 1e-12))}


def measure(network: str, rows: list[dict], args, out: Output) -> None:
    """Adds times, all taken in turns with those of the dense network."""
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    models = {"dense": source(network, None)} | {i: onnx.load(row["file"]) for i, row in enumerate(rows)}
    sessions = {key: InferenceSession(model, SessionOptions(intra_op_num_threads=1)) for key, model in models.items()}
    calls = {key: lambda run=session.run: run(None, feed) for key, session in sessions.items()}
    with out.progress("measuring", 10 * len(calls)) as tick:
        timings = interleave(calls, runs=args.runs, rounds=10, tick=tick)
    dense = timings["dense"]
    for i, row in enumerate(rows):
        t = timings[i]
        row |= {
            "min_ms": t.best * 1e3,
            "median_ms": t.median * 1e3,
            "dense_min_ms": dense.best * 1e3,
            "dense_median_ms": dense.median * 1e3,
            "times_dense": times_faster(t, dense),
            "joined": sum(step["kernel"] == "lowrank" for step in sessions[i].explain()),
        }


def print_rows(rows: list[dict], out: Output) -> None:
    def cell(row, key, form):
        return form.format(row[key]) if key in row else "-"

    columns = {
        "layers": "{}", "of": "{}", "macs": "{:.1%}", "weights": "{:.1%}", "min_ms": "{:.2f}", "median_ms": "{:.2f}",
        "dense_min_ms": "{:.2f}", "dense_median_ms": "{:.2f}", "times_dense": "{:.2f}", "joined": "{}", "top1": "{:.1%}", "top5": "{:.1%}",
        "sqnr": "{:.1f}",
    }  # fmt: skip
    heads = ("network", "kept", "calibrated", *(name.replace("_", " ") for name in columns))
    out.table(
        heads,
        [
            (r["network"], r["kept"], "yes" if r["calibrated"] else "no", *(cell(r, k, f) for k, f in columns.items()))
            for r in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=words, default=list(NETWORKS), metavar="A,B")
    parser.add_argument("--energies", type=shares, default=[0.95, 0.9, 0.8], metavar="E,E")
    parser.add_argument("--ratios", type=shares, default=[0.9], metavar="R,R", help="of the multiply-accumulates")
    parser.add_argument("--crops", type=count, default=1024)
    parser.add_argument("--calibration", type=count, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=count, default=10, metavar="N", help="counted runs of each; default 10")
    parser.add_argument("--only", choices=("agreement", "time"))
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep the models there, and use those there")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    as_cpu.enter(args)
    out = Output()
    result = bench.header(1) | {"command": shlex.join(["python", *sys.argv]), "as_cpu": as_cpu.active(), "rows": []}
    out.line(f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}, one thread")
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            (args.models or Path(folder)).mkdir(parents=True, exist_ok=True)
            rows = variants(network, args, args.models or Path(folder))
            if network == TRAINED and args.only != "time":
                agree(rows, args)
            if args.only != "agreement":
                measure(network, rows, args, out)
            print_rows(rows, out)
            result["rows"] += [{**row, "file": row["file"].name} for row in rows]
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
