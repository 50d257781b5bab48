"""``pytest tests/kernels --arm=CPU``: tests of kernels run the AArch64 library's implementations under qemu-user, and those alone.

The library is cross-compiled with ``arm_runner.c`` and linked statically; Python stays outside and sends it calls with
their arrays. ``scalar`` of that library is called ``arm`` here, since x86's own row is compared with, too.
"""

import atexit
import os
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from pycompress import native
from pycompress._pcx import ffi
from pycompress.kernels._spec import arguments

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = {
    "gcc": ["-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc"],
    "clang": ["-DCMAKE_C_COMPILER=clang", "-DCMAKE_C_COMPILER_TARGET=aarch64-linux-gnu"],
}
CROSS = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
UNITS, SCRATCH, SUITS, RUN, CALL = range(5)  # as in arm_runner.c
SCALAR = "arm"


def why_not() -> str:
    """Why nothing can run here; empty if it can."""
    needed = ("qemu-aarch64-static", "aarch64-linux-gnu-gcc", "cmake")
    missing = [name for name in (*needed, *(["clang"] if compiler() == "clang" else [])) if not shutil.which(name)]
    return f"{', '.join(missing)} not found" if missing else ""


def compiler() -> str:
    """``PYCOMPRESS_ARM_COMPILER``: gcc, which is the default, or clang."""
    return os.environ.get("PYCOMPRESS_ARM_COMPILER", "gcc")


@cache
def build() -> Path:
    """A folder with ``run_plan``, ``libpycompress.a`` and ``arm_runner``, for AArch64, linked statically."""
    folder = ROOT / "build" / f"arm-{compiler()}"
    folder.mkdir(parents=True, exist_ok=True)

    def step(*command):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")

    step("cmake", "-S", ".", "-B", folder, *CROSS, *COMPILERS[compiler()])
    step("cmake", "--build", folder, "-j", str(os.cpu_count()), "--target", "run_plan")
    source, library = Path(__file__).parent / "arm_runner.c", folder / "libpycompress.a"
    command = ["aarch64-linux-gnu-gcc", "-std=c11", "-O2", "-Wall", "-Wextra", "-static", "-Icsrc", source, library]
    step(*command, "-lm", "-pthread", "-o", folder / "arm_runner")
    return folder


def qemu(cpu: str) -> list[str]:
    """The command that runs a program for AArch64 on that CPU."""
    return ["qemu-aarch64-static", "-cpu", cpu]


def run_plan(folder: Path, cpu: str, words: str) -> np.ndarray:
    """What ``plan.safetensors`` and ``x.npy`` in `folder` give; `words`: threads, and with a colon what the CPU is lowered to."""
    command = [*qemu(cpu), build() / "run_plan", "plan.safetensors", words, "x.npy", "--", "y.npy"]
    subprocess.run(command, cwd=folder, check=True)
    return np.load(folder / "y.npy")


class Row:
    """A ``pcx_impl`` of the AArch64 library."""

    def __init__(self, machine, kernel, row, needs, lacks, functions):
        self.machine, self.kernel, self.row, self.needs, self.lacks = machine, kernel, row, needs, lacks
        self.has_units, self.scratch, self.prepare, self.suits = functions
        self.scratch = self.scratch and self._scratch
        self.suits = self.suits and self._suits

    def units(self, slots):
        return self.machine.ask(UNITS, self, slots)

    def _scratch(self, slots):
        return self.machine.ask(SCRATCH, self, slots)

    def _suits(self, slots):
        return self.machine.ask(SUITS, self, slots)

    def run(self, slots, begin, end, scratch):
        self.machine.ask(RUN, self, slots, begin, end)

    def do(self, slots, prepared):
        self.machine.ask(CALL, self, slots, prepared=prepared)


