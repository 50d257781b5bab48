"""The network of the Fashion-MNIST examples, as ONNX with fresh weights.

    python examples/fashion/network.py student.onnx 0.5 [28] [--depth 1.0] [--seed 0]

A small MobileNetV2: inverted residuals, ReLU6, for grey images of 28x28.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx

from pycompress.train.structure import Compound, fresh
from pycompress.zoo.builder import Builder, make_divisible
from pycompress.zoo.mobilenet import inverted_residual

STEM, HEAD = 32, 256
STAGES = ((1, 16, 1, 1), (4, 32, 2, 1), (4, 64, 3, 2), (4, 96, 2, 1))  # expansion, channels, layers, stride


def build(width: float = 1.0, depth: float = 1.0, resolution: int = 28, classes: int = 10, seed: int = 0):
    """The network with `width` times the channels and `depth` times the layers of each stage."""
    b = Builder("fashion", resolution=resolution, batch=None, channels=1, smallest=8)
    x = b.conv(b.input(), "stem", make_divisible(STEM * width), 3, 2, act="relu6")
    i = 0
    for ratio, channels, layers, stride in STAGES:
        for j in range(Compound(alpha=depth).layers(layers, 1)):
            out, step = make_divisible(channels * width), stride if j == 0 else 1
            x = inverted_residual(b, x, f"blocks.{i}", ratio * x.channels, out, 3, step, "relu6")
            i += 1
    x = b.conv(x, "head", make_divisible(HEAD * width), act="relu6")
    return fresh(b.model(b.linear(b.pool(x), "classifier", classes, last=True)), seed)


def parameters(model: onnx.ModelProto) -> int:
    """How many numbers training chooses."""
    kept = [t for t in model.graph.initializer if "running" not in t.name]
    total = 0
    for tensor in kept:
        count = 1
        for size in tensor.dims:
            count *= size
        total += count
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("width", type=float, help="times the channels")
    parser.add_argument("resolution", type=int, nargs="?", default=28)
    parser.add_argument("--depth", type=float, default=1.0, help="times the layers of each stage")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = build(args.width, args.depth, args.resolution, seed=args.seed)
    args.out.write_bytes(model.SerializeToString())
    print(f"{args.out}: {parameters(model)} parameters")
