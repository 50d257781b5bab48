"""Bochs over this process's own memory: machine code that the CPU lacks, run where it lies.

The emulated page tables map every address to itself, so a kernel, its arguments and its arrays serve as they are. AMX
is not in Bochs: its instructions raise an exception, and ``tiles.py`` does what they would.
"""

import atexit
import ctypes
import importlib.util
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from tiles import Tiles

GB, PAGE = 1 << 30, 4096
RING0_CODE, RING0_DATA = (0x10, 0xA09B), (0x18, 0xC093)  # selector, attributes
CR0, EFER = 0x80050033, 0xD01  # protected, paged, 64 bits
CR4 = 1 << 4 | 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18  # PSE, PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
XCR0 = 0xE7  # x87, SSE, AVX, AVX-512
INVALID_OPCODE, HALT = 6, 0xF4


def why_not() -> str:
    """Why nothing can be emulated here; empty if it can."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        return "Bochs runs on x86-64 Linux only"
    if not shutil.which("cc"):
        return "no C compiler"
    return "" if importlib.util.find_spec("bochscpu") else "bochscpu is not installed"


needs_emulator = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@cache
def emulator() -> "Emulator":
    """The emulator of this process: Bochs has one CPU."""
    folder = Path(__file__).parent
    library = Path(importlib.util.find_spec("bochscpu").origin).parent
    library = next(library.glob("_bochscpu*.so"))
    built = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", folder / "bochs.c", "-o", built / "bochs.so", "-ldl"], check=True
        )
        first = ctypes.CDLL(str(built / "bochs.so"), mode=ctypes.RTLD_GLOBAL)
    finally:
        shutil.rmtree(built)
    path = ctypes.create_string_buffer(bytes(library))
    first.bochs_library_is(path)
    made = Emulator(path)
    atexit.register(made.close)  # bochscpu's own end comes after Python's, and would call it
    return made


class Emulator:
    """One emulated CPU."""

    def __init__(self, keep):
        import bochscpu
        import bochscpu.memory

        self._bochs, self._memory, self._keep = bochscpu, bochscpu.memory, keep
        self._chunks: dict[int, int] = {}  # a GB of addresses -> its GB of physical memory
        self._owner: dict[int, int] = {}
        self._tables: dict[int, int] = {}  # physical address -> address of a page table
        self.session = bochscpu.Session()
        self.session.missing_page_handler = self._missing_page
        self.root = self._table()
        self.stack = ctypes.create_string_buffer(1 << 20)
        self.halt = ctypes.create_string_buffer(bytes([HALT]) * 16)
        self.fault = None
        self.tiles = Tiles()
        hook = bochscpu.Hook()
        hook.exception = self._exception
        hook.hlt = lambda session, cpu: session.stop()
        self._hooks = [hook]

    def call(self, function: int, *args: int) -> int:
        """The result of the function at this address, of integers and pointers."""
        self._map_all()
        state = self._start(function, args)
        cpu = self.session.cpu
        cpu.state = state
        while True:
            self.fault = None
            self.session.run(self._hooks)
            state = cpu.state
            if self.fault is None:
                return state.rax
            vector, code = self.fault
            if vector != INVALID_OPCODE or not self.tiles.step(state):
                raise RuntimeError(f"exception {vector} ({code}) at {state.rip:#x}, address {state.cr2:#x}")

    def close(self) -> None:
        """Let go of Bochs."""
        self.session = self._hooks = None

    def _start(self, function: int, args):
        state = self._bochs.State()
        state.cr0, state.cr3, state.cr4, state.efer, state.xcr0 = CR0, self.root, CR4, EFER, XCR0
        state.mxcsr, state.mxcsr_mask, state.rflags = 0x9FC0, 0xFFFF, 2
        for name in ("cs", "ds", "es", "ss", "fs", "gs"):
            segment = self._bochs.Segment()
            segment.present, segment.limit = True, 0xFFFFFFFF
            segment.selector, segment.attr = RING0_CODE if name == "cs" else RING0_DATA
            segment.base = _thread_local() if name == "fs" else 0
            setattr(state, name, segment)
        top = (ctypes.addressof(self.stack) + len(self.stack) - 256) // 64 * 64 - 8
        ctypes.c_uint64.from_address(top).value = ctypes.addressof(self.halt)
        state.rsp, state.rip = top, function
        for name, value in zip(("rdi", "rsi", "rdx", "rcx", "r8", "r9"), args):
            setattr(state, name, value)
        return state

    def _table(self) -> int:
        physical, address = PAGE * (len(self._tables) + 1), self._memory.allocate_host_page()
        ctypes.memset(address, 0, PAGE)
        self._memory.page_insert(physical, address)
        self._tables[physical] = address
        return physical

    def _entry(self, table: int, i: int) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self._tables[table] + 8 * i)

    def _map_all(self) -> None:
        """Pages of 1 GB over everything this process has mapped."""
        for line in Path("/proc/self/maps").read_text().splitlines():
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            for chunk in range(first // GB, (last - 1) // GB + 1):
                if chunk >> 17 or chunk in self._chunks:  # beyond what programs can address
                    continue
                place = self._chunks[chunk] = len(self._chunks) + 1
                self._owner[place] = chunk
                upper = self._entry(self.root, chunk >> 9)
                upper.value = upper.value or self._table() | 7
                self._entry(upper.value & -PAGE, chunk & 511).value = place * GB | 0x87

    def _missing_page(self, physical: int) -> None:
        self._memory.page_insert(physical & -PAGE, self._owner[physical // GB] * GB + (physical % GB & -PAGE))

    def _exception(self, session, cpu, vector, code) -> None:
        self.fault = vector, code
        session.stop()


def _thread_local() -> int:
    """This thread's FS base: where locks and stack guards find what is theirs."""
    base = ctypes.c_uint64()
    ctypes.CDLL(None).syscall(158, 0x1003, ctypes.byref(base))  # arch_prctl(ARCH_GET_FS)
    return base.value
