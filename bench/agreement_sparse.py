"""How often pruned EfficientNet-Lite0, ImageNet weights, not trained again, gives the answer of the whole network.

    python bench/agreement_sparse.py [--crops 1024] [--calibration 64] [--sparsities 0.3,0.5,0.7] [--json FILE]

Magnitude, Wanda-style and reconstruction, unstructured and 1x4, one threshold over all layers. Calibration and evaluation
crops come from different photos; every file is run by ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from agreement import answers, compare
from bench_models import words

from pycompress import prune, zoo
from pycompress.zoo import photos

METHODS = {"magnitude": None, "Wanda-style": False, "reconstruction": True}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=1024)
    parser.add_argument("--calibration", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sparsities", type=lambda text: [float(x) for x in words(text)], default=[0.3, 0.5, 0.7])
    parser.add_argument("--patterns", type=words, default=["unstructured", "1x4"])
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    model = zoo.efficientnet_lite0(pretrained=True, batch=None, batchnorm=False)
    images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, args.seed)))
    wanted = answers(model, images, "onnxruntime")
    rows = []
    for pattern in args.patterns:
        for sparsity in args.sparsities:
            for method, reconstruct in METHODS.items():
                crops = photos.crops(photos.CALIBRATION, args.calibration, args.seed + 1)
                calibration = None if reconstruct is None else (photos.preprocess(c) for c in crops)
                start = time.perf_counter()
                pruned = prune(model, sparsity, pattern=pattern, calibration=calibration, reconstruct=reconstruct)
                seconds = time.perf_counter() - start
                row = {"pattern": pattern, "sparsity": sparsity, "method": method, "seconds": seconds}
                rows.append(row | compare(wanted, answers(pruned, images, "onnxruntime")))
                r = rows[-1]
                print(
                    f"{pattern:13} {sparsity:4.0%}  {method:15} top-1 {r['top1']:.4f}  error {r['error']:.3f}  {seconds:5.1f} s",
                    flush=True,
                )
    if args.json:
        args.json.write_text(json.dumps({"crops": args.crops, "calibration": args.calibration, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
