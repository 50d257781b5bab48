"""Instructions that a network's run executes on AArch64: ``python bench/arm_count.py [network ...] [--functions N]``.

Counted by a plugin of qemu-user (``arm_count.c``), as two runs of a plan less one, so that opening the plan is not counted. Exact and
repeatable, but not times: an instruction of a vector and one of an address count alike. With ``--functions`` the
functions that execute most are listed, with the parts of loads and stores, of vectors and floats, and of others.

Needs aarch64-linux-gnu-gcc, cmake and a ``qemu-aarch64`` that loads plugins, which the static one does not (Debian: qemu-user);
``--qemu`` or ``PYCOMPRESS_QEMU`` names another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import pycompress as pc
from pycompress import zoo
from pycompress.cpu import LEVELS

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))
import arm  # noqa: E402

NETWORKS = ("mobilenetv1", "mobilenetv2", "mobilenetv3_large", "efficientnet_lite0")
FORMS = {
    "int8": lambda model, data: pc.quantize(model, data, quantize_outputs=True),
    "float32": lambda model, data: model,
}
ISAS = ("neon", "dotprod", "i8mm")


def build(folder: Path) -> tuple[Path, Path]:
    """The plugin, and the program that it counts in."""
    library = arm.build() / "libpycompress.a"
    plugin, program = folder / "arm_count.so", folder / "arm_count_plan"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", HERE / "arm_count.c", "-o", plugin], check=True)
    command = [
        "aarch64-linux-gnu-gcc",
        "-std=c11",
        "-O2",
        "-static",
        f"-I{HERE.parent / 'csrc'}",
        HERE / "arm_count_plan.c",
    ]
    subprocess.run([*command, library, "-lm", "-pthread", "-o", program], check=True)
    return plugin, program


def executed(qemu: str, plugin: Path, command: list) -> dict[str, np.ndarray]:
    """By function: loads and stores, vectors and floats, others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "counts")
        subprocess.run([qemu, "-cpu", "max", "-plugin", f"{plugin},out={path}", *command], check=True)
        counts: dict[str, np.ndarray] = {}
        for line in path.read_text().splitlines():
            *numbers, name = line.split(maxsplit=3)
            counts[name] = counts.get(name, 0) + np.array(numbers, np.int64)
    return counts


def of_a_run(qemu: str, plugin: Path, program: Path, plan: Path, isa: str) -> Counter:
    """By function, of one run of the plan on that instruction set."""
    once, twice = (executed(qemu, plugin, [program, plan, str(LEVELS[isa]), str(runs)]) for runs in (1, 2))
    return {name: count - once.get(name, 0) for name, count in twice.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"of the zoo; default: {' '.join(NETWORKS)}")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the N functions that execute most")
    parser.add_argument("--isas", default=",".join(ISAS))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--qemu", default=os.environ.get("PYCOMPRESS_QEMU", "qemu-aarch64"))
    told = parser.parse_args()
    data = list(np.random.default_rng(0).standard_normal((2, 1, 3, 224, 224)).astype(np.float32))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin, program = build(folder)
        print(
            "millions of instructions of a run, one thread\n\n| network | form |", " | ".join(told.isas.split(",")), "|"
        )
        print("|---|---|" + "---:|" * len(told.isas.split(",")))
        for network in told.networks:
            for form in told.forms.split(","):
                plan = folder / f"{network}-{form}.plan.safetensors"
                pc.compile(FORMS[form](zoo.build(network), data)).save(plan)
                of = {isa: of_a_run(told.qemu, plugin, program, plan, isa) for isa in told.isas.split(",")}
                cells = [f"{sum(x.sum() for x in counts.values()) / 1e6:.1f}" for counts in of.values()]
                print(f"| {network} | {form} |", " | ".join(cells), "|", flush=True)
                for isa, counts in of.items():
                    for name in sorted(counts, key=lambda name: -counts[name].sum())[: told.functions]:
                        memory, vectors, others = counts[name] / 1e6
                        total = memory + vectors + others
                        print(f"    {isa:8} {total:8.2f} = {memory:7.2f} + {vectors:7.2f} + {others:7.2f}  {name}")


if __name__ == "__main__":
    main()
