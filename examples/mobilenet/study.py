"""MobileNet's ways to a smaller network, side by side on Fashion-MNIST: the table of docs/mobilenet.md.

    python examples/mobilenet/study.py [--runs FOLDER] [--data FOLDER] [--threads 2] [--markdown FILE] [--quick]

Width and resolution multipliers, pruning, quantization, distillation, and all of them together. The script can be stopped at
any moment; started again, it goes on. --quick takes the digits of scikit-learn and one epoch: it checks the script.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fashion"))

import network
import runs

EPOCHS = 12  # of every network that is trained from scratch
WIDTHS, SIZES = (0.75, 0.5, 0.25), (24, 20, 16)
WHOLE, LONGER = (
    "width-1",
    "width-1-longer",
)  # the first one teaches, the second one is trained on as long as the pruned ones
LATER = {  # what is made of the whole network: the recipe in examples/fashion
    LONGER: "dense_longer",
    "pruned-80": "sparse80",
    "pruned-90": "sparse90",
    "int8": "qat8",
    "int4": "qat4",
}


def study(made_by: runs.Runs) -> dict[str, runs.Made]:
    """All networks of the table, by name."""
    dense = lambda size=None: made_by.recipe("dense", size=size, epochs=EPOCHS)  # noqa: E731
    made = {WHOLE: made_by.get(WHOLE, network.build(1.0), dense())}
    for width in WIDTHS:
        made[f"width-{width:g}"] = made_by.get(f"width-{width:g}", network.build(width), dense())
    for size in SIZES:
        made[f"resolution-{size}"] = made_by.get(f"resolution-{size}", network.build(1.0, resolution=size), dense(size))
    for name, recipe in LATER.items():
        made[name] = made_by.get(name, WHOLE, made_by.taught(made_by.recipe(recipe), WHOLE))
    taught = made_by.taught(made_by.recipe("distilled", epochs=EPOCHS), WHOLE)
    made["width-0.5-distilled"] = made_by.get("width-0.5-distilled", network.build(0.5), taught)
    made["all"] = made_by.get("all", WHOLE, made_by.taught(made_by.recipe("small"), WHOLE))
    return made


def main() -> None:
    args = runs.arguments(__doc__, "examples/mobilenet/runs")
    made = study(runs.Runs(args.runs, args.data, args.quick))
    runs.finish(runs.table(made, 40 if args.quick else 2000), args)


if __name__ == "__main__":
    main()
