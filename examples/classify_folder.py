"""Classify a folder of images with Ray Data: any number of processes or machines, files that cannot be read listed and skipped.

    pip install 'pycompress-engine[ray]'
    python examples/classify_folder.py model.plan.safetensors photos/ --processes 2 --out classes.csv

An .onnx file needs --mean and --std. Exits with 1 if a file failed.
"""

import argparse
import csv
import logging
import sys
from pathlib import Path

import ray

import pycompress
from pycompress import images


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help=".onnx file or plan")
    parser.add_argument("folder", help="with images, in subfolders too")
    parser.add_argument("--out", default="classes.csv", help="one line per image: path, class, p, and the class's name")
    parser.add_argument("--mean", type=float)
    parser.add_argument("--std", type=float)
    parser.add_argument("--batch", type=int, default=32, help="images per call; default 32")
    parser.add_argument("--processes", type=int, default=2, help="each opens the model once; default 2")
    args = parser.parse_args()

    paths = [str(p) for p in images.files(Path(args.folder))]
    if not paths:
        parser.error(f"{args.folder}: no image in this folder")
    ray.init(logging_level=logging.ERROR, include_dashboard=False)
    options = {name: value for name, value in (("mean", args.mean), ("std", args.std)) if value is not None}
    rows = ray.data.from_items(
        [{"path": p} for p in paths], override_num_blocks=-(-len(paths) // args.batch)
    ).map_batches(
        pycompress.Predictor,
        fn_constructor_kwargs={"model": args.model, "preprocess": options, "top": 1, "on_error": "report"},
        batch_size=args.batch,
        compute=ray.data.ActorPoolStrategy(size=args.processes),
    )
    done, failed = 0, 0
    with open(args.out, "w", newline="") as file:
        for batch in rows.iter_batches(batch_size=args.batch, batch_format="numpy"):
            names = [n for n in ("path", "class", "p", "name") if n in batch]
            writer = csv.writer(file)
            if not done:
                writer.writerow(names)
            for i, error in enumerate(batch["error"]):
                if error:
                    print(f"failed: {error}", file=sys.stderr)
                    failed += 1
                else:
                    writer.writerow([batch[n][i] for n in names])
            done += len(batch["error"])
            print(f"{done} of {len(paths)} images, {failed} failed", file=sys.stderr, flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
