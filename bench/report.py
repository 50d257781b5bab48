"""Writes docs/report: EfficientNet-Lite0 as float, int8, int4 and pruned int8, beside other engines.

    python bench/report.py --crops 8 --out docs/report

Needs what the demo needs, and matplotlib. The models are calibrated on crops of some photos and compared on crops of others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import pycompress as pc
from pycompress import zoo
from pycompress.cli import main
from pycompress.zoo import photos

FORMS = ("float", "int8", "int4", "sparse int8")
COMPARED = 16  # crops


def make(folder: Path, crops: int) -> None:
    """Write the models that `folder` does not hold yet."""
    model = zoo.efficientnet_lite0(pretrained=True)
    samples = [photos.preprocess(crop) for crop in photos.crops(photos.CALIBRATION, crops)]
    how = {
        "float": lambda: model,
        "int8": lambda: pc.quantize(model, samples),
        "int4": lambda: pc.quantize(model, samples, weights=4),
        "sparse int8": lambda: pc.quantize(pc.prune(model, 0.5, pattern="1x4", calibration=samples), samples),
    }
    for name in FORMS:
        path = folder / f"{name}.onnx"
        if not path.is_file():
            path.write_bytes(how[name]().SerializeToString())
    held = np.concatenate([photos.preprocess(crop) for crop in photos.crops(photos.EVALUATION, COMPARED)])
    np.save(folder / "crops of other photos.npy", held)


def report(folder: Path, args) -> int:
    sys.argv = ["bench/report.py", "--crops", str(args.crops), "--out", "docs/report"]  # what the page says
    sys.argv += ["--cpu-time"] if args.cpu_time else []
    words = [f"{name}={folder / name}.onnx" for name in FORMS]
    words += ["--calibration", folder / "crops of other photos.npy", "--samples", COMPARED, "--runs", args.runs]
    words += ["--against", args.against, "--out", args.out / "report.html", "--pictures", args.out]
    words += ["--title", f"EfficientNet-Lite0, calibrated on {args.crops} crops of photos"]
    words += ["--cpu-time"] if args.cpu_time else []
    args.out.mkdir(parents=True, exist_ok=True)
    return main(["report", *map(str, words)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--crops", type=int, default=64, help="to calibrate on")
    parser.add_argument("--runs", type=int, default=50, help="timed runs of each")
    parser.add_argument("--cpu-time", action="store_true", help="where others use the machine, too")
    parser.add_argument("--against", default="onnxruntime,openvino", help="other engines")
    parser.add_argument("--models", type=Path, help="keep the models there, and take what is there already")
    parser.add_argument("--out", type=Path, default=Path("docs/report"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.models or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        make(place, given.crops)
        sys.exit(report(place, given))
