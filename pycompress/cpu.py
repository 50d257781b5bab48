"""Instruction sets and cores of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TypedDict

from ._pcx import ffi, lib

_AVX512VNNI = lib.PCX_AVX2 | lib.PCX_AVXVNNI | lib.PCX_AVX512 | lib.PCX_AVX512VNNI
_AVX512VBMI = _AVX512VNNI | lib.PCX_AVX512VBMI | lib.PCX_AVX512BF16
LEVELS = {  # the words of PYCOMPRESS_CPU
    "scalar": 0,
    "avx2": lib.PCX_AVX2,
    "avxvnni": lib.PCX_AVX2 | lib.PCX_AVXVNNI,
    "avx512": lib.PCX_AVX2 | lib.PCX_AVX512,
    "avx512vnni": _AVX512VNNI,
    "avx512vbmi": _AVX512VBMI,
    "amx": _AVX512VBMI | lib.PCX_AMXINT8 | lib.PCX_AMXBF16,
    "neon": lib.PCX_NEON,
    "dotprod": lib.PCX_NEON | lib.PCX_DOTPROD,
    "i8mm": lib.PCX_NEON | lib.PCX_DOTPROD | lib.PCX_I8MM,
    "bf16": lib.PCX_NEON | lib.PCX_DOTPROD | lib.PCX_I8MM | lib.PCX_ARMBF16,
}
BITS = {
    "avx2": lib.PCX_AVX2, "avxvnni": lib.PCX_AVXVNNI, "avx512": lib.PCX_AVX512, "avx512vnni": lib.PCX_AVX512VNNI,
    "avx512vbmi": lib.PCX_AVX512VBMI, "avx512bf16": lib.PCX_AVX512BF16, "amxint8": lib.PCX_AMXINT8,
    "amxbf16": lib.PCX_AMXBF16,
    "neon": lib.PCX_NEON, "dotprod": lib.PCX_DOTPROD, "i8mm": lib.PCX_I8MM, "bf16": lib.PCX_ARMBF16,
}  # fmt: skip

ISAS = (
    "avx2",
    "avxvnni",
    "avx512",
    "avx512vnni",
    "avx512vbmi",
    "avx512bf16",
    "amx",
    "neon",
    "dotprod",
    "i8mm",
    "bf16",
)  # of kernels

_threads: list[int] = []
_CPU = lib.pcx_cpu()  # CPUID takes microseconds on virtual machines


def cpu_mask(level: str | None = None) -> int:
    """The PCX_* bits to use: this CPU's, lowered to `level` and to ``PYCOMPRESS_CPU``.

    Raises
    ------
    ValueError
        If a word is unknown.
    """
    mask = _CPU
    for word in (level, os.environ.get("PYCOMPRESS_CPU")):
        if word:
            if word not in LEVELS:
                raise ValueError(f"unknown CPU level {word!r}; there are {', '.join(LEVELS)}")
            mask &= LEVELS[word]
    return mask


@cache
def call_mask() -> int:
    """The bits of direct calls of kernels: ``cpu_mask`` at the first of them, since reading the environment takes as long as a call."""
    return cpu_mask()


class CpuInfo(TypedDict):
    """What ``cpu_info`` tells."""

    model: str
    isas: list[str]
    used: list[str]
    kernels: dict[str, str]
    cores: int
    threads: int


def cpu_info() -> CpuInfo:
    """The CPU's name, the instruction sets that it has and that kernels use, cores and threads.

    Returns
    -------
    dict
        ``model`` (str), the CPU's name; ``isas`` (list of str), the instruction sets that it has, of those known here;
        ``used`` (list of str), those that kernels run on, and no other; ``kernels`` (dict of str), the instruction set
        of each kernel, "scalar" where it needs none; ``cores`` (int), allowed by affinity and cgroup quota; ``threads``
        (int), the default of sessions. ``PYCOMPRESS_CPU`` lowers ``used`` and ``kernels``.

    Raises
    ------
    ValueError
        If ``PYCOMPRESS_CPU`` or ``PYCOMPRESS_NUM_THREADS`` is none of its values.

    Examples
    --------
    >>> import pycompress
    >>> info = pycompress.cpu_info()
    >>> sorted(info)
    ['cores', 'isas', 'kernels', 'model', 'threads', 'used']
    >>> set(info["used"]) <= set(info["kernels"].values())
    True
    """
    kernels = {name: isa for name, isa in _selected(cpu_mask())}
    return {
        "model": _model_name(),
        "isas": [name for name, bit in BITS.items() if lib.pcx_cpu() & bit] or ["scalar"],
        "used": [isa for isa in ISAS if isa in kernels.values()] or ["scalar"],
        "kernels": kernels,
        "cores": lib.pcx_cores(),
        "threads": get_num_threads(),
    }


def _selected(mask: int) -> Iterator[tuple[str, str]]:
    """Each kernel with the instruction set of its first implementation that a CPU of these PCX_* bits can run."""
    table, i = lib.pcx_kernels(), 0
    while table[i] != ffi.NULL:
        yield ffi.string(table[i].name).decode(), ffi.string(lib.pcx_select(table[i], mask, ffi.NULL).isa).decode()
        i += 1


def _model_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


@cache
def two_passes() -> bool:
    """Whether this CPU computes vectors of 512 bits by halves, as Zen 4 does: AMD's family 25 with AVX-512."""
    found = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, _, value = line.partition(":")
                found.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    amd = (found.get("vendor_id"), found.get("cpu family")) == ("AuthenticAMD", "25")
    return amd and bool(_CPU & lib.PCX_AVX512)


def set_num_threads(n: int) -> None:
    """Set the number of threads of sessions made from now on, and of calls without a session.

    Parameters
    ----------
    n : int
        From 1 to 1024.

    Raises
    ------
    ValueError
        If `n` is not such an integer.

    Examples
    --------
    >>> import pycompress
    >>> before = pycompress.get_num_threads()
    >>> pycompress.set_num_threads(2)
    >>> pycompress.get_num_threads()
    2
    >>> pycompress.set_num_threads(before)
    """
    _threads[:] = [_checked(n, "the number of threads")]


def get_num_threads() -> int:
    """The number of threads of new sessions: as set, or ``PYCOMPRESS_NUM_THREADS``, or the cores.

    A changed affinity is seen at once, a changed quota of the cgroup within a second.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If ``PYCOMPRESS_NUM_THREADS`` is not an integer from 1 to 1024.

    Examples
    --------
    >>> import pycompress
    >>> pycompress.get_num_threads() >= 1
    True
    """
    if _threads:
        return _threads[0]
    word = os.environ.get("PYCOMPRESS_NUM_THREADS")
    if word:
        try:
            return _checked(int(word), "PYCOMPRESS_NUM_THREADS")
        except ValueError:
            raise ValueError(f"PYCOMPRESS_NUM_THREADS must be a positive integer, got {word!r}") from None
    return _cores(
        frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None, int(time.monotonic())
    )


@lru_cache(1)
def _cores(affinity: frozenset[int] | None, second: int) -> int:
    """``pcx_cores``, which reads files of the cgroup: again for another affinity, and for the quota once a second."""
    return lib.pcx_cores()


def _checked(n: int, what: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1024:
        raise ValueError(f"{what} must be an integer from 1 to 1024, got {n!r}")
    return n
