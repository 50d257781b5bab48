"""Networks of the zoo, float and int8, beside other engines, taking turns in one run, batch 1.

    python bench/bench_models.py [--networks mobilenetv1,mobilenetv2] [--against onnxruntime,openvino] [--threads 1,2]
        [--as LEVEL] [--models FOLDER] [--json FILE]

Every engine runs the same float network; for int8 our QDQ file, and the files of its own quantizer
(peer_models.py).  `difference` is the largest difference of the answer as a share of its range: to our answer on
the same file, or, for a file of its own, to our float answer.  The summary sets us against the best time of any
peer: int8 against the best of any precision, float against the best float; `rounds` is the median over the rounds
of the ratio of the fastest runs, to the peer with the smallest ratio.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import as_cpu
import numpy as np
import peer_models
from peer_models import NETWORKS, Case

from pycompress import peers
from pycompress.cli import bench
from pycompress.cli.models import count
from pycompress.cli.output import Output
from pycompress.peers.interleave import Timing, interleave, times_faster
from pycompress.zoo import photos

OURS = bench.OURS


def measure(files: dict[Case, Path], threads: int, runs: int, out: Output) -> tuple[dict[Case, Timing], dict, dict]:
    """({case: times}, {case: answer}, {case's name: why it could not run}); all of them in one run."""
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    calls, answers, failed = {}, {}, {}
    for case, path in files.items():
        try:
            runner = peers.engine(case.engine).load(path, threads)
        except NotImplementedError as error:
            failed[case.name] = str(error)
            continue
        calls[case] = peers.call(runner, feed)
        answers[case] = calls[case]()[0]
    with out.progress("measuring", 10 * len(calls)) as tick:
        timings = interleave(calls, runs=runs, rounds=10, tick=tick)
    return timings, answers, failed


def rows(network: str, threads: int, timings: dict[Case, Timing], answers: dict[Case, np.ndarray]) -> list[dict]:
    """A row per case."""
    ours = {case.precision: case for case in timings if case.engine == OURS}
    return [
        {
            "network": network,
            "threads": threads,
            "engine": case.engine,
            "precision": case.precision,
            "quantized_by": case.by,
            "min_ms": t.best * 1e3,
            "median_ms": t.median * 1e3,
            "runs": t.n,
            "rounds_min_ms": [min(block) * 1e3 for block in t.rounds],
            "speed_to_our_float": times_faster(t, timings[ours["float"]]),
            "speed_to_same_precision": times_faster(t, timings[ours[case.precision]]),
            "difference": bench.error_of(
                answers[ours[case.precision if case.by in ("", "ours") else "float"]], answers[case]
            ),
        }
        for case, t in timings.items()
    ]


def summary(network: str, threads: int, timings: dict[Case, Timing]) -> list[dict]:
    """Us against the best peer: a row for int8 and one for float."""
    found = []
    for word, allowed in (("int8", ("int8", "float")), ("float", ("float",))):
        ours = next(t for case, t in timings.items() if case.engine == OURS and case.precision == word)
        others = {case: t for case, t in timings.items() if case.engine != OURS and case.precision in allowed}
        if not others:
            continue
        best, middle = min(others, key=lambda c: others[c].best), min(others, key=lambda c: others[c].median)
        found.append(
            {
                "network": network,
                "threads": threads,
                "precision": word,
                "ours_min_ms": ours.best * 1e3,
                "ours_median_ms": ours.median * 1e3,
                "best_by_min": best.name,
                "best_min_ms": others[best].best * 1e3,
                "ratio_min": others[best].best / ours.best,
                "best_by_median": middle.name,
                "best_median_ms": others[middle].median * 1e3,
                "ratio_median": others[middle].median / ours.median,
                "ratio_rounds": min(times_faster(ours, t) for t in others.values()),
            }
        )
    return found


def print_rows(found: list[dict], out: Output) -> None:
    columns = ("network", "threads", "engine", "precision", "quantized by", "min ms", "median ms", "to our float",
               "to ours", "difference")  # fmt: skip
    keys = ("network", "threads", "engine", "precision", "quantized_by")
    numbers = (("min_ms", ".2f"), ("median_ms", ".2f"), ("speed_to_our_float", ".2f"),
               ("speed_to_same_precision", ".2f"), ("difference", ".1e"))  # fmt: skip
    out.table(columns, [(*(r[k] for k in keys), *(format(r[k], f) for k, f in numbers)) for r in found])
    out.line()


def print_summary(found: list[dict], out: Output) -> None:
    columns = ("network", "threads", "ours", "min / median ms", "best peer, min", "min / median ms of the best",
               "ratio of min", "of median", "rounds")  # fmt: skip

    def peer(r):
        same = r["best_by_min"] == r["best_by_median"]
        return r["best_by_min"] if same else f"{r['best_by_min']} (median: {r['best_by_median']})"

    out.table(
        columns,
        [
            (
                r["network"],
                r["threads"],
                r["precision"],
                f"{r['ours_min_ms']:.2f} / {r['ours_median_ms']:.2f}",
                peer(r),
                f"{r['best_min_ms']:.2f} / {r['best_median_ms']:.2f}",
                *(f"{r[k]:.2f}" for k in ("ratio_min", "ratio_median", "ratio_rounds")),
            )
            for r in found
        ],
    )


def versions() -> dict[str, str]:
    """Of all that made the files and ran them."""
    found = {"python": platform.python_version()} | {k: v for k, v in peers.installed().items() if v}
    for name in ("numpy", "onnx", "nncf", "pnnx"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=words, default=list(NETWORKS), metavar="A,B", help=", ".join(NETWORKS))
    parser.add_argument(
        "--against", type=words, default=list(peers.ENGINES[1:]), metavar="A,B",
        help="engines; default: all that are installed of " + ", ".join(peers.ENGINES[1:]),
    )  # fmt: skip
    parser.add_argument("--threads", default="1", metavar="1,2", help="counts to measure with; default 1")
    parser.add_argument("--runs", type=count, default=40, metavar="N", help="counted runs of each; default 40")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="keep the models there, and use those there")
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    threads = [count(word) for word in words(args.threads)]
    for what, given, known in (("engine", args.against, peers.ENGINES[1:]), ("network", args.networks, NETWORKS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown {what} {min(unknown)!r}; there are {', '.join(known)}")
    as_cpu.enter(args)
    with tempfile.TemporaryDirectory() as folder:
        result = run(args, threads, args.models or Path(folder))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))


def run(args, threads: list[int], folder: Path) -> dict:
    out = Output()
    header = bench.header(threads[0])
    result = header | {
        "threads": threads,
        "machine": platform.platform(),
        "versions": versions(),
        "command": shlex.join(["python", "bench/bench_models.py", *sys.argv[1:]]),
        "as_cpu": as_cpu.active(),
        "runs": args.runs,
        "missing": {},
        "rows": [],
        "summary": [],
    }
    seen = ", ".join(header["cpu_isas"]) + (f" (--as {result['as_cpu']})" if result["as_cpu"] else "")
    out.line(f"{result['date']}, {result['cpu']}, {seen}")
    out.line(", ".join(f"{k} {v}" for k, v in result["versions"].items()) + "\n")
    for network in args.networks:
        files, missing = peer_models.prepare(network, args.against, folder)
        for n in threads:
            timings, answers, failed = measure(files, n, args.runs, out)
            missing |= failed
            found = rows(network, n, timings, answers)
            print_rows(found, out)
            result["rows"] += found
            result["summary"] += summary(network, n, timings)
        result["missing"] |= {f"{network}: {name}": why for name, why in missing.items()}
    for name, why in result["missing"].items():
        out.line(f"{name}: left out: {why}")
    print_summary(result["summary"], out)
    return result


if __name__ == "__main__":
    main()
