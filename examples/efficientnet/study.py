"""EfficientNet's compound scaling on Fashion-MNIST, then compression: the tables of docs/efficientnet.md.

    python examples/efficientnet/study.py [--runs FOLDER] [--data FOLDER] [--threads 2] [--markdown FILE] [--quick]

First alpha, beta and gamma are searched on a grid: networks of about twice the work of the small one, each trained for a few
epochs. Then the small network is scaled by the best of them, and what came out is quantized and pruned. The script can be
stopped at any moment; started again, it goes on. --quick takes the digits of scikit-learn and one epoch: it checks the script.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "fashion"))

import network
import onnx
import runs

from pycompress.train.structure import Compound

WIDTH, SIZE, LARGEST = 0.5, 16, 28  # of the small network; images have no more than 28 pixels to give
TRIAL, EPOCHS = 3, 12  # epochs of the grid's networks, and of those that are scaled
PHIS = (0, 1, 2)
WORK, STEP, TOLERANCE = 2.0, 0.2, 0.15  # of the grid


def scaled(factors: Compound, phi: float) -> tuple[onnx.ModelProto, int]:
    """The small network with `factors` to the power of `phi`, and the size of its images."""
    size = factors.resolution(SIZE, phi)
    return network.build(WIDTH * factors.beta**phi, factors.alpha**phi, size), size


def candidates() -> list[Compound]:
    """The factors of the grid: nominal work of about `WORK`, and images within `LARGEST` for every phi.

    Channels are multiples of 8 and layers whole, so that the real work of so small a network is off: those that are off by
    more than a third are left out, and of several with the same network one is kept.
    """
    base, found = runs.macs(scaled(Compound(), 0)[0]), {}
    for factors in Compound.candidates(WORK, STEP, TOLERANCE):
        if factors.resolution(SIZE, max(PHIS)) <= LARGEST:
            work = runs.macs(scaled(factors, 1)[0])
            if abs(work / base / WORK - 1) < 1 / 3:
                found.setdefault(work, factors)
    return list(found.values())


def named(factors: Compound) -> str:
    """How runs and rows of these factors begin."""
    return f"alpha-{factors.alpha:g}-beta-{factors.beta:g}-gamma-{factors.gamma:g}"


def grid(made_by: runs.Runs) -> dict[Compound, runs.Made]:
    """The networks of the grid, each trained for a few epochs."""
    made = {}
    for factors in candidates():
        model, size = scaled(factors, 1)
        made[factors] = made_by.get(f"grid-{named(factors)}", model, made_by.recipe("dense", size=size, epochs=TRIAL))
    return made


def study(made_by: runs.Runs, factors: Compound) -> dict[str, runs.Made]:
    """The scaled networks, and what compression makes of them."""
    made: dict[str, runs.Made] = {}
    for phi in PHIS:
        model, size = scaled(factors, phi)
        begun, name = f"phi-{phi}-{named(factors)}", f"phi {phi}, {size} pixels"
        made[name] = made_by.get(begun, model, made_by.recipe("dense", size=size, epochs=EPOCHS))
        made[f"{name}, int8"] = made_by.get(f"{begun}-int8", begun, made_by.recipe("qat8", size=size))
        small = made_by.taught(made_by.recipe("small", size=size), begun)
        made[f"{name}, pruned and int8"] = made_by.get(f"{begun}-small", begun, small)
    return made


def main() -> None:
    args = runs.arguments(__doc__, "examples/efficientnet/runs")
    made_by = runs.Runs(args.runs, args.data, args.quick)
    tried = grid(made_by)
    best = max(tried, key=lambda factors: tried[factors].valid)  # not the test images: they judge what comes out
    rows = [
        (f"{f.alpha:g}", f"{f.beta:g}", f"{f.gamma:g}", f"{runs.macs(x.model) / 1e6:.2f}", f"{100 * x.valid:.2f}")
        for f, x in tried.items()
    ]
    head = ("alpha", "beta", "gamma", "million MACs", f"validation after {TRIAL} epochs, %")
    chosen = f"Chosen: alpha {best.alpha:g}, beta {best.beta:g}, gamma {best.gamma:g}."
    networks = runs.table(study(made_by, best), 40 if args.quick else 2000)
    runs.finish("\n\n".join([runs.markdown(head, rows), chosen, networks]), args)


if __name__ == "__main__":
    main()
