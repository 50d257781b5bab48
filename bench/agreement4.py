"""How often EfficientNet-Lite0 or -Lite1 with 8-bit and 4-bit weights gives float's answer, by how they are rounded.

    python bench/agreement4.py [--network lite1] [--crops 1024] [--calibration 64] [--only "W4A8, gptq"] [--json FILE]

ImageNet weights, activations uint8, groups of 32 with float16 scales. Calibration and evaluation crops come from different
photos: of those that `photos` names, or, with --photos, calibration from all of these and evaluation from the images in a
folder. Every file is run by ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from agreement import answers, compare
from PIL import Image

from pycompress import quantize, zoo
from pycompress.zoo import photos

VARIANTS = {
    "W8A8": {},
    "W8A8, vnni": {"target": "vnni"},
    "W4A8, plain": {"weights": 4, "rounding": "plain"},
    "W4A8, gptq": {"weights": 4},
    "W4A8, gptq, zero points": {"weights": 4, "zero_points": True},
    "mixed 4/8, plain": {"weights": "mixed", "rounding": "plain"},
    "mixed 4/8, gptq": {"weights": "mixed"},
    "W4A8, gptq, first and last too": {"weights": 4, "first_last": 4},
    "W8A8, no copies": {"interleave": False},
    "W8A8, vnni, no copies": {"target": "vnni", "interleave": False},
    "W8A8, sequential": {"bias_correction": "sequential"},
    "W8A8, vnni, sequential": {"target": "vnni", "bias_correction": "sequential"},
    "W8A8, data-free": {"calibration": "data-free"},
    "4 bits for 80 % by damage": {"weights": "mixed", "first_last": 4, "share": 0.8, "target": "vnni"},
    "4 bits for 34 % by damage": {"weights": "mixed", "first_last": 4, "share": 0.34, "target": "vnni"},
}
NETWORKS = {
    "lite0": (zoo.efficientnet_lite0, 224),
    "lite1": (zoo.efficientnet_lite1, 240),
}  # and the sides of their images


def crops_of(folder: Path, count: int, seed: int, size: int) -> np.ndarray:
    """`count` crops of the images in `folder`, taken in turn and as `photos.crops` does, uint8 [count, size, size, 3]."""
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())]
    rng, found = np.random.default_rng(seed), []
    for i in range(count):
        image = images[i % len(images)]
        h, w = image.shape[:2]
        side = int(min(h, w) * rng.uniform(0.35, 1))
        top, left = rng.integers(h - side + 1), rng.integers(w - side + 1)
        crop = image[top : top + side, left : left + side]
        crop = np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)
        found.append(np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(found)


def sqnr(wanted: np.ndarray, got: np.ndarray) -> float:
    """Signal to noise of the logits, in dB."""
    return float(10 * np.log10(np.square(wanted).sum(dtype=float) / np.square(got - wanted).sum(dtype=float)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS, default="lite0")
    parser.add_argument("--crops", type=int, default=1024)
    parser.add_argument("--calibration", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="images to judge by, instead of packaged ones")
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--only", action="append", choices=VARIANTS, help="this variant; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    make, size = NETWORKS[args.network]
    model = make(pretrained=True, batch=None, batchnorm=False)
    if args.photos:
        given, images = sorted(photos.FILES), crops_of(args.photos, args.crops, args.seed, size)
    else:
        given = photos.CALIBRATION
        images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, args.seed, size)))
    wanted = answers(model, images, "onnxruntime")
    rows = []
    for name, options in VARIANTS.items():
        if args.only and name not in args.only:
            continue
        crops = photos.crops(given, args.calibration, args.seed + 1, size)
        start = time.perf_counter()
        if "calibration" in options:  # from the statistics of BatchNormalization
            quantized = quantize(make(pretrained=True, batch=None, batchnorm=True), **options)
        else:
            quantized = quantize(model, (photos.preprocess(c) for c in crops), group_size=args.group_size, **options)
        seconds = time.perf_counter() - start
        got = answers(quantized, images, "onnxruntime")
        row = {"variant": name, "seconds": seconds, "bytes": quantized.ByteSize(), "sqnr": sqnr(wanted, got)}
        rows.append(row | compare(wanted, got))
        r = rows[-1]
        print(
            f"{name:31} top-1 {r['top1']:.4f}  top-5 {r['top5']:.4f}  SQNR {r['sqnr']:5.2f} dB  "
            f"{r['bytes'] / 1e6:4.2f} MB  {seconds:5.1f} s",
            flush=True,
        )
    if args.json:
        told = {
            "network": args.network,
            "crops": args.crops,
            "calibration": args.calibration,
            "group_size": args.group_size,
            "rows": rows,
        }
        args.json.write_text(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
