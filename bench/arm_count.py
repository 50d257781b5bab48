"""Instructions that a network's run executes on AArch64: ``python bench/arm_count.py [network ...] [--functions N]``.

Counted by a plugin of qemu-user (``arm_count.c``), as three runs of a plan less two, so that opening the plan is not counted. Exact and
repeatable, but not times: an instruction of a vector and one of an address count alike. With ``--functions`` the
functions that execute most are listed, with the parts of loads and stores, of vectors and floats, and of others.
``--command`` counts any program, of which the word RUNS is replaced by a number: other engines, say, in an AArch64 Python whose
files are in a folder (``-L``; engines read ``proc/cpuinfo`` and ``sys/devices/system/cpu`` there):

    python bench/arm_count.py --cpu neoverse-n1 \\
        --command "-L ROOT ROOT/usr/bin/python3.11 bench/arm_count_peer.py litert model.tflite RUNS"

Needs aarch64-linux-gnu-gcc, cmake and a ``qemu-aarch64`` that loads plugins, which the static one does not (Debian: qemu-user);
``--qemu`` or ``PYCOMPRESS_QEMU`` names another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
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


def executed(qemu: str, cpu: str, plugin: Path, command: list) -> dict[str, np.ndarray]:
    """By function: loads and stores, vectors and floats, others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "counts")
        subprocess.run([qemu, "-cpu", cpu, "-plugin", f"{plugin},out={path}", *command], check=True)
        counts: dict[str, np.ndarray] = {}
        for line in path.read_text().splitlines():
            *numbers, name = line.split(maxsplit=3)
            counts[name] = counts.get(name, 0) + np.array(numbers, np.int64)
    return counts


def of_a_run(qemu: str, cpu: str, plugin: Path, command: list) -> dict[str, np.ndarray]:
    """By function, of one run more of a command with the word RUNS; the first run may prepare things."""
    commands = [[str(n) if word == "RUNS" else word for word in command] for n in (2, 3)]
    fewer, more = (executed(qemu, cpu, plugin, x) for x in commands)
    return {name: count - fewer.get(name, 0) for name, count in more.items()}


def show(isa: str, counts: dict[str, np.ndarray], functions: int) -> None:
    """The functions that execute most."""
    for name in sorted(counts, key=lambda name: -counts[name].sum())[:functions]:
        memory, vectors, others = counts[name] / 1e6
        print(f"    {isa:8} {memory + vectors + others:8.2f} = {memory:7.2f} + {vectors:7.2f} + {others:7.2f}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"of the zoo; default: {' '.join(NETWORKS)}")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="list the N functions that execute most")
    parser.add_argument("--isas", default=",".join(ISAS))
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--qemu", default=os.environ.get("PYCOMPRESS_QEMU", "qemu-aarch64"))
    parser.add_argument("--command", help="count this program instead, RUNS for how often it runs a network")
    parser.add_argument("--cpu", default="max", help="of --command")
    told = parser.parse_args()
    if told.command:
        with tempfile.TemporaryDirectory() as name:
            plugin, _ = build(Path(name))
            counts = of_a_run(told.qemu, told.cpu, plugin, told.command.split())
        print(f"{sum(x.sum() for x in counts.values()) / 1e6:.1f} million instructions a run")
        show(told.cpu, counts, told.functions)
        return
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
                of = {
                    isa: of_a_run(told.qemu, "max", plugin, [program, plan, str(LEVELS[isa]), "RUNS"])
                    for isa in told.isas.split(",")
                }
                cells = [f"{sum(x.sum() for x in counts.values()) / 1e6:.1f}" for counts in of.values()]
                print(f"| {network} | {form} |", " | ".join(cells), "|", flush=True)
                for isa, counts in of.items():
                    show(isa, counts, told.functions)


if __name__ == "__main__":
    main()
