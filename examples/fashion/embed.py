"""From a trained network to the files of `pycompress demo --tiny`: its plan, and images to classify.

    python examples/fashion/embed.py examples/fashion/tiny/model.onnx [--accuracy 0.9123] [--out pycompress/zoo]

The model is what `pycompress train examples/fashion/tiny.yaml` writes. The plan takes grey images uint8 [1, 28, 28, 1];
it is run on each of the 10,000 test images, and its accuracy is written into it, with date and machine. Nothing is written if
it is below --least or differs from --accuracy, or if the plan is larger than --bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

import pycompress
from pycompress.formats import atomic
from pycompress.train import data as sets
from pycompress.train.fit import NORMALIZE
from pycompress.zoo import embedded

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
IMAGES = 64  # the first ones of the test part


def network(model: onnx.ModelProto) -> pycompress.Plan:
    """The plan of `model` for images of one byte a pixel."""
    props = {p.key: p.value for p in model.metadata_props}
    if NORMALIZE not in props:
        raise ValueError("the model does not say what its input is: only files that `pycompress train` wrote do")
    return pycompress.compile(model, preprocess=json.loads(props[NORMALIZE]), labels=CLASSES, strict=True)


def answers(plan: pycompress.Plan, images: np.ndarray) -> np.ndarray:
    """The logits of `images`, which are run one after the other."""
    session = pycompress.InferenceSession(plan)
    (port,) = session.get_inputs()
    return np.concatenate([session.run(None, {port.name: image[None]})[0] for image in images])


def provenance(path: Path, accuracy: float, images: int) -> dict[str, str]:
    """What the plan says of itself: its accuracy, and where that figure comes from."""
    measured = f"{time.strftime('%Y-%m-%d')}, {pycompress.cpu_info()['model']}, one by one in this engine"
    return {
        "pycompress": pycompress.__version__,
        "network": f"examples/fashion/tiny.yaml; SHA-256 of its model.onnx: {hashlib.sha256(path.read_bytes()).hexdigest()}",
        "accuracy": f"{accuracy:.4f}",
        "accuracy.images": f"{images} test images of Fashion-MNIST",
        "accuracy.measured": measured,
    }


def images_file(data: sets.Data, logits: np.ndarray) -> bytes:
    """The first images, their labels and the network's answers, which are the same bits on every machine, as .npz."""
    images, labels = data.images[:IMAGES], data.labels[:IMAGES].astype(np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, images=images, labels=labels, logits=logits[:IMAGES])
    return file.getvalue()


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="the folder of Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=embedded.FOLDER, help="folder of the two files")
    parser.add_argument("--accuracy", type=float, help="what training has measured; it must be the same here")
    parser.add_argument("--least", type=float, default=0.91, help="accuracy; default 0.91")
    parser.add_argument("--bytes", type=int, default=60_000, help="of the plan at most; default 60000")
    args = parser.parse_args(words)

    test, plan = sets.load(args.data, "test"), network(onnx.load(args.model))
    logits = answers(plan, test.images)
    right = int((logits.argmax(1) == test.labels).sum())
    accuracy = right / len(test)
    print(f"{right} of {len(test)} test images: {accuracy:.2%}")
    if accuracy < args.least:
        raise SystemExit(f"that is below {args.least:.2%}: nothing is written")
    if args.accuracy is not None and accuracy != args.accuracy:
        raise SystemExit(f"training has measured {args.accuracy:.2%}: nothing is written")

    plan.metadata["pycompress.provenance"] = json.dumps(provenance(args.model, accuracy, len(test)))
    with tempfile.TemporaryDirectory() as work:
        slim = Path(work, embedded.PLAN)
        plan.save(slim, slim=True)
        if (size := slim.stat().st_size) > args.bytes:
            raise SystemExit(f"the plan has {size} bytes, more than {args.bytes}: nothing is written")
        if answers(pycompress.Plan.load(slim), test.images).tobytes() != logits.tobytes():
            raise SystemExit("the slim plan answers differently: nothing is written")
        atomic.write(args.out / embedded.PLAN, slim.read_bytes())
    atomic.write(args.out / embedded.IMAGES, images_file(test, logits))
    for name in (embedded.PLAN, embedded.IMAGES):
        print(f"{args.out / name}: {(args.out / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()
