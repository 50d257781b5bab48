"""The training of ``compress --finetune``: what a step has left of a network learns from the network as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import images, models
from .output import Output
from .recipe import PLANNED, SAMPLES, Steps

if TYPE_CHECKING:
    import onnx

EPOCHS, RATE, QUANTIZED_RATE = 3, 0.02, 0.002
FLOAT = ("prune", "factorize")
NORMALIZE = "pycompress.normalize"  # metadata of what `train` has written: mean and std of pixels from 0 to 255


def add_options(parser) -> None:
    """``--finetune`` and its options."""
    parser.add_argument(
        "--finetune",
        metavar="DATA",
        help="train after --prune, --factorize and --quantize, with MODEL as the teacher: a folder with IDX files or "
        "with a subfolder of images per class; without --calibration its images are used for that, too (needs torch)",
    )
    parser.add_argument("--epochs", type=models.count, metavar="N", help=f"of --finetune; default {EPOCHS}")
    parser.add_argument("--rate", type=float, metavar="R", help=f"learning rate of --finetune; default {RATE}")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="of --finetune: go on with OUT.training, which a run that was cut off has left, if it is there",
    )


class Finetune:
    """Data, teacher and options of ``--finetune``.

    Until OUT is written, the folder OUT.training holds what each step gave and the checkpoint of the training.

    Raises
    ------
    ValueError
        If no step is trained after, or data and model do not fit.
    """

    def __init__(self, args, asked: Steps, source: models.Source):
        self.asked, self.out, self.resume = asked, args.out, args.resume
        after = [name for name in asked if name in FLOAT]
        self.after = {*after[-1:], *(["quantize"] if "quantize" in asked else [])}
        if not self.after:
            raise ValueError("--finetune trains after --prune, --factorize and --quantize: ask for one of them")
        from .train import wait_passively

        wait_passively()
        from ..train.data import Normalize
        from ..train.recipe import DataOptions
        from ..train.schedule import Training

        self.teacher = source.proto
        shapes = [shape for _, shape in source.ports(models.shapes_of(args), partly=True).values()]
        if [len(shape or ()) for shape in shapes] != [4] or shapes[0][2] != shapes[0][3]:
            said = ", ".join(map(str, shapes))
            raise ValueError(f"--finetune: the model must take square images [n, channels, height, width], not {said}")
        shape = shapes[0]
        data = DataOptions(args.finetune, size=shape[2]).load(shape[1])
        mean, std = self._pixels(args)
        self.data = replace(
            data, normalize=Normalize(tuple(v / 255 for v in mean), tuple(v / 255 for v in std), shape[1])
        )
        self.rate = args.rate
        epochs, rate = args.epochs or EPOCHS, RATE if args.rate is None else args.rate
        self.training = Training(epochs=epochs, rate=rate, warmup=0.0, clip=1.0, keep="best")

    def begin(self, out: Output) -> None:
        """Make the folder, or check the one that is there; say how well MODEL does.

        Raises
        ------
        FileExistsError
            If a run was cut off before, and `resume` is not set.
        TrainingError
            If the folder is of another command.
        """
        self._open()
        self._judge(out)

    def _open(self) -> None:
        from dataclasses import asdict

        from ..train.folder import Folder, identity_of, key_of

        path = self.out.with_name(f"{self.out.name}.training")
        if path.exists() and not self.resume:
            raise FileExistsError(f"{path} is what a run that was cut off has left: go on with --resume, or delete it")
        how = {"steps": self.asked, "train": asdict(self.training) | {"quantized_rate": self._rate(True)}}
        same = {
            "network": key_of(self.teacher),
            "recipe": json.loads(json.dumps(how, default=str)),
            **identity_of(self.data),
        }
        self.folder = Folder(path, same, resume=self.resume)

    def end(self) -> None:
        """Remove the folder: OUT is written."""
        self.folder.close()
        shutil.rmtree(self.folder.path)

    def _judge(self, out: Output) -> None:
        """Say how well MODEL does, and warn if it is no better than chance: its input may be normalized otherwise."""
        from ..train.feed import accuracy

        share, classes = accuracy(self.teacher, self.data.valid, self.data.normalize), len(self.data.train.classes)
        out.line(f"MODEL: {100 * share:.2f} % of {len(self.data.valid)} images that are held back")
        if share < 2 / classes:
            out.warn(f"MODEL answers {100 * share:.1f} % of the images: are --mean and --std what it was trained with?")

    def _pixels(self, args):
        """Mean and std of pixels from 0 to 255: of the flags, or else of the model's metadata."""
        how = images.fit({key: getattr(args, key) for key in PLANNED})
        if how.mean is None and how.std is None:
            held = {p.key: p.value for p in self.teacher.metadata_props}.get(NORMALIZE)
            return json.loads(held).values() if held else ((0.0,), (1.0,))
        return how.mean or (0.0,), how.std or (1.0,)

    def samples(self, count: int = SAMPLES) -> np.ndarray:
        """Images to calibrate on."""
        return self.data.samples(count)

    def step(self, name: str, make: Callable[[], onnx.ModelProto]):
        """What `make` gives for step `name`, or what an earlier run has left of it."""
        return self.folder.stage(name, lambda _: (make(), {}))[0]

    def train(self, name: str, proto, out: Output, label: str):
        """`proto`, as step `name` has left it, after training."""
        if name not in self.after:
            return proto
        proto, said = self.folder.stage(f"{name}-trained", lambda path: self._train(name, proto, path, out, label))
        share = f"{100 * said['accuracy']:.2f} %"
        out.line(f"after {name}, training: {share} of {len(self.data.valid)} images that were held back")
        return proto

    def _train(self, name: str, proto, checkpoint: Path, out: Output, label: str):
        from ..train.distill import Distillation
        from ..train.finetune import Setup, finetune
        from ..train.sparsify import zeros_of

        quantized = name == "quantize"
        teacher = (Distillation("MODEL", weight=0.5, temperature=2.0), self.teacher)
        setup = Setup(distill=teacher, zeros=self.zeros if quantized else zeros_of(proto), freeze=0.3 * quantized)
        with out.progress(label) as tick:
            proto, outcome = finetune(
                proto, self.data, replace(self.training, rate=self._rate(quantized)), setup,
                checkpoint=checkpoint, resume=True, progress=lambda done, total: tick(done, total, "step"),
            )  # fmt: skip
        return proto, {"accuracy": outcome.accuracy}

    def _rate(self, quantized: bool) -> float:
        return QUANTIZED_RATE if quantized and self.rate is None else self.training.rate

    def before(self, name: str, proto) -> None:
        """Note the zeros of the float network that is about to be quantized."""
        if name == "quantize":
            from ..compress.model import graph as g
            from ..compress.model.layers import float_model
            from ..train.sparsify import zeros_of

            self.zeros = zeros_of(float_model(g.copied(proto)))
