"""Pruned networks end to end, float and int8, against our own dense plans and other engines, taking turns in one run.

    python bench/bench_sparse.py [--networks mobilenetv1,mobilenetv2] [--threads 1] [--as LEVEL] [--models FOLDER]
        [--float 0.2,0.5,0.9] [--int8 0.5,0.75] [--json FILE] [--plot FILE.png]

Float networks are pruned unstructured, int8 ones in 1x4 blocks along k before they are quantized, layer by layer at the
same ratio; first convolution, depthwise and classifier stay whole. "dense" runs the same pruned file on dense kernels.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import tempfile
from pathlib import Path

import as_cpu
import numpy as np
import onnx
from bench_models import versions, words
from peer_models import samples

from pycompress import InferenceSession, SessionOptions, compile, peers, prune, quantize, zoo
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos

NETWORKS = ("mobilenetv1", "mobilenetv2")
PATTERN = {"float": "unstructured", "int8": "1x4"}


def prepare(network: str, precision: str, sparsity: float, folder: Path) -> Path:
    """The pruned (and quantized) file; one that is there is not made again."""
    path = folder / network / f"{precision}_{PATTERN[precision]}_{sparsity:g}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"pretrained": True} if network == "efficientnet_lite0" else {}
        model = zoo.build(network, **options)
        if sparsity:
            model = prune(model, sparsity, scope="layer", pattern=PATTERN[precision])
        onnx.save(quantize(model, samples()) if precision == "int8" else model, path)
    return path


def measure(network: str, args, threads: int, folder: Path, out: Output) -> list[dict]:
    """A row per engine, precision and sparsity; all in one run."""
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    calls, about = {}, {}
    for precision in PATTERN:
        for sparsity in (0.0, *getattr(args, precision)):
            path = prepare(network, precision, sparsity, folder)
            for form in ("dense", "chosen") if sparsity else ("dense",):
                plan = path.with_suffix(f".{form}.plan.safetensors")
                compile(path, sparse="auto" if form == "chosen" else False).save(plan)
                session = InferenceSession(plan, SessionOptions(intra_op_num_threads=threads))
                key = ("pycompress", precision, sparsity, form)
                calls[key] = lambda run=session.run: run(None, feed)
                about[key] = {
                    "plan_bytes": plan.stat().st_size,
                    "onnx_bytes": path.stat().st_size,
                    "sparse_layers": sum(row["kernel"] in ("spmm", "bspmm", "qspmm") for row in session.explain()),
                }
            for engine in args.against:
                key = (engine, precision, sparsity, "dense")
                calls[key] = peers.call(peers.engine(engine).load(path, threads), feed)
                about[key] = {
                    "difference": bench.error_of(calls["pycompress", precision, sparsity, form]()[0], calls[key]()[0])
                }
    with out.progress("measuring", 10 * len(calls)) as tick:
        timings = interleave(calls, runs=args.runs, rounds=10, tick=tick)
    rows = []
    for key, t in timings.items():
        engine, precision, sparsity, form = key
        best = min(
            (k for k in timings if k[0] == "pycompress" and k[1] == precision and k[3] == "dense"),
            key=lambda k: timings[k].best,
        )
        rows.append(
            {
                "network": network,
                "threads": threads,
                "engine": engine,
                "precision": precision,
                "sparsity": sparsity,
                "form": form,
                "min_ms": t.best * 1e3,
                "median_ms": t.median * 1e3,
                "against_our_best_dense": timings[best].best / t.best,
                "rounds": times_faster(t, timings[best]),
                **about[key],
            }
        )
    return rows


def print_rows(rows: list[dict], out: Output) -> None:
    columns = ("network", "threads", "engine", "precision", "zeros", "kernels", "min ms", "median ms",
               "x our best dense", "rounds", "plan MB", ".onnx MB")  # fmt: skip
    out.table(
        columns,
        [
            (
                r["network"], r["threads"], r["engine"], r["precision"], f"{r['sparsity']:.0%}",
                r["form"] + (f" ({r['sparse_layers']} sparse)" if r.get("sparse_layers") else ""),
                f"{r['min_ms']:.2f}", f"{r['median_ms']:.2f}", f"{r['against_our_best_dense']:.2f}", f"{r['rounds']:.2f}",
                *(f"{r[k] / 1e6:.1f}" if k in r else "-" for k in ("plan_bytes", "onnx_bytes")),
            )
            for r in rows
        ],
    )  # fmt: skip
    out.line()


def plot(result: dict, path: Path) -> None:
    """Time against sparsity, with the crossovers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    networks = list(dict.fromkeys(r["network"] for r in result["rows"]))
    figure, axes = plt.subplots(1, len(networks), figsize=(5.2 * len(networks), 4), squeeze=False, layout="constrained")
    for axis, network in zip(axes[0], networks):
        rows = [r for r in result["rows"] if r["network"] == network and r["threads"] == result["threads"][0]]
        for (precision, word), color in zip(
            (("float", "unstructured"), ("int8", "1x4 blocks")), ("tab:blue", "tab:orange")
        ):
            mine = [r for r in rows if r["engine"] == "pycompress" and r["precision"] == precision]
            dense = min(r["min_ms"] for r in mine if r["form"] == "dense")
            points = sorted((r["sparsity"], r["min_ms"]) for r in mine if r["form"] == "chosen" or not r["sparsity"])
            x, y = np.array(points).T
            axis.plot(x * 100, y, "o-", color=color, label=f"pycompress {precision}, {word}")
            axis.axhline(dense, color=color, ls="--", lw=1, label=f"pycompress {precision}, dense")
            below = np.flatnonzero((y < 0.97 * dense) & (x > 0))
            if len(below):
                where = (x[below[0]] * 100, y[below[0]])
                axis.annotate(f"pays at {x[below[0]]:.0%}", where, (4, 6), textcoords="offset points", color=color)
            for engine in dict.fromkeys(r["engine"] for r in rows if r["engine"] != "pycompress"):
                best = min(r["min_ms"] for r in rows if r["engine"] == engine and r["precision"] == precision)
                axis.axhline(best, color=color, ls=":", lw=1, label=f"{engine} {precision}")
        axis.set(title=network, xlabel="zeros in 1x1 convolutions, %", ylabel="ms, minimum", ylim=(0, None))
        axis.legend(fontsize=7)
    figure.suptitle(f"{result['cpu']}, {', '.join(result['cpu_isas'])}, 1 thread, {result['date']}", fontsize=9)
    figure.savefig(path, dpi=120)


