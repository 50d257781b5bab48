"""How often pruned networks give float's answer, without any training after pruning.

    python bench/agreement_sparse.py [--crops 1024] [--calibration 64] [--patterns unstructured 1x4] [--json]

EfficientNet-Lite0 with its ImageNet weights, all its 1x1 convolutions pruned. Calibration and evaluation crops
come from different photos. "magnitude": the smallest go; "activations": those of least magnitude
times input (Wanda), biases corrected; "reconstruction": the rest is re-fitted, layer after layer. Of each, once
with the same sparsity in every layer and once with one threshold over all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np
from agreement import answers, compare

from pycompress import zoo
from pycompress.compress.prune import METADATA, SCOPES, prune
from pycompress.plan import compile as compile_plan
from pycompress.zoo import photos

SELECTIONS = ("magnitude", "activations", "reconstruction")


def products() -> Counter:
    """Multiplications of each node for one image."""
    plan = compile_plan(zoo.efficientnet_lite0(pretrained=True, batch=1, batchnorm=False))
    macs: Counter = Counter()
    for note in plan.notes[0]:
        macs[note["node"]] += note["macs"]
    return macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=1024)
    parser.add_argument("--calibration", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["onnxruntime", "pycompress"], default="onnxruntime")
    parser.add_argument("--patterns", nargs="+", default=["unstructured", "1x4"])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.3, 0.4, 0.5, 0.6, 0.7])
    parser.add_argument("--selections", nargs="+", choices=SELECTIONS, default=SELECTIONS)
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=SCOPES)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    model = zoo.efficientnet_lite0(pretrained=True, batch=None, batchnorm=False)
    images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, args.seed)))
    wanted = answers(model, images, args.engine)

    def samples():
        return (photos.preprocess(c) for c in photos.crops(photos.CALIBRATION, args.calibration, args.seed + 1))

    rows, macs = [], products()
    for pattern in args.patterns:
        for sparsity in args.sparsities:
            for selection in args.selections:
                for scope in args.scopes:
                    start = time.perf_counter()
                    options = {} if selection == "magnitude" else {"calibration": samples()}
                    options["reconstruct"] = selection == "reconstruction"
                    pruned = prune(model, sparsity, pattern=pattern, scope=scope, **options)
                    seconds = time.perf_counter() - start
                    told = json.loads({p.key: p.value for p in pruned.metadata_props}[METADATA])
                    row = {"pattern": pattern, "sparsity": told["sparsity"], "selection": selection, "scope": scope}
                    row |= compare(wanted, answers(pruned, images, args.engine))
                    left = sum((1 - share) * macs[name] for name, share in told["layers"].items())
                    row |= {"macs": left / sum(macs[name] for name in told["layers"]), "seconds": seconds}
                    rows.append(row)
                    if not args.json:
                        what = f"{pattern:12} {row['sparsity']:6.1%}  {selection:14} {scope:6}"
                        figures = f"top-1 {row['top1']:.4f}  top-5 {row['top5']:.4f}  error {row['error']:.4f}"
                        print(f"{what}  {figures}  products left {row['macs']:.1%}  {seconds:5.1f} s", flush=True)
    if args.json:
        print(json.dumps({"crops": args.crops, "calibration": args.calibration, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
