"""What channel pruning saves, and what it costs in agreement with the whole network.

    python bench/channels.py times [--sparsity 0.3 0.5]
    python bench/channels.py agreement [--sparsity 0.1 0.2 0.3] [--crops 512] [--calibration 64]

`times`: four networks pruned by weights alone, one thread, all sparsities in turns. `agreement`:
EfficientNet-Lite0 with its ImageNet weights, without fine-tuning; calibration and evaluation crops come
from different photos. "masked" takes the same channels, but leaves the other weights as they are.
"""

from __future__ import annotations

import argparse

import numpy as np
from agreement import answers, compare

import pycompress as pc
from pycompress import zoo
from pycompress.compress.pruning.channel_fit import ChannelFit
from pycompress.compress.pruning.channels import prune_channels
from pycompress.peers.interleave import interleave
from pycompress.zoo import photos

NETWORKS = ("mobilenetv1", "mobilenetv2", "mobilenetv3_large", "efficientnet_lite0")
SCOPES = ("layer", "global")


def times(args) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    for name in NETWORKS:
        model = zoo.build(name)
        variants = {"whole": model}
        for share in args.sparsity or (0.3, 0.5):
            variants |= {f"{share:.0%} {scope}": prune_channels(model, share, scope=scope) for scope in SCOPES}
        sessions = {k: pc.InferenceSession(m, pc.SessionOptions(1)) for k, m in variants.items()}
        timings = interleave({k: lambda s=s: s.run(None, {"input": x}) for k, s in sessions.items()})
        for key, t in timings.items():
            macs = sum(row["macs"] for row in sessions[key].explain()) / 1e6
            spent = f"min {1e3 * t.best:6.2f} ms  median {1e3 * t.median:6.2f} ms"
            print(f"{name:20} {key:12} {macs:7.1f} MMAC  {spent}", flush=True)


class _Masked:
    """Keeps from `ChannelFit.refit` what it is given."""

    def __enter__(self):
        self.refit = refit = ChannelFit.refit

        def keep(fit, pruned, gone):
            self.model = type(pruned).FromString(pruned.SerializeToString())
            refit(fit, pruned, gone)

        ChannelFit.refit = keep
        return self

    def __exit__(self, *error):
        ChannelFit.refit = self.refit


def agreement(args) -> None:
    model = zoo.efficientnet_lite0(pretrained=True, batch=None)
    images = np.stack(list(photos.crops(photos.EVALUATION, args.crops, 0)))
    wanted = answers(model, images, "onnxruntime")

    def row(what, pruned):
        r = compare(wanted, answers(pruned, images, "onnxruntime"))
        print(f"{what:32} top-1 {r['top1']:.4f}  top-5 {r['top5']:.4f}  error {r['error']:.4f}", flush=True)

    for scope in SCOPES:
        for share in args.sparsity or (0.1, 0.2, 0.3):
            samples = (photos.preprocess(c) for c in photos.crops(photos.CALIBRATION, args.calibration, 1))
            row(f"{share:.0%} {scope}, weights alone", prune_channels(model, share, scope=scope))
            with _Masked() as masked:
                pruned = prune_channels(model, share, scope=scope, calibration=samples)
            row(f"{share:.0%} {scope}, masked", masked.model)
            row(f"{share:.0%} {scope}, re-fitted", pruned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["times", "agreement"])
    parser.add_argument("--sparsity", type=float, nargs="+")
    parser.add_argument("--crops", type=int, default=512)
    parser.add_argument("--calibration", type=int, default=64)
    args = parser.parse_args()
    {"times": times, "agreement": agreement}[args.what](args)


if __name__ == "__main__":
    main()
