"""W4A8: a network with pointwise convolutions and classifier at 4 bits, beside our int8 with accumulation depths 4 and 2.

    python bench/bench_w4a8.py FLOAT.onnx [--group 32] [--threads 1,2] [--models FOLDER] [--json FILE]

int8 is ``pycompress.quantize`` with ``accumulate=4`` and ``accumulate=2``, W4A8 with ``weights=4``, rounded to nearest: enough to
measure time and size. The first convolution and the depthwise ones have 8 bits in all of them. All take turns in one run.
`sqnr` (dB) compares the answer with that of the float network; with --models the networks are kept from run to run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import as_cpu
import numpy as np
import onnx

import pycompress
from pycompress.peers.interleave import interleave, times_faster
from pycompress.zoo import photos


def networks(source: Path, group: int, folder: Path) -> dict[str, Path]:
    """The files of the int8 and W4A8 networks, made where they are not there."""
    kinds = {f"int8 T={T}": (f"T{T}", dict(accumulate=T)) for T in (4, 2)}
    four = dict(weights=4, group_size=group, rounding="plain", first_last=4, accumulate=4)
    files = {}
    for name, (word, options) in (kinds | {"W4A8": (f"w4a8g{group}", four)}).items():
        files[name] = folder / f"{source.stem}.{word}.onnx"
        if not files[name].exists():
            samples = ({"input": photos.preprocess(x)} for x in photos.crops(photos.CALIBRATION, 16))
            onnx.save(pycompress.quantize(source, samples, **options), files[name])
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("float", type=Path)
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--json", type=Path)
    as_cpu.add_argument(parser)
    args = parser.parse_args()
    as_cpu.enter(args)
    feed = {"input": photos.preprocess(next(photos.crops(photos.EVALUATION, 1)))}
    exact = pycompress.InferenceSession(args.float).run(None, feed)[0]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        plans = {}
        for name, path in networks(args.float, args.group, args.models or Path(temporary)).items():
            plans[name] = Path(temporary) / f"{path.stem}.plan.safetensors"
            pycompress.compile(path, strict=True).save(plans[name])
        for threads in map(int, args.threads.split(",")):
            sessions = {
                name: pycompress.InferenceSession(path, pycompress.SessionOptions(threads))
                for name, path in plans.items()
            }
            timings = interleave(
                {name: lambda s=s: s.run(None, feed) for name, s in sessions.items()},
                runs=args.runs,
                rounds=args.rounds,
            )
            for name, t in timings.items():
                noise = sessions[name].run(None, feed)[0] - exact
                rows.append({
                    "threads": threads, "network": name, "best_ms": t.best * 1e3, "median_ms": t.median * 1e3,
                    "times_faster": times_faster(timings["W4A8"], t), "plan_bytes": plans[name].stat().st_size,
                    "sqnr": 10 * np.log10(np.square(exact).sum() / np.square(noise).sum()),
                })  # fmt: skip
    for r in rows:
        print(
            f"{r['threads']} threads  {r['network']:10s} best {r['best_ms']:6.3f} ms  median {r['median_ms']:6.3f} ms  "
            f"W4A8 is {r['times_faster']:.2f}x  plan {r['plan_bytes'] / 1e6:.2f} MB  {r['sqnr']:.1f} dB"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1, default=float))


if __name__ == "__main__":
    main()