def shares(text: str) -> list[float]:
    return [float(word) for word in words(text)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=words, default=list(NETWORKS), metavar="A,B")
    parser.add_argument("--against", type=words, default=["onnxruntime"], metavar="A,B", help="default: onnxruntime")
    parser.add_argument("--threads", default="1", metavar="1,2")
    parser.add_argument("--float", type=shares, default=[0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 0.95], metavar="S,S")
    parser.add_argument("--int8", type=shares, default=[0.25, 0.5, 0.75, 0.9], metavar="S,S")
    parser.add_argument("--runs", type=count, default=40, metavar="N", help="counted runs of each; default 40")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep the models there, and use those there")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture of time against sparsity (matplotlib)")
    args = parser.parse_args()
    as_cpu.enter(args)
    with tempfile.TemporaryDirectory() as folder:
        result = run(args, [count(word) for word in words(args.threads)], args.models or Path(folder))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))
    if args.plot:
        plot(result, args.plot)


def run(args, threads: list[int], folder: Path) -> dict:
    out = Output()
    result = bench.header(threads[0]) | {
        "threads": threads,
        "machine": platform.platform(),
        "versions": versions(),
        "command": shlex.join(["python", "bench/bench_sparse.py", *sys.argv[1:]]),
        "as_cpu": as_cpu.active(),
        "runs": args.runs,
        "rows": [],
    }
    out.line(f"{result['date']}, {result['cpu']}, {', '.join(result['cpu_isas'])}")
    for network in args.networks:
        for n in threads:
            rows = measure(network, args, n, folder, out)
            print_rows(rows, out)
            result["rows"] += rows
    return result


if __name__ == "__main__":
    main()
