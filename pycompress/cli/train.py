"""``pycompress train``: distillation, pruning and quantization in training, as a recipe says."""

from __future__ import annotations

import os
from pathlib import Path

from . import models
from .output import Output, size

EPILOG = (
    "A recipe is a YAML file: `model` (an .onnx file or zoo:NAME), `data` (path: a folder with IDX files or with a "
    "subfolder per class), and what is done: train, augment, distill, sparsify, quantize, factorize, channels, separable. "
    "docs/training.md explains every key.  OUT gets model.onnx, result.json, log.jsonl, and what --resume needs: a run "
    "that was killed goes on where it was, and ends with the same bits."
)


def add(subparsers, common):
    parser = subparsers.add_parser(
        "train",
        parents=[common],
        help="train, distil, prune and quantize a network, as a recipe says",
        description="Train the network of RECIPE on its data.  With --json, stdout gets a JSON object per line for each "
        "event, and the result as the last line.",
        epilog=EPILOG,
    )
    parser.add_argument("recipe", metavar="RECIPE", type=Path, help=".yaml file")
    parser.add_argument("--out", type=Path, metavar="OUT", help="folder to write; default: RECIPE without .yaml")
    parser.add_argument("--resume", action="store_true", help="go on with what is in OUT, if anything is")
    parser.add_argument("--threads", type=models.count, metavar="N", help="threads of torch; default: all cores")
    return parser


def execute(args, out: Output) -> dict:
    wait_passively()
    from .. import train

    if not args.recipe.is_file():
        raise FileNotFoundError(f"no such recipe: {args.recipe}")
    train.dedicate(args.threads)
    recipe = train.read(args.recipe)
    folder = args.out or args.recipe.with_suffix("")
    with out.progress("train") as tick:
        result = train.fit(
            None, None, recipe, out=folder, resume=args.resume,
            log=lambda event: _told(event, out),
            progress=lambda stage, done, total: _show(tick, stage, done, total),
        )  # fmt: skip
    bytes_after = (folder / "model.onnx").stat().st_size
    rows = [
        [name, len(said.get("history", ())), said.get("accuracy"), said["seconds"]]
        for name, said in result.stages.items()
    ]
    out.table(["stage", "epochs", "validation", "seconds"], rows)
    test = "" if result.accuracy is None else f"{100 * result.accuracy:.2f} % of the test images, "
    out.line(f"{folder / 'model.onnx'}: {test}{100 * result.valid:.2f} % of the validation images, {size(bytes_after)}")
    return {
        "event": "result",
        "out": str(folder),
        "accuracy": result.accuracy,
        "valid": result.valid,
        "bytes": bytes_after,
        "stages": result.stages,
    }


def wait_passively() -> None:
    """Let waiting OpenMP threads sleep, if nothing else was said: torch and our engine take turns on the same cores."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _told(event: dict, out: Output) -> None:
    out.event(event)
    if event["event"] == "epoch":
        said = f"{event['stage']}: epoch {event['epoch']}, loss {event['loss']:.4f}, validation {100 * event['accuracy']:.2f} %"
        out.line(f"{said}, {event['seconds']:.0f} s")
    elif event["event"] == "resumed":
        out.line(f"{event['stage']}: goes on in epoch {event['epoch']}, after step {event['step']}")


def _show(tick, stage: str, done: int, total: int) -> None:
    tick.label = stage
    tick(done, total, "step")