class Machine:
    """A process that runs ``arm_runner`` on one CPU."""

    arrays: WeakKeyDictionary = WeakKeyDictionary()  # of argument structs: [(slot, array, whether it is written)]

    def __init__(self, command: list[str]):
        self.command, self.process = command, None
        self.rows: dict[str, dict[str, Row]] = {}
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        kernels: dict[str, list[Row]] = {}
        while line := self.process.stdout.readline().split():
            name, isa, needs, lacks, *functions = line
            rows = kernels.setdefault(name.decode(), [])
            have = tuple(x == b"1" for x in functions)
            row = Row(self, len(kernels) - 1, len(rows), int(needs), int(lacks), have)
            row.isa = isa.decode() if row.needs else SCALAR
            rows.append(row)
        if not kernels:
            raise RuntimeError(f"{' '.join(map(str, self.command))} does not run")
        self.rows = self.rows or {name: {row.isa: row for row in rows} for name, rows in kernels.items()}

    def ask(self, what: int, row: Row, slots, begin: int = 0, end: int = 0, prepared: int | None = None) -> int:
        """The answer to one request; written arrays are updated."""
        arrays = self.arrays[slots] if what in (RUN, CALL) else []
        seen, told = {}, []
        for slot, x, written in arrays:
            key = x.ctypes.data, span(x)
            told.append((slot, key[1], seen.get(key, 0), written))
            seen.setdefault(key, slot + 1)
        head = struct.pack(
            "<8Q", what, row.kernel, row.row, begin, end, 0 if prepared is None else prepared + 1, len(slots), len(told)
        )
        parts = [head, bytes(ffi.buffer(slots)), b"".join(struct.pack("<4Q", *x) for x in told)]
        parts += [bytes(memory(x)) for (_, x, _), (_, _, same, _) in zip(arrays, told) if not same]
        try:
            self.process.stdin.write(b"".join(parts))
            self.process.stdin.flush()
            value = struct.unpack("<Q", self._read(8))[0]
            for _, x, written in arrays:
                if written:
                    memory(x)[...] = np.frombuffer(self._read(span(x)), np.uint8)
        except (EOFError, BrokenPipeError):
            status = self.process.wait()
            self._start()
            raise RuntimeError(f"{row.isa}: arm_runner ended with status {status}") from None
        return value

    def _read(self, count: int) -> bytes:
        got = self.process.stdout.read(count)
        if len(got) != count:
            raise EOFError
        return got

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def span(x: np.ndarray) -> int:
    """Bytes from the first to the last element."""
    return sum((n - 1) * s for n, s in zip(x.shape, x.strides)) + x.itemsize if x.size else 0


def memory(x: np.ndarray) -> np.ndarray:
    """The bytes from the first to the last element."""
    if not x.size:
        return np.empty(0, np.uint8)
    first = x[(slice(0, 1),) * x.ndim].reshape(1) if x.ndim else x.reshape(1)
    return np.lib.stride_tricks.as_strided(first.view(np.uint8), (span(x),), (1,))


def install(cpu: str) -> set[str]:
    """From now on kernels offer the rows that `cpu` runs; returns their names. ``cpu`` with a blank is a whole command."""
    machine = Machine(cpu.split() if " " in cpu else [*qemu(cpu), str(build() / "arm_runner")])
    atexit.register(machine.close)
    impls, pack = native.Kernel.impls, native.Kernel.pack
    call, ready, impl = native.Kernel.__call__, native.Kernel.ready, native.Kernel.impl
    rows = {name: {isa: row for isa, row in of.items() if not row.lacks} for name, of in machine.rows.items()}

    def all_impls(self):
        return {**impls(self), **rows[self.name]}

    def remembering_pack(self, values):
        slots, keep = pack(self, values)
        at = [i for i, (_, a) in enumerate(self.spec.slots) if a and a.kind == "array" and values[a.name] is not None]
        machine.arrays[slots] = [(i, x, self.spec.slots[i][0] in self.spec.outputs) for i, x in zip(at, keep)]
        return slots, keep

    def arm_call(self, *args, isa=None, pool=None, **kwargs):
        row = rows[self.name].get(isa)
        if row is None:
            return call(self, *args, isa=isa, pool=pool, **kwargs)
        slots, keep = self.pack(arguments(self.spec, args, kwargs))
        row.do(slots, self.prepared)
        del keep

    def arm_ready(self, *args, isa=None, pool=None, **kwargs):
        if isa not in rows[self.name]:
            return ready(self, *args, isa=isa, pool=pool, **kwargs)
        return lambda: self(*args, isa=isa, pool=pool, **kwargs)

    def arm_impl(self, isa=None, slots=ffi.NULL):
        return rows[self.name].get(isa) or impl(self, isa, slots)

    native.Kernel.impls, native.Kernel.pack, native.Kernel.impl = all_impls, remembering_pack, arm_impl
    native.Kernel.__call__, native.Kernel.ready = arm_call, arm_ready
    return {isa for of in rows.values() for isa in of}
